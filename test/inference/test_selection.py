"""The selection of "auto", and that it is stored."""

import itertools
import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bisenet_ros.deploy.calibration import calibrate
from bisenet_ros.errors import InferenceError
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.openvino_backend import OpenVINOBackend
from bisenet_ros.inference.selection import FRAMES, load_backend, time_engines
from bisenet_ros.inference.torch_backend import TorchBackend
from bisenet_ros.model import file as model_file
from bisenet_ros.model.file import Model
from bisenet_ros.model.metadata import Score
from bisenet_ros.synthetic.street import Street

torch.set_num_threads(1)

SIZE = 64, 32
LOGGER = "bisenet_ros.inference.selection"
Times = Callable[..., list[float]]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Model:
    loaded = model_file.load(tiny_model)
    ranges = calibrate(loaded, [Street(seed, *SIZE).frame(0)[0] for seed in (1, 2, 3)])
    return replace(loaded, metadata=replace(loaded.metadata, calibration=ranges))


@pytest.fixture
def options(tmp_path: Path) -> EngineOptions:
    return EngineOptions(resolution=SIZE, device="cpu", threads=1, engine_cache=tmp_path)


def taking(**milliseconds: float) -> Times:
    """A timer with given times for each precision; PyTorch takes 0.5 ms more."""

    def timer(engines: Any, image: np.ndarray) -> list[float]:
        return [milliseconds[e.precision] + 0.5 * (e.name == "torch") for e in engines]

    return timer


def scored(model: Model, **scores: float) -> Model:
    """Add scores in fp32 and int8, measured with OpenVINO on this machine."""
    with closing(
        OpenVINOBackend(model, EngineOptions(resolution=SIZE, device="cpu", precision="int8"))
    ) as engine:
        arithmetic = engine.arithmetic
    records = (Score("val", "miou", name, value, arithmetic) for name, value in scores.items())
    return replace(model, metadata=replace(model.metadata, scores=tuple(records)))


class Stub:
    """An engine whose frames take ``seconds`` of a fake clock."""

    def __init__(self, clock: list[float], seconds: float) -> None:
        self.clock, self.seconds, self.runs = clock, seconds, 0

    def run(self, image: np.ndarray) -> tuple[np.ndarray, ...]:
        self.runs += 1
        self.clock[0] += 9 if self.runs in (1, FRAMES + 2) else self.seconds  # caches are cold
        return (image[..., 0],)


