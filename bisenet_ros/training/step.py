"""One iteration: the gradient of the loss over all processes, and the change it makes."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from bisenet_ros.training.distributed import DistributedContext
from bisenet_ros.training.loss import HeadLosses

Batch = tuple[Tensor, Tensor]


class Step:
    """Takes optimizer steps; calling it with the parts of a batch takes one.

    Args:
        losses: the network with its loss, on its device.
        optimizer: of the network's parameters.
        scaler: of the loss, enabled with fp16 only.
        clip_grad_norm: largest norm of the gradient; 0 for any.
        processes: those that share each batch.
    """

    def __init__(
        self,
        losses: HeadLosses,
        optimizer: Optimizer,
        scaler: GradScaler,
        clip_grad_norm: float,
        processes: DistributedContext,
    ) -> None:
        self.parameters = list(losses.parameters())
        self.optimizer = optimizer
        self.scaler = scaler
        self.clip_grad_norm = clip_grad_norm
        self.processes = processes
        self.losses: nn.Module = losses
        if processes.size > 1:
            if self.parameters[0].is_cuda:  # SyncBatchNorm does not exist on the CPU
                self.losses = nn.SyncBatchNorm.convert_sync_batchnorm(losses)  # type: ignore[no-untyped-call]
            self.losses = DistributedDataParallel(self.losses)

    def __call__(self, parts: Sequence[Batch]) -> float:
        """Take one step on this process's ``parts`` of a batch; returns the loss over all of it.

        A part is normalized images, float [N,3,H,W], and labels, int64 [N,H,W]. A head's loss is
        a mean over its pixels in that part of all processes, and the batch's a mean over parts.
        """
        self.optimizer.zero_grad()
        total = torch.zeros((), device=self.parameters[0].device)
        for number, (images, labels) in enumerate(parts, start=1):
            # Gradients meet once a step, in the backward pass of the last part.
            with self._gradients_stay() if number < len(parts) else nullcontext():
                sums, weights = self.losses(images, labels)
                # At least one, where no pixel counts.
                counts = self.processes.sum(weights).clamp(min=1)
                loss = (sums / counts).sum() / len(parts)
                # Data-parallel training takes the mean of the processes' gradients.
                self.scaler.scale(loss * self.processes.size).backward()
            total += loss.detach()
        if self.clip_grad_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parameters, self.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return self.processes.sum(total).item()

    def _gradients_stay(self) -> AbstractContextManager[None]:
        """Backward passes in this context do not exchange gradients."""
        if isinstance(self.losses, DistributedDataParallel):
            return self.losses.no_sync()
        return nullcontext()
