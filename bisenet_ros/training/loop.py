"""The training loop."""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from bisenet_ros.classes import IGNORE_ID
from bisenet_ros.datasets import Dataset
from bisenet_ros.errors import DatasetError, TrainingError
from bisenet_ros.network import BiSeNetV2
from bisenet_ros.training.checkpoint import Checkpoint, write_checkpoint
from bisenet_ros.training.distributed import ALONE, DistributedContext
from bisenet_ros.training.initialization import InitialModel, new_start
from bisenet_ros.training.loss import inverse_log_weights
from bisenet_ros.training.malloc import keep_freed_memory
from bisenet_ros.training.settings import Settings
from bisenet_ros.training.train_dataset import TrainDataset, sample_indices
from bisenet_ros.training.trainer import Batch, Trainer, computes_bf16, resolve_precision

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """One iteration done; times in seconds, ``waited`` of them for samples."""

    iteration: int
    loss: float
    learning_rate: float
    seconds: float
    waited: float


@dataclass(frozen=True)
class TrainingOutcome:
    """How a run ended.

    - ``network``: the result after ``iteration`` iterations, with its boosters: the moving average
      of the weights with ``settings.ema``, else the last ones.
    - ``stopped``: it was asked to stop before its end, and can be resumed.
    """

    network: BiSeNetV2
    iteration: int
    stopped: bool


def train(
    dataset: Dataset,
    settings: Settings,
    checkpoint_path: Path,
    report: Callable[[Progress, BiSeNetV2], Any],
    *,
    resume: Checkpoint | None = None,
    start: InitialModel | None = None,
    processes: DistributedContext = ALONE,
    stop: Callable[[], bool] = lambda: False,
) -> TrainingOutcome:
    """Train on ``dataset`` until all iterations are done or ``stop`` returns True.

    A checkpoint is written every ``settings.checkpoint_every`` iterations, at the end, and after
    any exception between two iterations: a run resumed with the same precision and number of
    threads then ends with the weights of an unbroken one (on a GPU, whose sums have no fixed order,
    with similar ones). On rank 0 ``report`` is called after each iteration, and its checkpoint,
    with the result so far. Then all processes ask ``stop``, and all end if one of them has to.

    ``resume`` is a checkpoint of the same run (``resume_from``), with as many processes. Without a
    ``start`` a new network of ``settings.preset`` is trained.

    Raises:
        TrainingError: the batch cannot be shared by the processes, the loss is no longer a
            number, no pixel has a class, or a GPU's memory is too small.
        DatasetError: a file of ``dataset`` cannot be used.
    """
    _check_shares(settings, processes)
    settings = resolve_precision(settings, processes)
    keep_freed_memory()
    if processes.rank == 0 and (resume is None or resume.iteration < settings.iterations):
        _announce(settings, processes.device)
    samples = TrainDataset(dataset, settings)
    start = start or new_start(settings, len(dataset.classes))
    class_weights = _class_weights(dataset) if settings.class_weights else None
    trainer = Trainer(start, settings, processes, class_weights)
    if resume is not None:
        trainer.load(resume)
    fingerprint = start.fingerprint(dataset, processes)
    batches = iter(_loader(samples, trainer.iteration, processes))
    written = 0

    def save() -> None:
        nonlocal written
        if processes.rank == 0 and trainer.iteration != written:
            write_checkpoint(checkpoint_path, trainer.checkpoint(fingerprint))
            written = trainer.iteration

    stopped = False
    learned = resume is not None  # something; the loss is 0 only where no pixel has a class
    try:
        while trainer.iteration < settings.iterations and not stopped:
            started = time.monotonic()
            with _errors_of_workers():
                parts = [next(batches) for _ in range(settings.grad_accum_steps)]
            waited = time.monotonic() - started
            rate = trainer.learning_rate
            loss = trainer.step(parts)
            seconds = time.monotonic() - started
            learned = learned or loss > 0
            if not learned and trainer.iteration * settings.batch_size >= samples.epoch_length:
                raise _nothing_to_learn(dataset)
            if trainer.iteration % settings.checkpoint_every == 0:
                save()
            if processes.rank == 0:
                report(Progress(trainer.iteration, loss, rate, seconds, waited), trainer.result)
            stopped = processes.any(stop())
    finally:
        if trainer.between_steps:
            save()
    unfinished = trainer.iteration < settings.iterations
    return TrainingOutcome(trainer.result, trainer.iteration, stopped and unfinished)


