"""The training loop."""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
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
from bisenet_ros.training.distributed import DistributedContext
from bisenet_ros.training.initialization import InitialModel, new_start
from bisenet_ros.training.learner import Learner
from bisenet_ros.training.loss import HeadLosses, inverse_log_weights
from bisenet_ros.training.malloc import keep_freed_memory
from bisenet_ros.training.precision import computes_bf16, resolve_precision
from bisenet_ros.training.schedule import learning_rate
from bisenet_ros.training.settings import Settings
from bisenet_ros.training.step import Batch, Step
from bisenet_ros.training.train_dataset import TrainDataset, sample_indices

logger = logging.getLogger(__name__)

ALONE = DistributedContext()


_DIVERGED = "lower the learning_rate or raise warmup_iterations"


@dataclass(frozen=True)
class Progress:
    """One iteration done; times in seconds, ``waited`` of them for samples."""

    iteration: int
    loss: float
    learning_rate: float
    seconds: float
    waited: float


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
) -> BiSeNetV2:
    """Train on ``dataset`` and return the network after the last iteration, with its boosters.

    With ``settings.ema`` the result is the moving average of the weights, else the last ones.
    A checkpoint is written every ``settings.checkpoint_every`` iterations, at the end, and at any
    exception that comes between two iterations: a run resumed with the same precision and number of
    threads then ends with the weights of an unbroken one (on a GPU, whose sums have no fixed order,
    with similar ones). ``report`` is called after each iteration, and its checkpoint, with the
    result so far, on rank 0. Then all processes ask ``stop``, and if it is true for one of them,
    all raise KeyboardInterrupt.

    ``resume`` is a checkpoint of the same run (``resume_from``), and goes on with as many
    processes. Without a ``start`` a new network of ``settings.preset`` is trained.

    Raises:
        TrainingError: the batch cannot be shared by the processes, the loss is no longer a
            number, or a GPU's memory is too small.
        DatasetError: a file of ``dataset`` cannot be used.
    """
    device = processes.device
    _check_shares(settings, processes)
    settings = resolve_precision(settings, processes)
    keep_freed_memory()
    start = start or new_start(settings, len(dataset.classes))
    fingerprint = start.fingerprint(dataset, processes)
    learner = Learner(start.network, settings, device)
    iteration = written = 0
    if resume is not None:
        learner.load(resume)
        iteration = resume.iteration
    if processes.rank == 0 and iteration < settings.iterations:
        _announce(settings, device)

    def checkpoint() -> None:
        nonlocal written
        if processes.rank == 0 and iteration != written:
            if not learner.is_finite:
                raise TrainingError(
                    f"the weights are no longer numbers at iteration {iteration}: {_DIVERGED}"
                )
            write_checkpoint(checkpoint_path, learner.state(iteration, fingerprint))
            written = iteration

    samples = TrainDataset(dataset, settings)
    class_weights = None
    if settings.class_weights:
        logger.info("reading all labels for class_weights")
        counts = _count_labels(dataset)
        if not counts.any():
            raise _nothing_to_learn(dataset)
        class_weights = inverse_log_weights(counts).to(device)
    losses = HeadLosses(learner.network, settings, class_weights)
    step = Step(losses, learner.optimizer, learner.scaler, settings.clip_grad_norm, processes)
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (start.mean, start.std))

    def to_device(images: Tensor, labels: Tensor) -> Batch:
        x = (images.to(device, non_blocking=True).float() / 255 - mean) / std
        x = x.contiguous(memory_format=torch.channels_last)
        return x, labels.to(device, non_blocking=True).long()

    loader = DataLoader(
        samples,
        settings.batch_size // (processes.size * settings.grad_accum_steps),
        sampler=sample_indices(settings, iteration, processes),
        num_workers=settings.workers,
        worker_init_fn=_start_worker,
        pin_memory=device != "cpu",
        # The loader seeds its workers from a generator; the global one is not for that.
        generator=torch.Generator(),
    )
    batches = iter(loader)
    exact = True  # not in the middle of an iteration
    stopped = False
    learned = resume is not None  # something; only where no pixel has a class the loss is 0
    try:
        while iteration < settings.iterations and not stopped:
            started = time.monotonic()
            with _errors_of_workers():
                parts = [next(batches) for _ in range(settings.grad_accum_steps)]
            fetched = time.monotonic()
            rate = learning_rate(iteration, settings)
            for group in learner.optimizer.param_groups:
                group["lr"] = rate
            exact = False
            # Dropout depends on these alone, so that a resumed run repeats it.
            torch.manual_seed(
                (settings.seed * settings.iterations + iteration) * processes.size + processes.rank
            )
            with _memory_errors():
                loss = step([to_device(*part) for part in parts])
            if not isfinite(loss):
                raise TrainingError(f"the loss is {loss} at iteration {iteration + 1}: {_DIVERGED}")
            learner.update_average()
            iteration, exact = iteration + 1, True
            learned = learned or loss > 0
            if not learned and iteration * settings.batch_size >= samples.epoch_length:
                raise _nothing_to_learn(dataset)
            done = time.monotonic()
            if iteration % settings.checkpoint_every == 0:
                checkpoint()
            if processes.rank == 0:
                report(
                    Progress(iteration, loss, rate, done - started, fetched - started),
                    learner.result,
                )
            stopped = processes.any(stop())
        if stopped and iteration < settings.iterations:
            raise KeyboardInterrupt
    finally:
        if iteration and exact:
            checkpoint()
    return learner.result


def _nothing_to_learn(dataset: Dataset) -> TrainingError:
    return TrainingError(
        f"no pixel of {dataset.root} has a class, so there is nothing to learn: 'bisenet train "
        "--check-data' shows what its labels hold"
    )


def _count_labels(dataset: Dataset) -> NDArray[np.int64]:
    """Pixels of each class, int64 [C], in all of ``dataset``."""

    def count(index: int) -> NDArray[np.int64]:
        return np.bincount(dataset.read_labels(index).ravel(), minlength=IGNORE_ID + 1)

    with ThreadPoolExecutor() as pool:  # OpenCV reads files without holding Python's lock
        counts = sum(pool.map(count, range(len(dataset))), np.zeros(IGNORE_ID + 1, np.int64))
    return counts[: len(dataset.classes)]


@contextmanager
def _errors_of_workers() -> Iterator[None]:
    """Raise what a worker found wrong with a file as if it had happened here."""
    try:
        yield
    except DatasetError as error:
        # PyTorch puts the worker's traceback in place of the message, which is its last line.
        message = str(error).strip().splitlines()[-1].rpartition("DatasetError: ")[2]
        raise DatasetError(message) from None


@contextmanager
def _memory_errors() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            "the GPU has too little memory: lower batch_size or crop, or raise grad_accum_steps"
        ) from error


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
