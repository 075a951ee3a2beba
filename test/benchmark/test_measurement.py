"""Interleaved measurement: figures of each engine, and engines that do not work."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_clock import FakeClock

from bisenet_ros.benchmark import measurement
from bisenet_ros.benchmark.interleave import FRAMES_PER_TURN, MIN_ROUNDS, Budget
from bisenet_ros.benchmark.measurement import Engine, Measurement, measure
from bisenet_ros.errors import InferenceError
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.segmenter import Segmentation, Segmenter
from bisenet_ros.model.file import load

FP32, BF16, INT8 = (Engine("torch", precision) for precision in ("fp32", "bf16", "int8"))
OPTIONS = EngineOptions(resolution=(64, 32), device="cpu", threads=1)
IMAGE = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)


@pytest.fixture(scope="module")
def measured(tiny_model: Path) -> Iterator[Measurement]:
    threads = torch.get_num_threads()
    engines = [BF16, INT8, FP32]
    yield measure(load(tiny_model), engines, FP32, OPTIONS, IMAGE, 0.5, Budget(0.0, rounds=3))
    assert torch.get_num_threads() == threads


def test_the_reference_comes_first_and_once(measured: Measurement) -> None:
    assert [result.engine for result in measured.results] == [FP32, BF16]
    assert {result.device for result in measured.results} == {"cpu"}
    assert {result.resolution for result in measured.results} == {(64, 32)}


def test_ratios_are_of_medians_to_the_reference(measured: Measurement) -> None:
    first, second = measured.results
    assert first.ratio == 1
    assert second.ratio == first.p50_ms / second.p50_ms


def test_figures_fit_together(measured: Measurement) -> None:
    for result in measured.results:
        assert 0 < result.p50_ms <= result.p95_ms <= result.p99_ms
        assert result.fps == pytest.approx(1000 / result.p50_ms)
        assert result.gmacs_per_s == pytest.approx(0.5 * result.fps)
        assert result.frames == 3 * FRAMES_PER_TURN
        assert result.stages_ms.inference_ms == pytest.approx(result.p50_ms)
        assert result.stages_ms.resize_ms > 0  # the image is not of the network's size
        assert result.stages_ms.postprocess_ms > 0
    assert 0 <= measured.others <= 1


def test_an_engine_that_does_not_work_has_its_reason(measured: Measurement) -> None:
    assert list(measured.skipped) == [INT8]
    assert "'int8' is not supported by torch on cpu" in measured.skipped[INT8]


def test_a_reference_that_does_not_work_is_an_error(tiny_model: Path) -> None:
    with pytest.raises(InferenceError, match="the reference torch:int8 does not work: precision"):
        measure(load(tiny_model), [FP32], INT8, OPTIONS, IMAGE, 0.5, Budget(0.0, rounds=1))


def test_engines_are_not_loaded_when_the_rounds_need_the_time(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()

    class SlowToLoad(Segmenter):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            clock.now += 12.0

        def segment_batch(self, *arguments: Any) -> list[Segmentation]:
            clock.now += 1.0
            return super().segment_batch(*arguments)

    monkeypatch.setattr(measurement, "Segmenter", SlowToLoad)
    engines = [BF16, Engine("openvino", "fp32"), Engine("openvino", "bf16")]
    budget = Budget(5.0, clock=clock)
    measured = measure(load(tiny_model), engines, FP32, OPTIONS, IMAGE, 0.5, budget)
    assert [result.engine for result in measured.results] == [FP32, BF16]
    assert [result.frames for result in measured.results] == [MIN_ROUNDS] * 2
    # 26 seconds are over; another engine would take 13, and the rounds of three 6: 12 too many,
    # and 15 for the last one.
    assert measured.skipped == dict.fromkeys(
        engines[1:], "no time left to load it, give --seconds 32"
    )
    assert clock.now <= 5.0 + 30.0