def _loader(
    samples: TrainDataset, first_iteration: int, processes: DistributedContext
) -> DataLoader[Batch]:
    """Return the parts of all batches of this process, in order, from ``first_iteration`` on."""
    settings = samples.settings
    return DataLoader(
        samples,
        settings.batch_size // (processes.size * settings.grad_accum_steps),
        sampler=sample_indices(settings, first_iteration, processes),
        num_workers=settings.workers,
        worker_init_fn=_start_worker,
        pin_memory=processes.device != "cpu",
        # The loader seeds its workers from a generator; the global one is not for that.
        generator=torch.Generator(),
    )


def _nothing_to_learn(dataset: Dataset) -> TrainingError:
    return TrainingError(
        f"no pixel of {dataset.root} has a class, so there is nothing to learn: 'bisenet dataset "
        "check' shows what its labels hold"
    )


def _class_weights(dataset: Dataset) -> Tensor:
    """Return the weight of each class, float32 [C], by the pixels of all label files.

    Raises:
        TrainingError: no pixel has a class.
        DatasetError: a label file cannot be used.
    """

    def count(index: int) -> NDArray[np.int64]:
        return np.bincount(dataset.read_labels(index).ravel(), minlength=IGNORE_ID + 1)

    logger.info("reading all labels for class_weights")
    with ThreadPoolExecutor() as pool:  # OpenCV reads files without holding Python's lock
        counts = sum(pool.map(count, range(len(dataset))), np.zeros(IGNORE_ID + 1, np.int64))
    counts = counts[: len(dataset.classes)]
    if not counts.any():
        raise _nothing_to_learn(dataset)
    return inverse_log_weights(counts)


@contextmanager
def _errors_of_workers() -> Iterator[None]:
    """Raise what a worker found wrong with a file as if it had happened here."""
    try:
        yield
    except DatasetError as error:
        # PyTorch puts the worker's traceback in place of the message, which is its last line.
        message = str(error).strip().splitlines()[-1].rpartition("DatasetError: ")[2]
        raise DatasetError(message) from None


def _announce(settings: Settings, device: str) -> None:
    """Log what the run is computed with."""
    threads = torch.get_num_threads()
    logger.info(
        "training on %s in %s, %d thread%s",
        device,
        settings.precision,
        threads,
        "s" if threads > 1 else "",
    )
    if settings.precision == "bf16" and not computes_bf16(device):
        logger.warning(
            "precision bf16 is emulated on %s, many times slower than fp32: give precision: auto, "
            "which takes what is native",
            device,
        )


def _check_shares(settings: Settings, processes: DistributedContext) -> None:
    shares = processes.size * settings.grad_accum_steps
    if settings.batch_size % shares or (settings.batch_size < 2 * shares):
        raise TrainingError(
            f"a batch of {settings.batch_size} cannot be cut into {shares} equal parts of at "
            f"least 2 images ({processes.size} processes, grad_accum_steps "
            f"{settings.grad_accum_steps}); change batch_size or grad_accum_steps"
        )


def _start_worker(number: int) -> None:
    """Leave ctrl-C and signals to the group to the main process, and the cores to the network.

    The main process stops between two iterations and ends its workers then; one that goes before is
    an error to PyTorch. So the SIGTERM that systemd and Slurm send to all processes passes by, and
    a second one does not: one that outlived it would keep the interpreter from ending.
    """
    os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    cv2.setNumThreads(0)
