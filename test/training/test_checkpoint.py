"""Checkpoints: what goes in comes out, and anything else is refused with a remedy."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bisenet_ros.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    read_checkpoint,
    write_checkpoint,
)
from bisenet_ros.training.settings import Settings


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "checkpoint.pt"
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    settings = Settings(iterations=7, crop=(64, 32))
    state = layer.state_dict(), optimizer.state_dict(), {}, {}
    write_checkpoint(path, Checkpoint(settings, 3, *state))
    return path


def test_round_trip(checkpoint: Path) -> None:
    read = read_checkpoint(checkpoint)
    assert read.settings == Settings(iterations=7, crop=(64, 32))
    assert read.iteration == 3
    assert read.network["weight"].shape == (2, 2)
    assert read.optimizer["state"][0]["step"] == 1
    assert [path.name for path in checkpoint.parent.iterdir()] == ["checkpoint.pt"]


def assert_refused(path: Path, text: str) -> None:
    with pytest.raises(CheckpointError, match=text) as raised:
        read_checkpoint(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing(tmp_path: Path) -> None:
    assert_refused(tmp_path / "none.pt", "there is no checkpoint .* start without")


@pytest.mark.parametrize("length", [0, 100, 2000])
def test_truncated(checkpoint: Path, length: int) -> None:
    content = checkpoint.read_bytes()
    assert len(content) > 2000
    checkpoint.write_bytes(content[:length])
    assert_refused(checkpoint, "is damaged or no checkpoint .*; start a new run")


def test_the_one_before_is_taken_instead(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_checkpoint(checkpoint, replace(read_checkpoint(checkpoint), iteration=5))
    assert read_checkpoint(checkpoint).iteration == 5
    checkpoint.write_bytes(checkpoint.read_bytes()[:2000])
    assert read_checkpoint(checkpoint).iteration == 3
    assert "checkpoint.pt is damaged" in caplog.text
    assert "going on from checkpoint_previous.pt, iteration 3" in caplog.text
    checkpoint.unlink()  # killed between the two renames
    assert read_checkpoint(checkpoint).iteration == 3


class Evil:
    """Unpickled, it would leave a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


def test_foreign(checkpoint: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {"weight": torch.zeros(2)}}, checkpoint)
    assert_refused(checkpoint, "is damaged or no checkpoint")
    torch.save([1, 2], checkpoint)
    assert_refused(checkpoint, "is damaged or no checkpoint")
    torch.save({"settings": Evil(tmp_path / "executed")}, checkpoint)
    assert_refused(checkpoint, "is damaged or no checkpoint")
    assert not (tmp_path / "executed").exists()


def test_settings_of_another_version(checkpoint: Path) -> None:
    values = torch.load(checkpoint, weights_only=True)
    values["settings"]["momentum"] = 0.9
    torch.save(values, checkpoint)
    assert_refused(checkpoint, "another version .*unknown setting 'momentum'")
