"""Peak multiply-adds per second of matrix products, an upper bound for engines."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from bisenet_ros.benchmark.interleave import Budget
from bisenet_ros.inference.backend import native_precisions
from bisenet_ros.inference.torch_engine import DTYPES

SIZES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192)}
"""Rows and columns to try by kind of device; the fastest depends on its caches."""
REPEAT_SECONDS = 0.15
"""Time for which a product is repeated [s]; the fastest run counts."""
PRODUCT_SECONDS = 0.5
"""Products that would take longer are skipped; smaller ones reach the same speed then."""
PEAK_SECONDS = 5.0
"""Total time limit for the products of one precision."""


def gemm_peak(
    device: str, precision: str, threads: int, budget: Budget, sizes: Sequence[int] = ()
) -> float | None:
    """Return the GMAC/s of the fastest square matrix product, or None if it was not measured.

    Not measured are precisions that PyTorch emulates on the device (up to 500 times slower, so no
    peak), devices that PyTorch does not support, and anything without enough time.

    On the CPU, fp32 and int8 are the faster of PyTorch and ONNX Runtime, since it depends on the
    machine which of them has kernels for its instructions; all other products are PyTorch's. fp32
    on CUDA is TF32, as in convolutions. int8 accumulates in int32.

    Args:
        device: as in ``Backend.device``.
        precision: one of ``precision.PRECISIONS``.
        threads: CPU threads.
        budget: nothing is measured if it has less than ``PEAK_SECONDS`` left.
        sizes: rows and columns to try, in ascending order; ``SIZES`` if empty.
    """
    kind = device.partition(":")[0]
    if kind not in SIZES or not _is_native(device, precision) or budget.left() < PEAK_SECONDS:
        return None
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(threads)
    if kind == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        makers = [partial(_torch_product, device, precision)]
        if kind == "cpu" and precision in ("fp32", "int8"):
            makers.append(partial(_onnxruntime_product, precision, threads))
        return fastest_product(makers, sizes or SIZES[kind], device, budget.clock)
    except RuntimeError:  # memory ran out, or the GPU lacks this product
        return None
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])


def fastest_product(
    makers: Sequence[Callable[[int], Callable[[], object]]],
    sizes: Sequence[int],
    device: str,
    clock: Callable[[], float],
) -> float:
    """Return the highest GMAC/s over all ``makers`` and ``sizes``.

    Sizes that are expected to take longer than ``PRODUCT_SECONDS`` are skipped.

    Args:
        makers: each takes a size and returns a function that multiplies two matrices of it.
        sizes: rows and columns, in ascending order.
        device: as in ``Backend.device``.
        clock: current time in seconds.
    """
    # GMAC/s of each maker's latest product, which predicts the time of its next one.
    latest: dict[int, float] = {}
    peak = 0.0
    for size in sizes:
        gmacs = size**3 / 1e9
        for number, make in enumerate(makers):
            expected = latest.get(number, max(latest.values(), default=math.inf))
            if gmacs / expected > PRODUCT_SECONDS:
                continue
            latest[number] = gmacs / _fastest(make(size), device, clock)
            peak = max(peak, latest[number])
    return peak


def _is_native(device: str, precision: str) -> bool:
    # PyTorch multiplies int8 matrices, although its backend has no int8.
    return precision == "int8" or precision in native_precisions("torch", device)


def _fastest(product: Callable[[], object], device: str, clock: Callable[[], float]) -> float:
    """Return the time of the fastest of several runs in seconds."""

    def run() -> float:
        started = clock()
        product()
        if device != "cpu":
            torch.cuda.synchronize(device)
        return clock() - started

    times = [run()]
    # The first run also selects kernels, so it counts only if there is no time for another.
    if times[0] <= PEAK_SECONDS / 2:
        times.append(run())
    while sum(times[1:]) < REPEAT_SECONDS and sum(times) < PRODUCT_SECONDS:
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


def _onnxruntime_product(precision: str, threads: int, size: int) -> Callable[[], object]:
    """Return a product in fp32, or of uint8 by int8, for which ONNX Runtime has fast kernels."""
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
