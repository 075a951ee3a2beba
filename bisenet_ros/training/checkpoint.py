"""Checkpoints: everything that a run needs to go on as if it had never stopped."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bisenet_ros.training.settings import Settings, make_settings


class CheckpointError(ValueError):
    """A checkpoint that cannot be resumed; the text names the file and the remedy."""


@dataclass(frozen=True)
class Checkpoint:
    """The state after ``iteration`` iterations; the dicts are PyTorch state dicts."""

    settings: Settings
    iteration: int
    network: dict[str, Any]
    optimizer: dict[str, Any]
    rng_state: torch.Tensor


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically: a run that is killed meanwhile leaves the checkpoint before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    torch.save({**vars(checkpoint), "settings": asdict(checkpoint.settings)}, temporary)
    temporary.replace(path)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of ``write_checkpoint``; nothing in it is executed.

    Raises:
        CheckpointError: the file is missing, truncated or of another kind.
    """
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        return Checkpoint(**{**values, "settings": make_settings(values["settings"])})
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise CheckpointError(
            f"cannot resume from {path} ({error}); give another checkpoint or start anew"
        ) from error
