"""Trainer: network, optimizer, schedule, loss scaler and moving average, and one training step."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bisenet_ros.errors import TrainingError
from bisenet_ros.inference.torch_backend import TorchBackend
from bisenet_ros.network import BiSeNetV2
from bisenet_ros.training.checkpoint import Checkpoint
from bisenet_ros.training.distributed import ALONE, DistributedContext
from bisenet_ros.training.initialization import InitialModel
from bisenet_ros.training.loss import HeadLosses
from bisenet_ros.training.settings import Settings

Batch = tuple[Tensor, Tensor]
Tensors = tuple[Tensor, ...] | list[Tensor]

_DIVERGED = "lower the learning_rate or raise warmup_iterations"


class Trainer:
    """The state of training and one step of it.

    The state is the network, the optimizer with its learning-rate schedule, the fp16 loss scaler
    and the moving average of the weights.

    Args:
        start: Initial model; its network is moved to the device of ``processes`` and trained in
            place.
        settings: Settings of the run, with ``precision`` resolved, not "auto".
        processes: This process and its peers, which share each batch.
        class_weights: Loss weight of each class, float32 [C]; None for equal weights.

    Attributes:
        iteration: Number of completed iterations.
        between_steps: False while a step is modifying the state, which is then inconsistent and
            must not be saved.
    """

    def __init__(
        self,
        start: InitialModel,
        settings: Settings,
        processes: DistributedContext = ALONE,
        class_weights: Tensor | None = None,
    ) -> None:
        self.settings = settings
        self.processes = processes
        self.iteration = 0
        self.between_steps = True
        self._changes: tuple[str, ...] = ()
        device = processes.device
        self.network = start.network
        self.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.train()
        if settings.freeze_batch_norm:
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        self.optimizer = make_optimizer(self.network, settings)
        self.scaler = GradScaler(torch.device(device).type, enabled=settings.precision == "fp16")
        self._average: AveragedModel | None = None
        if settings.ema:
            average = _average_up_to(settings.ema)
            self._average = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
        if class_weights is not None:
            class_weights = class_weights.to(device)
        self._losses: nn.Module = HeadLosses(self.network, settings, class_weights)
        if processes.size > 1:
            if device != "cpu":  # SyncBatchNorm does not exist on the CPU
                self._losses = nn.SyncBatchNorm.convert_sync_batchnorm(self._losses)  # type: ignore[no-untyped-call]
            self._losses = DistributedDataParallel(self._losses)
        self._mean, self._std = (
            torch.tensor(values, device=device).view(3, 1, 1) for values in (start.mean, start.std)
        )

    @property
    def result(self) -> BiSeNetV2:
        """The moving average of the weights if ``settings.ema`` is set, else the network."""
        if self._average is None:
            return self.network
        result: BiSeNetV2 = self._average.module  # type: ignore[assignment]
        return result

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return learning_rate(self.iteration, self.settings)

    def step(self, parts: Sequence[Batch]) -> float:
        """Train on one batch and return its loss over all processes.

        The loss of a micro-batch is averaged over the pixels of all processes, that of the batch
        over its micro-batches.

        Args:
            parts: Micro-batches of this process: images uint8 [N,3,H,W] RGB, labels uint8 [N,H,W].

        Raises:
            TrainingError: The loss is not finite, or the GPU runs out of memory.
        """
        self.between_steps = False
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        # Seed dropout by iteration and rank, so that a resumed run repeats it.
        run, processes = self.settings, self.processes
        torch.manual_seed(
            (run.seed * run.iterations + self.iteration) * processes.size + processes.rank
        )
        with _memory_errors():
            loss = self._descend([self._to_device(*part) for part in parts])
        if not isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at iteration {self.iteration + 1}: {_DIVERGED}"
            )
        if self._average is not None:
            self._average.update_parameters(self.network)
        self.iteration += 1
        self.between_steps = True
        return loss

    def checkpoint(self, fingerprint: dict[str, Any]) -> Checkpoint:
        """Return the state as a checkpoint of the run identified by ``fingerprint``.

        Raises:
            TrainingError: A weight is not finite.
        """
        if not all(bool(weight.isfinite().all()) for weight in self.network.parameters()):
            raise TrainingError(
                f"the weights are not finite at iteration {self.iteration}: {_DIVERGED}"
            )
        average: dict[str, Any] = self._average.state_dict() if self._average else {}
        return Checkpoint(
            self.settings,
            fingerprint,
            self.iteration,
            self.network.state_dict(),
            self.optimizer.state_dict(),
            average,
            self.scaler.state_dict(),
            torch.get_num_threads(),
            self._changes,
        )

    def load(self, checkpoint: Checkpoint) -> None:
        """Restore the state from a checkpoint of the same run, whose precision may differ."""
        self.network.load_state_dict(checkpoint.network)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self._changes = checkpoint.changes
        if checkpoint.scaler:  # empty unless the run used fp16
            self.scaler.load_state_dict(checkpoint.scaler)
        if self._average is not None:
            self._average.load_state_dict(checkpoint.average)
        self.iteration = checkpoint.iteration

    def _to_device(self, images: Tensor, labels: Tensor) -> Batch:
        """Return normalized images, float32 [N,3,H,W], and labels, int64 [N,H,W]."""
        device = self.processes.device
        x = (images.to(device, non_blocking=True).float() / 255 - self._mean) / self._std
        x = x.contiguous(memory_format=torch.channels_last)
        return x, labels.to(device, non_blocking=True).long()

    def _descend(self, parts: Sequence[Batch]) -> float:
        """Take one optimizer step on parts from ``_to_device`` and return the batch's loss."""
        self.optimizer.zero_grad()
        total = torch.zeros((), device=self.processes.device)
        for number, (images, labels) in enumerate(parts, start=1):
            # All-reduce gradients only in the last micro-batch.
            with self._local_gradients() if number < len(parts) else nullcontext():
                sums, weights = self._losses(images, labels)
                # Avoid dividing by 0 if no pixel is labeled.
                counts = self.processes.sum(weights).clamp(min=1)
                loss = (sums / counts).sum() / len(parts)
                # DistributedDataParallel averages the gradients; the loss needs their sum.
                self.scaler.scale(loss * self.processes.size).backward()
            total += loss.detach()
        if self.settings.clip_grad_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return self.processes.sum(total).item()

    def _local_gradients(self) -> AbstractContextManager[None]:
        """Return a context in which backward passes do not all-reduce gradients."""
        if isinstance(self._losses, DistributedDataParallel):
            return self._losses.no_sync()
        return nullcontext()


