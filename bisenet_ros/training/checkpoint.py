"""Checkpoints: the full state of a run, so that a resumed run equals an uninterrupted one."""

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

WITHOUT_EFFECT = ("workers", "checkpoint_every", "keep_best")
"""Settings that do not affect the result; they may change on resume."""
IN_ROUNDING = ("precision", "threads")
"""Settings that affect only rounding; they may change on resume, which is logged and stored."""
IN_SCHEDULE = ("iterations",)
"""Settings that affect the learning rates to come; as ``IN_ROUNDING``."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after ``iteration`` iterations.

    Attributes:
        settings: Settings of the run.
        fingerprint: What identifies the run, see ``InitialModel.fingerprint``.
        iteration: Number of completed iterations.
        network: State dict of the network.
        optimizer: State dict of the optimizer.
        average: State dict of the weights' moving average; empty if the run has none.
        scaler: State dict of the fp16 loss scaler; empty in other precisions.
        threads: Number of CPU threads; 0 if the checkpoint does not record it.
        changes: One line for each resume that changed a setting of ``IN_ROUNDING`` or
            ``IN_SCHEDULE``.
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
        """Raise CheckpointError unless settings and fingerprint are those of this checkpoint.

        Raises:
            CheckpointError: A setting that may not change or the fingerprint differs, or other
                ``iterations`` are completed already; the message names it.
        """
        before, now = asdict(self.settings), asdict(settings)
        changed = [
            f"{name} was {before[name]}, now {value}"
            for name, value in now.items()
            if name not in (*WITHOUT_EFFECT, *IN_ROUNDING, *IN_SCHEDULE) and value != before[name]
        ]
        changed += [
            f"{name} was {was}, now {value}" if isinstance(value, int) else f"different {name}"
            for name, value in fingerprint.items()
            if value != (was := self.fingerprint.get(name))
        ]
        if changed:
            raise CheckpointError(
                f"the checkpoint belongs to a different run ({'; '.join(changed)}): resume with "
                "the same --config, --set, --data, --init and number of processes (iterations, "
                "precision, workers, checkpoint_every, keep_best and --threads may change), or "
                "train from its weights into another folder: --init with its model.safetensors"
            )
        if settings.iterations != self.settings.iterations and (
            settings.iterations <= self.iteration
        ):
            raise CheckpointError(
                f"iterations is {settings.iterations}, but the checkpoint has completed "
                f"{self.iteration} of {self.settings.iterations}: set more than {self.iteration} "
                "to continue, or use its model.safetensors as it is"
            )


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically, and keep the previous one at ``previous_path(path)``.

    If the process is killed while writing, at least one of the two files stays intact.

    Raises:
        OSError: The file cannot be written.
    """
    path = path.resolve()
    if path.parent.is_dir():
        remove_partial_files(path.parent)  # left by a killed run; no other process writes here
    try:
        with atomic_write(path) as written:
            torch.save({**vars(checkpoint), "settings": asdict(checkpoint.settings)}, written)
            if path.exists():
                path.replace(previous_path(path))
    except RuntimeError as error:  # how PyTorch reports a full disk
        raise OSError(f"cannot write {path}: {first_line(error)}; is the disk full?") from error


def previous_path(path: Path) -> Path:
    """Return the path of the previous checkpoint beside ``path``."""
    return path.with_stem(f"{path.stem}_previous")


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint written by ``write_checkpoint``, without executing code in it.

    If the file is missing or damaged, for example by a power failure, read the previous
    checkpoint and log a warning.

    Raises:
        CheckpointError: Neither file can be used; the message describes the one at ``path``.
    """
    try:
        return _read(path)
    except CheckpointError as error:
        try:
            checkpoint = _read(previous_path(path))
        except CheckpointError:
            raise error from None
        logger.warning(
            "%s; resuming from %s, iteration %d",
            str(error).partition(";")[0],
            previous_path(path).name,
            checkpoint.iteration,
        )
        return checkpoint


def resume_from(
    path: Path, settings: Settings, fingerprint: Mapping[str, Any], processes: DistributedContext
) -> Checkpoint:
    """Return the checkpoint at ``path`` if it belongs to the run described by the arguments.

    Rank 0 logs which settings of ``IN_SCHEDULE``, ``IN_ROUNDING`` and ``WITHOUT_EFFECT`` differ
    from the checkpoint's. Those that affect the result are also appended to
    ``Checkpoint.changes``.

    Args:
        path: Checkpoint file.
        settings: Settings of the run, with ``precision`` resolved, not "auto".
        fingerprint: See ``InitialModel.fingerprint``.
        processes: This process and its peers.

    Raises:
        CheckpointError: See ``read_checkpoint`` and ``Checkpoint.require_same_run``.
    """
    checkpoint = read_checkpoint(path)
    checkpoint.require_same_run(settings, fingerprint)
    if checkpoint.iteration == settings.iterations:
        return checkpoint
    threads = torch.get_num_threads()
    now = {**asdict(settings), "threads": threads}
    before = {**asdict(checkpoint.settings), "threads": checkpoint.threads or threads}
    schedule, rounding, harmless = (
        [
            f"{name} {now[name]} instead of {before[name]}"
            for name in names
            if now[name] != before[name]
        ]
        for names in (IN_SCHEDULE, IN_ROUNDING, WITHOUT_EFFECT)
    )
    if processes.rank == 0 and (schedule or rounding or harmless):
        effect = ": rounding will differ from an uninterrupted run" if rounding else ""
        logger.info("resumed with %s%s", ", ".join(schedule + rounding + harmless), effect)
    if schedule or rounding:
        change = f"after iteration {checkpoint.iteration}: {', '.join(schedule + rounding)}"
        checkpoint = replace(checkpoint, changes=(*checkpoint.changes, change))
    return checkpoint


def _read(path: Path) -> Checkpoint:
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {path} to resume from; start a run without --resume")
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        if "origin" in values:  # the name in version 0.1
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
    except Exception as error:  # torch.load raises many exception types for damaged files
        raise CheckpointError(
            f"{path} is damaged or not a checkpoint of 'bisenet train' ({type(error).__name__}); "
            "start a new run"
        ) from error


def _check_types(values: Mapping[str, Any]) -> None:
    """Raise TypeError if a value of a checkpoint has the wrong type."""
    expected: dict[str, type] = {"iteration": int, "threads": int, "changes": tuple}
    expected |= dict.fromkeys(("fingerprint", "network", "optimizer", "average", "scaler"), dict)
    for name, kind in expected.items():
        if name in values and not isinstance(values[name], kind):
            raise TypeError(f"{name} is {type(values[name]).__name__}")
    for name, tensor in values["network"].items():
        if not torch.is_tensor(tensor) or tensor.dtype not in (torch.float32, torch.int64):
            raise TypeError(f"{name} is not a float32 or int64 tensor")


def _of_another_version(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path} was written by another version ({why}); start a new run")
