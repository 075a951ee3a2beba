"""The multiply-adds per second that a machine's own matrix product reaches: a bound for engines."""

import time
from collections.abc import Callable

import numpy as np
import torch

from bisenet_ros.inference.torch_backend import DTYPES

SECONDS = 0.5
"""How long a product is repeated at most, twice at least; the fastest counts."""


def matrix_peak(device: str, precision: str, threads: int, size: int | None = None) -> float | None:
    """GMAC/s of a square matrix product, or None where we know of none to ask for.

    fp32, bf16 and fp16 are torch's product. int8 is the faster of torch's and, on the CPU, ONNX
    Runtime's of unsigned by signed numbers, both with int32 sums: which of them has kernels for
    the instructions at hand differs from machine to machine.

    Args:
        device: cpu, cuda or cuda:N; of others None is known.
        precision: one of ``precision.PRECISIONS``.
        threads: of the CPU.
        size: rows and columns; None for a size at which a device is at its best.
    """
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda") or (kind == "cpu" and precision == "fp16"):
        return None
    size = size or (2048 if kind == "cpu" else 8192)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        if precision != "int8":
            a, b = (torch.rand(size, size, device=device).to(DTYPES[precision]) for _ in "ab")
            seconds = _fastest(lambda: torch.mm(a, b), device)
        else:
            left, right = (
                torch.randint(-127, 128, (size, size), dtype=torch.int8, device=device)
                for _ in "ab"
            )
            seconds = _fastest(lambda: torch._int_mm(left, right), device)
            if kind == "cpu":
                seconds = min(seconds, _fastest(_integer_product(right.numpy(), threads), device))
    finally:
        torch.set_num_threads(before)
    return size**3 / seconds / 1e9


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


def _integer_product(
    right: "np.ndarray[tuple[int, int], np.dtype[np.int8]]", threads: int
) -> Callable[[], object]:
    """ONNX Runtime's product of a uint8 matrix and ``right``."""
    import onnxruntime
    from onnx import TensorProto, helper

    shape = right.shape
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["left", "right"], ["product"])],
        "peak",
        [helper.make_tensor_value_info("left", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("product", TensorProto.INT32, shape)],
        [helper.make_tensor("right", TensorProto.INT8, shape, right.tobytes(), raw=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    left = np.full(shape, 3, np.uint8)
    return lambda: session.run(None, {"left": left})
