"""Checkpoints: everything that a run needs to go on as if it had never stopped."""

import logging
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from bisenet_ros.atomic import atomic_write, remove_partial_files
from bisenet_ros.errors import CheckpointError, SettingsError, first_line
from bisenet_ros.training.distributed import DistributedContext
from bisenet_ros.training.settings import Settings, make_settings

logger = logging.getLogger(__name__)

WITHOUT_EFFECT = ("workers", "checkpoint_every")
"""Settings that change nothing of the result: a run may go on with others."""
IN_ROUNDING = ("precision", "threads")
"""What changes the result in rounding alone: a run may go on with others, and says so."""


@dataclass(frozen=True)
class Checkpoint:
    """The state after ``iteration`` iterations; the dicts are PyTorch state dicts.

    ``fingerprint`` identifies the run, see ``InitialModel.fingerprint``. ``average`` is the state
    of the moving average of the weights, ``scaler`` that of the loss scale of fp16; both are empty
    where they are not used. ``threads`` are those of the CPU, 0 in checkpoints that do not name
    them. ``changes`` has a line for each time that the run was resumed with something else of
    ``IN_ROUNDING``.
    """

    settings: Settings
    fingerprint: dict[str, Any]
    iteration: int
    network: dict[str, Any]
    optimizer: dict[str, Any]
    average: dict[str, Any]
    scaler: dict[str, Any]
    threads: int = 0
    changes: tuple[str, ...] = ()

    def require_same_run(self, settings: Settings, fingerprint: Mapping[str, Any]) -> None:
        """Raise CheckpointError unless this is a checkpoint of the same run.

        Raises:
            CheckpointError: naming what differs.
        """
        before, now = asdict(self.settings), asdict(settings)
        changed = [
            f"{name} was {before[name]} and is {value}"
            for name, value in now.items()
            if name not in (*WITHOUT_EFFECT, *IN_ROUNDING) and value != before[name]
        ]
        changed += [
            f"it has another {name}"
            for name in fingerprint
            if fingerprint[name] != self.fingerprint.get(name)
        ]
        if changed:
            raise CheckpointError(
                f"the checkpoint is of another run ({'; '.join(changed)}): give the same --config, "
                "--set, --data and --init to as many processes (precision, workers, "
                "checkpoint_every and --threads may change), or train into another folder"
            )


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically, and keep the one before as ``previous_path(path)``.

    A run that is killed meanwhile leaves at least one of the two whole.

    Raises:
        OSError: it cannot be written.
    """
    path = path.resolve()
    if path.parent.is_dir():
        remove_partial_files(path.parent)  # of a run that was killed; this one alone writes here
    try:
        with atomic_write(path) as written:
            torch.save({**vars(checkpoint), "settings": asdict(checkpoint.settings)}, written)
            if path.exists():
                path.replace(previous_path(path))
    except RuntimeError as error:  # how PyTorch reports a full disk
        raise OSError(f"cannot write {path}: {first_line(error)}; is the disk full?") from error


def previous_path(path: Path) -> Path:
    """Return where the checkpoint before the one at ``path`` is kept."""
    return path.with_stem(f"{path.stem}_previous")


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of ``write_checkpoint``; nothing in it is executed.

    If it is missing or damaged, as after a power cut, the previous one is read, with a warning.

    Raises:
        CheckpointError: neither can be used; the text is about the one at ``path``.
    """
    try:
        return _read(path)
    except CheckpointError as error:
        try:
            checkpoint = _read(previous_path(path))
        except CheckpointError:
            raise error from None
        logger.warning(
            "%s; going on from %s, iteration %d",
            str(error).partition(";")[0],
            previous_path(path).name,
            checkpoint.iteration,
        )
        return checkpoint


def resume_from(
    path: Path, settings: Settings, fingerprint: Mapping[str, Any], processes: DistributedContext
) -> Checkpoint:
    """Return the checkpoint at ``path``, of a run with these settings and this fingerprint.

    Rank 0 logs in one line which settings of ``IN_ROUNDING`` and ``WITHOUT_EFFECT`` differ from
    those of the checkpoint; ``changes`` of the result gains a line on the former.

    Args:
        settings: with the precision that is computed in, not "auto".

    Raises:
        CheckpointError: see ``read_checkpoint`` and ``Checkpoint.require_same_run``.
    """
    checkpoint = read_checkpoint(path)
    checkpoint.require_same_run(settings, fingerprint)
    if checkpoint.iteration == settings.iterations:
        return checkpoint
    threads = torch.get_num_threads()
    now = {**asdict(settings), "threads": threads}
    before = {**asdict(checkpoint.settings), "threads": checkpoint.threads or threads}
    rounding, harmless = (
        [
            f"{name} {now[name]} instead of {before[name]}"
            for name in names
            if now[name] != before[name]
        ]
        for names in (IN_ROUNDING, WITHOUT_EFFECT)
    )
    if processes.rank == 0 and (rounding or harmless):
        effect = ": results differ from an unbroken run in rounding" if rounding else ""
        logger.info("resumed with %s%s", ", ".join(rounding + harmless), effect)
    if rounding:
        change = f"after iteration {checkpoint.iteration}: {', '.join(rounding)}"
        checkpoint = replace(checkpoint, changes=(*checkpoint.changes, change))
    return checkpoint


def _read(path: Path) -> Checkpoint:
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path} to resume from; start without")
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        if "origin" in values:  # what version 0.1 called it
            values["fingerprint"] = values.pop("origin")
        known = {field.name for field in fields(Checkpoint)}
        needed = {field.name for field in fields(Checkpoint) if field.default is MISSING}
        if "iteration" in values and not needed <= values.keys() <= known:
            raise _of_another_version(path, "other contents")
        _check_types(values)
        return Checkpoint(**{**values, "settings": make_settings(values["settings"])})
    except CheckpointError:
        raise
    except SettingsError as error:
        raise _of_another_version(path, str(error)) from error
    except Exception as error:  # torch.load raises many kinds for a damaged file, of many lines
        raise CheckpointError(
            f"{path} is damaged or no checkpoint of 'bisenet train' ({type(error).__name__}); "
            "start a new run"
        ) from error


def _check_types(values: Mapping[str, Any]) -> None:
    """Raise TypeError unless ``values`` could be those of a checkpoint."""
    expected: dict[str, type] = {"iteration": int, "threads": int, "changes": tuple}
    expected |= dict.fromkeys(("fingerprint", "network", "optimizer", "average", "scaler"), dict)
    for name, kind in expected.items():
        if name in values and not isinstance(values[name], kind):
            raise TypeError(f"{name} is {type(values[name]).__name__}")
    for name, tensor in values["network"].items():
        if not torch.is_tensor(tensor) or tensor.dtype not in (torch.float32, torch.int64):
            raise TypeError(f"{name} is no float32 tensor")


def _of_another_version(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path} was written by another version ({why}); start a new run")
