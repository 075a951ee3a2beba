"""Checkpoints: round trip, fallback to the previous file, and errors with a remedy."""

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bisenet_ros.errors import CheckpointError
from bisenet_ros.training.checkpoint import (
    Checkpoint,
    read_checkpoint,
    resume_from,
    write_checkpoint,
)
from bisenet_ros.training.distributed import DistributedContext
from bisenet_ros.training.settings import Settings

SETTINGS = Settings(iterations=7, crop=(64, 32), precision="bf16")
FINGERPRINT = {
    "list of classes": ["sky", "road"],
    "start": {"scales": [1.0]},
    "number of images": 4,
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "checkpoint.pt"
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = layer.state_dict(), optimizer.state_dict(), {}, {}
    write_checkpoint(path, Checkpoint(SETTINGS, FINGERPRINT, 3, *state))
    return path


def test_round_trip(checkpoint: Path) -> None:
    read = read_checkpoint(checkpoint)
    assert read.settings == SETTINGS
    assert read.fingerprint == FINGERPRINT
    assert read.iteration == 3
    assert read.network["weight"].shape == (2, 2)
    assert read.optimizer["state"][0]["step"] == 1
    assert [path.name for path in checkpoint.parent.iterdir()] == ["checkpoint.pt"]


def test_version_0_1_checkpoint_is_read_by_its_old_names(checkpoint: Path) -> None:
    values = torch.load(checkpoint, weights_only=True)
    values["origin"] = values.pop("fingerprint")
    values["settings"]["brightness"] = values["settings"].pop("color_jitter")
    torch.save(values, checkpoint)
    read = read_checkpoint(checkpoint)
    assert read.fingerprint == FINGERPRINT
    assert read.settings == SETTINGS


def test_require_same_run_accepts_settings_that_may_change(checkpoint: Path) -> None:
    read = read_checkpoint(checkpoint)
    read.require_same_run(SETTINGS, FINGERPRINT)
    free = replace(SETTINGS, workers=5, checkpoint_every=3, precision="fp32")
    read.require_same_run(free, FINGERPRINT)


@pytest.mark.parametrize(
    ("settings", "fingerprint", "difference"),
    [
        (replace(SETTINGS, batch_size=8), FINGERPRINT, r"\(batch_size was 16, now 8\)"),
        (
            SETTINGS,
            {**FINGERPRINT, "number of images": 6},
            r"\(number of images was 4, now 6\)",
        ),
        (SETTINGS, {**FINGERPRINT, "start": {}}, r"\(different start\)"),
        (
            SETTINGS,
            {**FINGERPRINT, "list of classes": ["road", "sky"]},
            "different list of classes",
        ),
        (
            replace(SETTINGS, ema=0.5, seed=1),
            FINGERPRINT,
            "ema was 0.0, now 0.5; seed was 0, now 1",
        ),
    ],
)
def test_checkpoint_of_a_different_run_is_rejected(
    checkpoint: Path, settings: Settings, fingerprint: dict[str, Any], difference: str
) -> None:
    with pytest.raises(CheckpointError, match=difference) as raised:
        read_checkpoint(checkpoint).require_same_run(settings, fingerprint)
    assert "resume with the same --config, --set, --data, --init" in str(raised.value)
    free = "(iterations, precision, workers, checkpoint_every, keep_best and --threads may change)"
    assert free in str(raised.value)
    assert "--init with its model.safetensors" in str(raised.value)


@pytest.mark.parametrize("iterations", [2, 3])
def test_fewer_iterations_than_completed_are_rejected(checkpoint: Path, iterations: int) -> None:
    message = (
        f"iterations is {iterations}, but the checkpoint has completed 3 of 7: set more than 3 to "
        "continue, or use its model.safetensors as it is"
    )
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(checkpoint).require_same_run(
            replace(SETTINGS, iterations=iterations), FINGERPRINT
        )


def assert_rejected(path: Path, text: str) -> None:
    with pytest.raises(CheckpointError, match=text) as raised:
        read_checkpoint(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_checkpoint(tmp_path: Path) -> None:
    assert_rejected(tmp_path / "none.pt", "no checkpoint .* start a run without --resume")


@pytest.mark.parametrize("length", [0, 100, 2000])
def test_truncated_checkpoint(checkpoint: Path, length: int) -> None:
    content = checkpoint.read_bytes()
    assert len(content) > 2000
    checkpoint.write_bytes(content[:length])
    assert_rejected(checkpoint, "is damaged or not a checkpoint .*; start a new run")


def test_previous_checkpoint_replaces_a_damaged_or_missing_one(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_checkpoint(checkpoint, replace(read_checkpoint(checkpoint), iteration=5))
    assert read_checkpoint(checkpoint).iteration == 5
    checkpoint.write_bytes(checkpoint.read_bytes()[:2000])
    assert read_checkpoint(checkpoint).iteration == 3
    assert "checkpoint.pt is damaged" in caplog.text
    assert "resuming from checkpoint_previous.pt, iteration 3" in caplog.text
    checkpoint.unlink()  # killed between the two renames
    assert read_checkpoint(checkpoint).iteration == 3


class Evil:
    """Creates a file when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


def test_foreign_file_is_rejected_and_not_executed(checkpoint: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {"weight": torch.zeros(2)}}, checkpoint)
    assert_rejected(checkpoint, "is damaged or not a checkpoint")
    torch.save([1, 2], checkpoint)
    assert_rejected(checkpoint, "is damaged or not a checkpoint")
    torch.save({"settings": Evil(tmp_path / "executed")}, checkpoint)
    assert_rejected(checkpoint, "is damaged or not a checkpoint")
    assert not (tmp_path / "executed").exists()


def test_checkpoint_without_threads_and_changes_is_read(checkpoint: Path) -> None:
    values = torch.load(checkpoint, weights_only=True)
    del values["threads"], values["changes"]
    torch.save(values, checkpoint)
    read = read_checkpoint(checkpoint)
    assert (read.iteration, read.threads, read.changes) == (3, 0, ())
    resumed = resume_from(checkpoint, SETTINGS, FINGERPRINT, DistributedContext())
    assert resumed.changes == ()


RESUMED = "rounding will differ from an uninterrupted run"


@pytest.mark.parametrize(
    ("changes", "threads", "message", "kept"),
    [
        ({}, 1, "", ()),
        ({"workers": 5}, 1, "resumed with workers 5 instead of 2", ()),
        (
            {"precision": "fp32", "workers": 5},
            1,
            f"resumed with precision fp32 instead of bf16, workers 5 instead of 2: {RESUMED}",
            ("after iteration 3: precision fp32 instead of bf16",),
        ),
        (
            {"precision": "fp32", "checkpoint_every": 9},
            2,
            "resumed with precision fp32 instead of bf16, threads 1 instead of 2, "
            f"checkpoint_every 9 instead of 200: {RESUMED}",
            ("after iteration 3: precision fp32 instead of bf16, threads 1 instead of 2",),
        ),
        (
            {},
            4,
            f"resumed with threads 1 instead of 4: {RESUMED}",
            ("after iteration 3: threads 1 instead of 4",),
        ),
        ({}, 0, "", ()),
        (
            {"iterations": 9},
            1,
            "resumed with iterations 9 instead of 7",
            ("after iteration 3: iterations 9 instead of 7",),
        ),
        (
            {"iterations": 5, "precision": "fp32", "workers": 0},
            1,
            "resumed with iterations 5 instead of 7, precision fp32 instead of bf16, workers 0 "
            f"instead of 2: {RESUMED}",
            ("after iteration 3: iterations 5 instead of 7, precision fp32 instead of bf16",),
        ),
    ],
)
def test_resume_logs_what_changed_on_rank_0(
    checkpoint: Path,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
    threads: int,
    message: str,
    kept: tuple[str, ...],
) -> None:
    caplog.set_level(logging.INFO)
    write_checkpoint(checkpoint, replace(read_checkpoint(checkpoint), threads=threads))
    settings = replace(SETTINGS, **changes)
    resumed = resume_from(checkpoint, settings, FINGERPRINT, DistributedContext())
    assert caplog.messages == ([message] if message else [])
    assert resumed.changes == kept
    caplog.clear()
    assert (
        resume_from(checkpoint, settings, FINGERPRINT, DistributedContext(rank=1, size=2)).changes
        == kept
    )
    assert caplog.messages == []


def test_resuming_a_finished_run_records_no_change(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    write_checkpoint(checkpoint, replace(read_checkpoint(checkpoint), iteration=7))
    settings = replace(SETTINGS, precision="fp32")
    assert resume_from(checkpoint, settings, FINGERPRINT, DistributedContext()).changes == ()
    assert caplog.messages == []


def test_checkpoint_with_unknown_settings_is_rejected(checkpoint: Path) -> None:
    values = torch.load(checkpoint, weights_only=True)
    values["settings"]["momentum"] = 0.9
    torch.save(values, checkpoint)
    assert_rejected(checkpoint, "another version .*unknown setting 'momentum'")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iteration", "3"),
        ("network", [1]),
        ("network", {"weight": "a"}),
        ("network", {"weight": torch.zeros(2, 2).to(torch.float8_e4m3fn)}),
        ("network", {"weight": torch.zeros(2, 2, dtype=torch.complex64)}),
        ("fingerprint", None),
        ("settings", [1]),
    ],
)
def test_checkpoint_with_wrong_types_is_rejected(
    checkpoint: Path, name: str, value: object
) -> None:
    values = torch.load(checkpoint, weights_only=True)
    torch.save(values | {name: value}, checkpoint)
    assert_rejected(checkpoint, "is damaged or not a checkpoint .*; start a new run")


def test_fifo_is_not_a_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "checkpoint.pt")
    assert_rejected(tmp_path / "checkpoint.pt", "no checkpoint .* to resume from")
