"""What learns in a run: the network, its optimizer, and the average of its weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bisenet_ros.network import BiSeNetV2
from bisenet_ros.training.checkpoint import Checkpoint
from bisenet_ros.training.schedule import make_optimizer
from bisenet_ros.training.settings import Settings

Tensors = tuple[Tensor, ...] | list[Tensor]


def _average_up_to(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """A moving average whose decay grows to this, so that a short run forgets its first weights."""

    def update(averaged: Tensors, current: Tensors, number: Tensor | int) -> None:
        now = min(decay, (1 + int(number)) / (10 + int(number)))
        # PyTorch has no types for it.
        get_ema_multi_avg_fn(now)(averaged, current, number)  # type: ignore[no-untyped-call]

    return update


class Learner:
    """A network in training mode, with boosters, and what goes with it from step to step.

    Args:
        network: to train; moved to ``device`` and changed in place.
        settings: of the run.
        device: of the network.
    """

    def __init__(self, network: BiSeNetV2, settings: Settings, device: str) -> None:
        self.settings = settings
        self.network = network
        self.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.train()
        if settings.freeze_batch_norm:
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        self.optimizer = make_optimizer(self.network, settings)
        self.scaler = GradScaler(torch.device(device).type, enabled=settings.precision == "fp16")
        self._changes: tuple[str, ...] = ()
        self._average: AveragedModel | None = None
        if settings.ema:
            average = _average_up_to(settings.ema)
            self._average = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)

    @property
    def result(self) -> BiSeNetV2:
        """The average of the weights if there is one, else the network."""
        if self._average is None:
            return self.network
        result: BiSeNetV2 = self._average.module  # type: ignore[assignment]
        return result

    @property
    def is_finite(self) -> bool:
        """Whether all weights are numbers."""
        return all(bool(weight.isfinite().all()) for weight in self.network.parameters())

    def update_average(self) -> None:
        """Add the weights after a step to their average."""
        if self._average is not None:
            self._average.update_parameters(self.network)

    def state(self, iteration: int, fingerprint: dict[str, Any]) -> Checkpoint:
        """The state after so many iterations of a run of this fingerprint."""
        average: dict[str, Any] = self._average.state_dict() if self._average else {}
        return Checkpoint(
            self.settings,
            fingerprint,
            iteration,
            self.network.state_dict(),
            self.optimizer.state_dict(),
            average,
            self.scaler.state_dict(),
            torch.get_num_threads(),
            self._changes,
        )

    def load(self, checkpoint: Checkpoint) -> None:
        """Go back to the state of a run with this network, and but for precision these settings."""
        self.network.load_state_dict(checkpoint.network)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self._changes = checkpoint.changes
        if checkpoint.scaler:  # else the run was in another precision than fp16
            self.scaler.load_state_dict(checkpoint.scaler)
        if self._average is not None:
            self._average.load_state_dict(checkpoint.average)
