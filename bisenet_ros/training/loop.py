"""The training loop."""

import logging
import os
import re
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
from bisenet_ros.training.trainer import (
    Batch,
    Trainer,
    computes_bf16,
    learning_rate,
    resolve_precision,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """Measurements of one completed iteration.

    Attributes:
        iteration: Number of completed iterations.
        loss: Loss of the batch.
        learning_rate: Learning rate of this iteration.
        seconds: Duration [s].
        waited: Part of ``seconds`` spent waiting for samples [s].
    """

    iteration: int
    loss: float
    learning_rate: float
    seconds: float
    waited: float


@dataclass(frozen=True)
class TrainingOutcome:
    """Outcome of a run.

    Attributes:
        network: The result, with boosters: the moving average of the weights if ``settings.ema``
            is set, else the final weights.
        iteration: Number of completed iterations.
        stopped: True if the run was stopped early and can be resumed.
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
    an exception between two iterations. A run resumed with the same iterations, precision and
    number of threads ends with the same weights as an uninterrupted run; on a GPU, where the order
    of summation varies, with similar ones.

    Args:
        dataset: Training samples.
        settings: Settings of the run.
        checkpoint_path: Checkpoint file to write, on rank 0.
        report: Called on rank 0 after each iteration, once its checkpoint is written, with the
            progress and the result so far.
        resume: Checkpoint to continue from, see ``resume_from``.
        start: Initial model (default: a new network of ``settings.preset``).
        processes: This process and its peers.
        stop: Called after each iteration; all processes stop when it returns True in one.

    Raises:
        TrainingError: The batch cannot be divided among the processes, the loss is not finite, no
            pixel is labeled, ``settings.augment`` fails, or the GPU runs out of memory.
        DatasetError: A file of ``dataset`` cannot be used.
    """
    _check_shares(settings, processes)
    settings = resolve_precision(settings, processes)
    keep_freed_memory()
    if processes.rank == 0 and (resume is None or resume.iteration < settings.iterations):
        _announce(settings, processes.device)
    samples = TrainDataset(dataset, settings)
    _try(samples)
    start = start or new_start(settings, len(dataset.classes))
    class_weights = _class_weights(dataset) if settings.class_weights else None
    trainer = Trainer(start, settings, processes, class_weights)
    if resume is not None:
        trainer.load(resume)
        if processes.rank == 0 and settings.iterations != resume.settings.iterations:
            _announce_schedule(resume, settings)
    fingerprint = start.fingerprint(dataset, processes)
    batches = iter(_loader(samples, trainer.iteration, processes))
    written = 0

    def save() -> None:
        nonlocal written
        if processes.rank == 0 and trainer.iteration != written:
            write_checkpoint(checkpoint_path, trainer.checkpoint(fingerprint))
            written = trainer.iteration

    stopped = False
    learned = resume is not None  # the loss is 0 only if no pixel is labeled
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
    """Return a loader of this process's micro-batches, starting at ``first_iteration``."""
    settings = samples.settings
    return DataLoader(
        samples,
        settings.batch_size // (processes.size * settings.grad_accum_steps),
        sampler=sample_indices(settings, first_iteration, processes),
        num_workers=settings.workers,
        worker_init_fn=_start_worker,
        pin_memory=processes.device != "cpu",
        # The loader draws its workers' seeds from this instead of the global generator.
        generator=torch.Generator(),
    )


def _nothing_to_learn(dataset: Dataset) -> TrainingError:
    return TrainingError(
        f"no pixel of {dataset.root} is labeled with a class; run 'bisenet dataset check' to "
        "see which ids its labels contain"
    )


def _class_weights(dataset: Dataset) -> Tensor:
    """Return the loss weight of each class, float32 [C], from the pixel counts of all labels.

    Raises:
        TrainingError: No pixel is labeled.
        DatasetError: A label file cannot be used.
    """

    def count(index: int) -> NDArray[np.int64]:
        return np.bincount(dataset.read_labels(index).ravel(), minlength=IGNORE_ID + 1)

    logger.info("reading all labels to compute class_weights")
    with ThreadPoolExecutor() as pool:  # OpenCV releases the GIL while it reads files
        counts = sum(pool.map(count, range(len(dataset))), np.zeros(IGNORE_ID + 1, np.int64))
    counts = counts[: len(dataset.classes)]
    if not counts.any():
        raise _nothing_to_learn(dataset)
    return inverse_log_weights(counts)


@contextmanager
def _errors_of_workers() -> Iterator[None]:
    """Re-raise an error of a loader worker that a user can fix with its original message."""
    try:
        yield
    except (DatasetError, TrainingError) as error:
        # PyTorch replaces the message by the worker's traceback, whose last line it is, after
        # the name of the exception, which may be a subclass's.
        message = re.sub(r"^[\w.]+Error: ", "", str(error).strip().splitlines()[-1])
        kind = TrainingError if isinstance(error, TrainingError) else DatasetError
        raise kind(message) from None


def _announce(settings: Settings, device: str) -> None:
    """Log device, precision and threads, and warn if the precision is emulated."""
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
            "precision bf16 is emulated on %s and many times slower than fp32: set precision: "
            "auto to use a native one",
            device,
        )


def _try(samples: TrainDataset) -> None:
    """Draw a sample, so that its errors and warnings appear here first, not in each worker.

    Raises:
        TrainingError, DatasetError: It cannot be drawn.
    """
    image, labels = samples[0]
    if samples.custom is not None:
        again, labels_again = samples[0]
        if not (torch.equal(image, again) and torch.equal(labels, labels_again)):
            logger.warning(
                "augment %s gives other results for the same sample: a resumed run will differ "
                "from an uninterrupted one. Draw all random numbers from its third argument",
                samples.settings.augment,
            )


def _announce_schedule(resume: Checkpoint, settings: Settings) -> None:
    """Log how other ``iterations`` than those of ``resume`` change the learning rate."""
    planned = resume.settings
    logger.info(
        "the learning rate of iteration %d is %.3g instead of %.3g, on a schedule that decays to 0 "
        "at %d instead of %d",
        resume.iteration + 1,
        learning_rate(resume.iteration, settings),
        learning_rate(resume.iteration, planned),
        settings.iterations,
        planned.iterations,
    )


def _check_shares(settings: Settings, processes: DistributedContext) -> None:
    shares = processes.size * settings.grad_accum_steps
    if settings.batch_size % shares or (settings.batch_size < 2 * shares):
        raise TrainingError(
            f"cannot divide a batch of {settings.batch_size} into {shares} equal parts of at "
            f"least 2 images ({processes.size} processes, grad_accum_steps "
            f"{settings.grad_accum_steps}); change batch_size or grad_accum_steps"
        )


def _start_worker(number: int) -> None:
    """Leave signals to the main process and CPU cores to the network, in a loader worker.

    The main process stops between two iterations and then ends its workers; PyTorch reports an
    error if one exits earlier. A worker therefore ignores the first SIGTERM, which systemd and
    Slurm send to all processes, but not the second: a worker that survives it would keep the
    interpreter from exiting.
    """
    os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    cv2.setNumThreads(0)
