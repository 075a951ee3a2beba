"""The training loop."""

import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from bisenet_ros.model_file import Model
from bisenet_ros.network import PRESETS, BiSeNetV2
from bisenet_ros.training.checkpoint import Checkpoint, CheckpointError, write_checkpoint
from bisenet_ros.training.folder import Folder
from bisenet_ros.training.loss import booster_loss, inverse_log_weights
from bisenet_ros.training.samples import Samples
from bisenet_ros.training.schedule import learning_rate, make_optimizer
from bisenet_ros.training.settings import Settings

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class TrainingError(ValueError):
    """A run that cannot start or go on; the text says why and what to change."""


@dataclass(frozen=True)
class Progress:
    """One iteration done; times in seconds, ``waited`` of them for samples."""

    iteration: int
    loss: float
    learning_rate: float
    seconds: float
    waited: float


def train(
    folder: Folder,
    settings: Settings,
    checkpoint_path: Path,
    report: Callable[[Progress, BiSeNetV2], Any],
    resume: Checkpoint | None = None,
    device: str = "cpu",
    init: Model | None = None,
) -> BiSeNetV2:
    """Train on ``folder`` and return the network after the last iteration, with its boosters.

    ``report`` is called after each iteration; to stop the run, let it raise. A checkpoint is
    written every ``settings.checkpoint_every`` iterations, at the end, and at any exception that
    comes between two iterations: a resumed run then ends with the weights of an unbroken one.

    With ``init`` the network has its architecture, for the classes of ``folder``, its normalisation
    and every tensor of it that fits, see ``adopt``.

    Raises:
        TrainingError: the device cannot be used, or the loss is no longer a number.
        CheckpointError: ``resume`` does not fit the classes of ``folder``.
        DatasetError: a file of ``folder`` cannot be used.
    """
    _check_device(device)
    torch.manual_seed(settings.seed)
    if init is None:
        architecture = replace(PRESETS[settings.preset], head_channels=settings.head_channels)
        normalisation = IMAGENET_MEAN, IMAGENET_STD
    else:
        architecture = init.metadata.architecture
        normalisation = init.metadata.mean, init.metadata.std
    architecture = replace(architecture, num_classes=len(folder.classes))
    network = BiSeNetV2(architecture, boosters=True)
    if init is not None:
        left = adopt(network, init)
        if left:
            logging.warning("not taken from %s, trained anew: %s", init.name, ", ".join(left))
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.train()
    optimizer = make_optimizer(network, settings)
    class_weights = None
    if settings.class_weights:
        labels = (folder.read_labels(index) for index in range(len(folder)))
        class_weights = inverse_log_weights(labels, len(folder.classes)).to(device)
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in normalisation)

    iteration = 0
    if resume is not None:
        try:
            network.load_state_dict(resume.network)
            optimizer.load_state_dict(resume.optimizer)
        except (RuntimeError, ValueError):
            raise CheckpointError(
                f"{checkpoint_path} does not fit a network for the {len(folder.classes)} classes "
                f"of {folder.root}; resume with the data that it was made from"
            ) from None
        torch.set_rng_state(resume.rng_state)
        iteration = resume.iteration

    def checkpoint() -> None:
        state = network.state_dict(), optimizer.state_dict(), torch.get_rng_state()
        write_checkpoint(checkpoint_path, Checkpoint(settings, iteration, *state))

    samples = Samples(folder, settings)
    batches = DataLoader(
        samples,
        settings.batch_size,
        sampler=range(iteration * settings.batch_size, len(samples)),
        num_workers=settings.workers,
        worker_init_fn=_start_worker,
        # The loader seeds its workers from torch's global generator, once per run; a generator
        # of its own leaves the global one as a resumed run finds it.
        generator=torch.Generator(),
    )
    exact = True  # not in the middle of an iteration
    started = time.monotonic()
    try:
        for images, truth in batches:
            fetched = time.monotonic()
            exact = False
            rate = learning_rate(iteration, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            x = (images.to(device).float() / 255 - mean) / std
            x = x.contiguous(memory_format=torch.channels_last)
            bf16 = settings.precision == "bf16"
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
                logits = network(x)
            loss = booster_loss(logits, truth.to(device), class_weights)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            value = loss.item()
            if not isfinite(value):
                raise TrainingError(
                    f"the loss is {value} at iteration {iteration + 1}: lower the learning_rate "
                    "or raise warmup_iterations"
                )
            iteration, exact = iteration + 1, True
            done = time.monotonic()
            report(Progress(iteration, value, rate, done - started, fetched - started), network)
            if iteration % settings.checkpoint_every == 0:
                checkpoint()
            started = time.monotonic()
    finally:
        if iteration and exact:
            checkpoint()
    return network


def adopt(network: BiSeNetV2, init: Model) -> list[str]:
    """Copy every tensor of ``init`` whose name and shape ``network`` has.

    Returns:
        The names of those that were not copied; with other classes, the last layer's.
    """
    state = network.state_dict()
    left = []
    for name, tensor in init.network.state_dict().items():
        if name in state and state[name].shape == tensor.shape:
            state[name].copy_(tensor)
        else:
            left.append(name)
    return left


def _check_device(device: str) -> None:
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch without CUDA
        raise TrainingError(
            f"device '{device}' cannot be used ({str(error).splitlines()[0]}); give cpu, or cuda "
            "where this PyTorch sees a GPU"
        ) from None


def _start_worker(number: int) -> None:
    """Leave ctrl-C and signals to the group to the main process, and the cores to the network.

    The main process stops between two iterations and ends its workers then; one that goes before
    is an error to PyTorch. One that outlived SIGTERM would keep the interpreter from ending.
    """
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cv2.setNumThreads(0)
