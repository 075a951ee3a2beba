"""The peak of matrix products: GMAC/s of native precisions, None for others."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fake_clock import FakeClock

from bisenet_ros.benchmark.gemm_peak import PEAK_SECONDS, SIZES, fastest_product, gemm_peak
from bisenet_ros.benchmark.interleave import OVERHEAD_SECONDS, Budget
from bisenet_ros.inference.backend import native_precisions

BUDGET = Budget(0.0, rounds=1)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_cpu(precision: str) -> None:
    threads = torch.get_num_threads()
    peak = gemm_peak("cpu", precision, 1, BUDGET, sizes=[32, 64])
    assert peak is not None
    assert 0 < peak < 1e5
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(("device", "precision"), [("cpu", "fp16"), ("gpu", "fp32")])
def test_unknown(device: str, precision: str) -> None:
    assert gemm_peak(device, precision, 1, BUDGET, sizes=[32, 64]) is None


def test_bf16_has_a_peak_only_where_the_cpu_computes_it() -> None:
    peak = gemm_peak("cpu", "bf16", 1, BUDGET, sizes=[32])
    assert (peak is not None) == ("bf16" in native_precisions("torch", "cpu"))


@pytest.mark.gpu
def test_gpu_fp32_is_tf32_as_in_convolutions() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    used = set()

    class Precision(torch.overrides.TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if function is torch.mm:
                used.add(torch.get_float32_matmul_precision())
            return function(*args, **(kwargs or {}))

    before = torch.get_float32_matmul_precision()
    with Precision():
        assert gemm_peak("cuda:0", "fp32", 1, BUDGET, sizes=[256]) is not None
    assert used == {"high"}
    assert torch.get_float32_matmul_precision() == before


def test_nothing_is_started_without_time() -> None:
    clock = FakeClock()
    budget = Budget(5.0, clock=clock)
    clock.now = 5.0 + OVERHEAD_SECONDS - PEAK_SECONDS + 0.1
    assert gemm_peak("cpu", "fp32", 1, budget, sizes=[32]) is None


class Product:
    """Makes products of a known speed by a fake clock; ``sizes`` records those that ran."""

    def __init__(self, clock: FakeClock, gmacs_per_s: float) -> None:
        self.clock, self.gmacs_per_s = clock, gmacs_per_s
        self.sizes: list[int] = []

    def __call__(self, size: int) -> Callable[[], None]:
        seconds = size**3 / 1e9 / self.gmacs_per_s
        return self.clock.taking(seconds, lambda: self.sizes.append(size))


def peak_of(*gmacs_per_s: float) -> tuple[float, FakeClock, list[list[int]]]:
    """Return the peak of products of these speeds, the clock, and the sizes that each ran."""
    clock = FakeClock()
    products = [Product(clock, speed) for speed in gmacs_per_s]
    peak = fastest_product(products, SIZES["cpu"], "cpu", clock)
    return peak, clock, [product.sizes for product in products]


def test_the_fastest_product_counts() -> None:
    peak, clock, (slow, fast) = peak_of(100.0, 200.0)
    assert peak == pytest.approx(200)
    assert set(slow) == set(fast) == {512, 1024, 2048}
    assert clock.now < PEAK_SECONDS


def test_sizes_that_would_take_long_are_not_tried() -> None:
    # 2048 would take the slow one 1.7 s, and the fast one 0.09 s.
    peak, _, (slow, fast) = peak_of(5.0, 100.0)
    assert peak == pytest.approx(100)
    assert set(slow) == {512, 1024}
    assert set(fast) == {512, 1024, 2048}


def test_a_product_that_takes_all_the_time_is_run_once() -> None:
    speed = 512**3 / 1e9 / PEAK_SECONDS
    peak, _, sizes = peak_of(speed, speed)
    assert peak == pytest.approx(speed)
    assert sizes == [[512], []]