def make_optimizer(network: nn.Module, settings: Settings) -> Optimizer:
    """Return SGD with momentum 0.9 or AdamW, with weight decay on convolution weights only."""
    convolutions: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for parameter in network.parameters():
        (convolutions if parameter.ndim == 4 else rest).append(parameter)
    groups = [
        {"params": convolutions, "weight_decay": settings.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return SGD(groups, lr=settings.learning_rate, momentum=0.9)
    return AdamW(groups, lr=settings.learning_rate)


def learning_rate(iteration: int, settings: Settings) -> float:
    """Return the learning rate of an iteration, counted from 0 (section 5.1).

    Poly schedule lr * (1 - iteration / iterations) ** power with linear warm-up.
    """
    poly: float = (1 - iteration / settings.iterations) ** settings.poly_power
    warm = min(1.0, (iteration + 1) / (settings.warmup_iterations + 1))
    return settings.learning_rate * poly * warm


def computes_bf16(device: str) -> bool:
    """Return whether ``device`` computes bf16 natively instead of emulating it slowly."""
    return "bf16" in TorchBackend.native_precisions(device)


def resolve_precision(settings: Settings, processes: DistributedContext) -> Settings:
    """Return ``settings`` with precision "auto" resolved; any other precision is kept.

    "auto" becomes bf16 if the devices of all processes compute it natively, else fp16 on CUDA and
    fp32 on the CPU.
    """
    if settings.precision != "auto":
        return settings
    if not processes.any(not computes_bf16(processes.device)):
        return replace(settings, precision="bf16")
    return replace(settings, precision="fp32" if processes.device == "cpu" else "fp16")


def _average_up_to(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """Return the update of a moving average whose decay grows to ``decay``.

    The lower initial decay lets short runs forget the initial weights.
    """

    def update(averaged: Tensors, current: Tensors, number: Tensor | int) -> None:
        now = min(decay, (1 + int(number)) / (10 + int(number)))
        # PyTorch does not annotate it.
        get_ema_multi_avg_fn(now)(averaged, current, number)  # type: ignore[no-untyped-call]

    return update


@contextmanager
def _memory_errors() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            "the GPU ran out of memory: lower batch_size or crop, or raise grad_accum_steps"
        ) from error
