"""The multiply-adds per second that matrix products reach here: what an engine can hope for."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from bisenet_ros.inference.torch_backend import DTYPES

SIZES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192)}
"""Rows and columns that are tried, by the kind of device: which suits its caches best differs."""
SECONDS = 0.3
"""How long a product is repeated at most, twice at least; the fastest counts."""


def matrix_peak(
    device: str, precision: str, threads: int, sizes: Sequence[int] = ()
) -> float | None:
    """GMAC/s of the fastest square matrix product, or None where there is none to ask for.

    On the CPU fp32 and int8 are the faster of torch's and ONNX Runtime's, since which of them has
    kernels for the instructions at hand differs from machine to machine; all else is torch's. fp32
    on CUDA is TF32, as it is in convolutions. Sums of int8 are int32. An engine whose kernels are
    better than both may reach more.

    Args:
        device: cpu, cuda or cuda:N; of others None is known.
        precision: one of ``precision.PRECISIONS``.
        threads: of the CPU.
        sizes: rows and columns that are tried; ``SIZES`` if there are none.
    """
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda") or (kind == "cpu" and precision == "fp16"):
        return None
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(threads)
    if kind == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        peak = 0.0
        for size in sizes or SIZES[kind]:
            products = [_torch_product(device, precision, size)]
            if kind == "cpu" and precision in ("fp32", "int8"):
                products.append(_onnxruntime_product(precision, size, threads))
            seconds = min(_fastest(product, device) for product in products)
            peak = max(peak, size**3 / seconds / 1e9)
        return peak
    except RuntimeError:  # too little memory, or no such product on this GPU
        return None
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])


def _fastest(product: Callable[[], object], device: str) -> float:
    """Seconds of the fastest of several runs, after one that is not counted."""

    def run() -> float:
        started = time.perf_counter()
        product()
        if device != "cpu":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    run()
    times = [run(), run()]
    while sum(times) < SECONDS:
        times.append(run())
    return min(times)


def _torch_product(device: str, precision: str, size: int) -> Callable[[], object]:
    if precision == "int8":
        left, right = (
            torch.randint(-127, 128, (size, size), dtype=torch.int8, device=device) for _ in "ab"
        )
        return lambda: torch._int_mm(left, right)
    a, b = (torch.rand(size, size, device=device).to(DTYPES[precision]) for _ in "ab")
    return lambda: torch.mm(a, b)


def _onnxruntime_product(precision: str, size: int, threads: int) -> Callable[[], object]:
    """Of fp32 matrices, or of a uint8 by an int8 matrix, which its fast kernels ask for."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    if precision == "int8":
        operator, kind, sums = "MatMulInteger", TensorProto.UINT8, TensorProto.INT32
        left = rng.integers(0, 256, (size, size), np.uint8)
        right = rng.integers(-127, 128, (size, size), np.int8)
    else:
        operator, kind, sums = "MatMul", TensorProto.FLOAT, TensorProto.FLOAT
        left, right = (rng.random((size, size), np.float32) for _ in "ab")
    graph = helper.make_graph(
        [helper.make_node(operator, ["left", "right"], ["product"])],
        "peak",
        [helper.make_tensor_value_info("left", kind, (size, size))],
        [helper.make_tensor_value_info("product", sums, (size, size))],
        [numpy_helper.from_array(right, "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"left": left})
