"""Checkpoints: everything that a run needs to go on as if it had never stopped."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bisenet_ros.training.settings import Settings, SettingsError, make_settings


class CheckpointError(ValueError):
    """A checkpoint that cannot be resumed; the text names the file and the remedy."""


@dataclass(frozen=True)
class Checkpoint:
    """The state after ``iteration`` iterations; the dicts are PyTorch state dicts.

    ``rng_state`` is that of the CPU's generator, so a resumed run repeats an unbroken one on the
    CPU; on a GPU, whose sums have no fixed order, it only goes on like it.
    """

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
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path} to resume from; start without")
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        return Checkpoint(**{**values, "settings": make_settings(values["settings"])})
    except SettingsError as error:
        raise CheckpointError(
            f"{path} was written by another version ({error}); start a new run"
        ) from error
    except Exception as error:  # torch.load raises many kinds for a damaged file, of many lines
        raise CheckpointError(
            f"{path} is damaged or no checkpoint of 'bisenet train' ({type(error).__name__}); "
            "start a new run"
        ) from error