def test_engines_are_timed_in_turns_and_slow_ones_once() -> None:
    clock = [0.0]
    fast, close, slow = engines = [Stub(clock, seconds) for seconds in (0.01, 0.014, 0.016)]
    times = time_engines(engines, np.zeros((1, 32, 64, 3), np.uint8), lambda: clock[0])  # type: ignore[arg-type]
    assert times == pytest.approx([10, 14, 16])
    turn = FRAMES + 1
    assert (fast.runs, close.runs, slow.runs) == (2 * turn, 2 * turn, turn)


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        ({"int8": 1, "bf16": 2, "fp32": 3}, "int8"),
        ({"int8": 3, "bf16": 2, "fp32": 1}, "fp32"),
    ],
)
def test_the_fastest_accurate_precision_is_taken(
    model: Model,
    options: EngineOptions,
    milliseconds: dict[str, float],
    expected: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    timer = taking(**milliseconds)
    good = scored(model, fp32=0.7, int8=0.6951)
    with caplog.at_level(logging.INFO, LOGGER), closing(load_backend(good, options, timer)) as e:
        assert (e.name, e.precision) == ("openvino", expected)
    assert (
        f"auto selected openvino on cpu in {expected} (per 64x32 frame: openvino int8 "
        in caplog.text
    )
    fastest_of_torch = TorchBackend.native_precisions("cpu")[0]
    assert f"torch {fastest_of_torch} {milliseconds[fastest_of_torch] + 0.5:.1f} ms" in caplog.text


def test_times_of_a_batch_are_logged_as_such(
    model: Model, options: EngineOptions, caplog: pytest.LogCaptureFixture
) -> None:
    pair = replace(options, batch_size=2)
    with (
        caplog.at_level(logging.INFO, LOGGER),
        closing(load_backend(model, pair, taking(int8=3, bf16=2, fp32=1))),
    ):
        assert "(per 2 64x32 frames: openvino " in caplog.text


def test_a_score_of_this_arithmetic_decides(
    model: Model,
    options: EngineOptions,
    caplog: pytest.LogCaptureFixture,
) -> None:
    timer = taking(int8=1, bf16=2, fp32=3)
    bad = scored(model, fp32=0.7, int8=0.6949)
    with caplog.at_level(logging.INFO, LOGGER), closing(load_backend(bad, options, timer)) as e:
        assert e.precision != "int8"
    assert (
        "rejected openvino int8: it loses 0.5 points of mIoU according to the scores" in caplog.text
    )


def test_without_a_score_of_this_arithmetic_the_reference_images_decide(
    model: Model,
    options: EngineOptions,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A random network in int8 is far from fp32; scores of another machine do not matter."""
    timer = taking(int8=1, bf16=2, fp32=3)
    elsewhere = tuple(
        replace(score, measured_on="openvino on another machine")
        for score in scored(model, fp32=0.7, int8=0.7).metadata.scores
    )
    other = replace(model, metadata=replace(model.metadata, scores=elsewhere))
    with caplog.at_level(logging.INFO, LOGGER), closing(load_backend(other, options, timer)) as e:
        assert e.precision != "int8"
    assert "and the model file has no score for openvino" in caplog.text
    with closing(
        load_backend(other, replace(options, precision="int8", backend="openvino"))
    ) as named:
        assert named.precision == "int8"


def test_the_choice_is_kept_for_this_model_and_these_options(
    model: Model, options: EngineOptions
) -> None:
    counted = itertools.count()

    def counting(engines: Any, image: np.ndarray) -> list[float]:
        next(counted)
        return taking(int8=2, bf16=2, fp32=1)(engines, image)

    def choose(model: Model, options: EngineOptions) -> int:
        """Load, and return a counter that timing increments, too."""
        with closing(load_backend(model, options, counting)) as engine:
            assert engine.precision == "fp32"
        return next(counted)

    assert choose(model, options) == 1
    assert choose(model, options) == 2  # incremented by this function alone, so nothing was timed
    assert choose(model, replace(options, threads=2)) == 4
    unscored = replace(model, metadata=replace(model.metadata, calibration={}))
    assert choose(unscored, options) == 6
    assert choose(unscored, options) == 7


def test_a_kept_choice_that_no_longer_works_is_made_again(
    model: Model, options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    timer = taking(int8=9, bf16=9, fp32=1)
    load_backend(model, options, timer).close()

    def run(self: OpenVINOBackend, image: np.ndarray) -> None:
        raise InferenceError("the device is hot")

    monkeypatch.setattr(OpenVINOBackend, "run", run)
    with closing(load_backend(model, options, timer)) as engine:
        assert engine.name == "torch"


def test_what_is_named_is_taken_or_an_error(model: Model, options: EngineOptions) -> None:
    with pytest.raises(InferenceError, match=r"^precision 'fp64' is unknown; use auto, fp32"):
        load_backend(model, replace(options, precision="fp64"))
    with pytest.raises(
        InferenceError, match=r"^precision 'fp16' is not supported by torch on cpu; use auto"
    ):
        load_backend(model, replace(options, precision="fp16", backend="torch"))
    with pytest.raises(InferenceError, match=r"^device 'tpu' is not supported by openvino"):
        load_backend(model, replace(options, device="tpu", backend="openvino"))
    bare = replace(model, metadata=replace(model.metadata, calibration={}))
    with pytest.raises(InferenceError, match="has no calibration, which int8 needs"):
        load_backend(bare, replace(options, precision="int8", backend="openvino"))


def test_an_error_while_engines_are_timed_closes_them(
    model: Model, options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    for backend in (OpenVINOBackend, TorchBackend):

        def close(self: Any, original: Callable[[Any], None] = backend.close) -> None:
            closed.append(self.name)
            original(self)

        monkeypatch.setattr(backend, "close", close)

    def fail(engines: Any, image: np.ndarray) -> list[float]:
        raise InferenceError("the device is gone")

    with pytest.raises(InferenceError, match="the device is gone"):
        load_backend(model, replace(options, precision="fp32"), fail)
    assert sorted(closed) == ["openvino", "torch"]
