"""Peak memory of the engine's process."""

import multiprocessing
import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bisenet_ros.benchmark.peak_memory import peak_memory
from bisenet_ros.errors import InferenceError
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.model.file import Model, load

OPTIONS = EngineOptions(
    backend="torch", resolution=(64, 32), device="cpu", precision="fp32", threads=1
)


def test_what_this_process_holds_is_not_counted(tiny_model: Path) -> None:
    held = np.ones(2_000_000_000, np.uint8)
    megabytes = peak_memory(partial(load, tiny_model), OPTIONS)
    assert held.any()
    assert 50 < megabytes < 1500  # mainly Python and PyTorch


def test_an_engine_that_cannot_be_loaded(tiny_model: Path) -> None:
    wrong = EngineOptions(backend="torch", resolution=(64, 32), device="cuda:99")
    with pytest.raises(InferenceError, match="'cuda:99' not found"):
        peak_memory(partial(load, tiny_model), wrong)


def test_a_process_that_takes_too_long_is_ended(tiny_model: Path) -> None:
    with pytest.raises(TimeoutError, match="the torch process took more than 0 s"):
        peak_memory(partial(load, tiny_model), OPTIONS, seconds=0.0)
    assert multiprocessing.active_children() == []


def test_a_process_that_is_killed() -> None:
    with pytest.raises(
        InferenceError, match="the torch process was killed, probably because memory"
    ):
        peak_memory(_die, OPTIONS)


def _die() -> Model:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError
