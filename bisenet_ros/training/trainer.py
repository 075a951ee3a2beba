"""The trainer: a network, what trains it, and one step of the training."""

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
    """A network in training mode, with all that changes from one iteration to the next.

    That is its optimizer with the learning rate's schedule, fp16's loss scale, and the moving
    average of the weights.

    Args:
        start: network to train, with its normalization; moved to the device of ``processes`` and
            changed in place.
        settings: of the run, with the precision that is computed in, not "auto".
        processes: those that share each batch.
        class_weights: float32 [C]; None to count all classes alike.

    Attributes:
        iteration: number of iterations done.
        between_steps: False from when a step starts until it has changed all of the state; only
            between steps is there a state to resume from.
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
        """The moving average of the weights if ``settings.ema`` asks for one, else the network."""
        if self._average is None:
            return self.network
        result: BiSeNetV2 = self._average.module  # type: ignore[assignment]
        return result

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return learning_rate(self.iteration, self.settings)

    def step(self, parts: Sequence[Batch]) -> float:
        """Train on this process's ``parts`` of a batch and return the loss over all of it.

        A part is images, uint8 [N,3,H,W] RGB, and labels, uint8 [N,H,W]. A head's loss is a mean
        over its pixels in that part of all processes, and the batch's a mean over parts.

        Raises:
            TrainingError: the loss is not finite, or the GPU's memory is too small.
        """
        self.between_steps = False
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        # Dropout depends on these alone, so that a resumed run repeats it.
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
        """Return the state, to resume a run of this fingerprint (``InitialModel.fingerprint``).

        Raises:
            TrainingError: a weight is not finite.
        """
        if not all(bool(weight.isfinite().all()) for weight in self.network.parameters()):
            raise TrainingError(
                f"the weights are no longer numbers at iteration {self.iteration}: {_DIVERGED}"
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
        """Continue from a checkpoint of this network and, except for precision, these settings."""
        self.network.load_state_dict(checkpoint.network)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self._changes = checkpoint.changes
        if checkpoint.scaler:  # else the run was in another precision than fp16
            self.scaler.load_state_dict(checkpoint.scaler)
        if self._average is not None:
            self._average.load_state_dict(checkpoint.average)
        self.iteration = checkpoint.iteration

    def _to_device(self, images: Tensor, labels: Tensor) -> Batch:
        """Return images normalized, float32 [N,3,H,W], and labels as int64 [N,H,W]."""
        device = self.processes.device
        x = (images.to(device, non_blocking=True).float() / 255 - self._mean) / self._std
        x = x.contiguous(memory_format=torch.channels_last)
        return x, labels.to(device, non_blocking=True).long()

    def _descend(self, parts: Sequence[Batch]) -> float:
        """Take one step of the optimizer on parts from ``_to_device``; return the batch's loss."""
        self.optimizer.zero_grad()
        total = torch.zeros((), device=self.processes.device)
        for number, (images, labels) in enumerate(parts, start=1):
            # All-reduce gradients only in the last part.
            with self._local_gradients() if number < len(parts) else nullcontext():
                sums, weights = self._losses(images, labels)
                # At least one, where no pixel counts.
                counts = self.processes.sum(weights).clamp(min=1)
                loss = (sums / counts).sum() / len(parts)
                # Data-parallel training takes the mean of the processes' gradients.
                self.scaler.scale(loss * self.processes.size).backward()
            total += loss.detach()
        if self.settings.clip_grad_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return self.processes.sum(total).item()

    def _local_gradients(self) -> AbstractContextManager[None]:
        """Return a context whose backward passes do not exchange gradients."""
        if isinstance(self._losses, DistributedDataParallel):
            return self._losses.no_sync()
        return nullcontext()


def make_optimizer(network: nn.Module, settings: Settings) -> Optimizer:
    """Return SGD with momentum 0.9, or AdamW, with weight decay on the convolution weights only."""
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

    The poly schedule, lr * (1 - iteration / iterations) ** power, after a linear warm-up.
    """
    poly: float = (1 - iteration / settings.iterations) ** settings.poly_power
    warm = min(1.0, (iteration + 1) / (settings.warmup_iterations + 1))
    return settings.learning_rate * poly * warm


def computes_bf16(device: str) -> bool:
    """Return whether ``device`` computes bf16 natively; elsewhere it is emulated, and slow."""
    return "bf16" in TorchBackend.native_precisions(device)


def resolve_precision(settings: Settings, processes: DistributedContext) -> Settings:
    """Return ``settings`` with the precision that "auto" stands for; any other stays.

    That is bf16 where every one of ``processes`` computes it natively, else fp16 on CUDA and fp32
    on the CPU.
    """
    if settings.precision != "auto":
        return settings
    if not processes.any(not computes_bf16(processes.device)):
        return replace(settings, precision="bf16")
    return replace(settings, precision="fp32" if processes.device == "cpu" else "fp16")


def _average_up_to(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """Return a moving average with a growing decay, so that a short run forgets its start."""

    def update(averaged: Tensors, current: Tensors, number: Tensor | int) -> None:
        now = min(decay, (1 + int(number)) / (10 + int(number)))
        # PyTorch has no types for it.
        get_ema_multi_avg_fn(now)(averaged, current, number)  # type: ignore[no-untyped-call]

    return update


@contextmanager
def _memory_errors() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            "the GPU has too little memory: lower batch_size or crop, or raise grad_accum_steps"
        ) from error
