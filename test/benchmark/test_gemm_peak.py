"""The peak of the matrix product: a figure for what the machine can, None for the rest."""

from collections.abc import Callable

import pytest
import torch
from fake_clock import FakeClock

from bisenet_ros.benchmark import gemm_peak as module
from bisenet_ros.benchmark.gemm_peak import PEAK_SECONDS, gemm_peak
from bisenet_ros.benchmark.interleave import OVERHEAD_SECONDS, Budget
from bisenet_ros.inference.backend import native_precisions

BUDGET = Budget(0.0, rounds=1)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_cpu(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "native_precisions", lambda name, device: ("bf16", "fp32"))
    monkeypatch.setattr(module, "REPEAT_SECONDS", 0.0)
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


def test_what_is_emulated_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "native_precisions", lambda name, device: ("fp32",))
    monkeypatch.setattr(module, "_torch_product", lambda *_: pytest.fail("a product was made"))
    assert gemm_peak("cpu", "bf16", 1, BUDGET) is None


def test_fp32_on_cuda_is_tf32_as_in_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []

    def look(product: object, device: str, clock: object) -> float:
        used.append(torch.get_float32_matmul_precision())
        return 1.0

    monkeypatch.setattr(module, "native_precisions", lambda name, device: ("bf16", "fp32"))
    monkeypatch.setattr(module, "_torch_product", lambda device, precision, size: None)
    monkeypatch.setattr(module, "_fastest", look)
    before = torch.get_float32_matmul_precision()
    assert gemm_peak("cuda:0", "fp32", 1, BUDGET, sizes=[1000]) == 1
    gemm_peak("cpu", "bf16", 1, BUDGET, sizes=[1000])
    assert used == ["high", before]
    assert torch.get_float32_matmul_precision() == before


class Products:
    """Products that take what a test says of ``gmacs_per_s``; ``runs`` has their sizes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **gmacs_per_s: float) -> None:
        self.clock = FakeClock()
        self.torch: list[int] = []
        self.onnxruntime: list[int] = []
        for maker, speed in gmacs_per_s.items():
            runs = getattr(self, maker)

            def make(
                *options: object, speed: float = speed, runs: list[int] = runs
            ) -> Callable[[], None]:
                size = options[-1]
                assert isinstance(size, int)
                return self.clock.taking(size**3 / 1e9 / speed, lambda: runs.append(size))

            monkeypatch.setattr(module, f"_{maker}_product", make)


def test_the_fastest_product_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    products = Products(monkeypatch, torch=100.0, onnxruntime=200.0)
    assert gemm_peak("cpu", "fp32", 1, Budget(5.0, clock=products.clock)) == pytest.approx(200)
    assert set(products.torch) == set(products.onnxruntime) == {512, 1024, 2048}
    assert products.clock.now < PEAK_SECONDS


def test_sizes_that_would_take_long_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    # 2048 would take 1.7 s, and of ONNX Runtime's 0.09 s.
    products = Products(monkeypatch, torch=5.0, onnxruntime=100.0)
    assert gemm_peak("cpu", "int8", 1, Budget(5.0, clock=products.clock)) == pytest.approx(100)
    assert set(products.torch) == {512, 1024}
    assert set(products.onnxruntime) == {512, 1024, 2048}


def test_a_product_that_takes_all_the_time_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = 512**3 / 1e9 / PEAK_SECONDS
    products = Products(monkeypatch, torch=slow, onnxruntime=slow)
    assert gemm_peak("cpu", "fp32", 1, Budget(5.0, clock=products.clock)) == pytest.approx(slow)
    assert (products.torch, products.onnxruntime) == ([512], [])


def test_nothing_is_started_without_time(monkeypatch: pytest.MonkeyPatch) -> None:
    products = Products(monkeypatch, torch=100.0, onnxruntime=100.0)
    budget = Budget(5.0, clock=products.clock)
    products.clock.now = 5.0 + OVERHEAD_SECONDS - PEAK_SECONDS + 0.1
    assert gemm_peak("cpu", "fp32", 1, budget) is None
    assert products.torch == []
