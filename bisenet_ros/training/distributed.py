"""Training by several processes, as ``torchrun`` starts them, each on its device."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from bisenet_ros.errors import DeviceError, first_line, quoted
from bisenet_ros.inference.cpu import default_threads


@dataclass(frozen=True)
class DistributedContext:
    """This process among all that train together; alone by default.

    - ``device``: what this one computes on: cpu, cuda or cuda:N.
    - ``rank``: 0 to ``size`` - 1. Rank 0 writes the files and reports.
    - ``size``: their number.
    """

    device: str = "cpu"
    rank: int = 0
    size: int = 1

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of ``values``, a tensor of any shape, over all processes."""
        if self.size > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def any(self, condition: bool) -> bool:
        """Return whether ``condition`` holds in any of the processes, all of which must ask."""
        if self.size == 1:
            return condition
        return bool(self.sum(torch.tensor(float(condition), device=self.device)) > 0)


ALONE = DistributedContext()
TIMEOUT = timedelta(hours=4)
"""How long the others wait while rank 0 scores the validation images."""


@contextmanager
def init_distributed(device: str) -> Iterator[DistributedContext]:
    """Join the processes that ``torchrun`` started; without it this one is alone.

    "auto" is cuda where PyTorch sees a GPU for each process of this machine, else cpu. With
    torchrun "cuda" becomes the GPU of the process's number on its machine.

    Raises:
        DeviceError: PyTorch cannot use the device.
    """
    launched = distributed.is_torchelastic_launched()
    if device == "auto":
        device = "cuda" if torch.cuda.device_count() >= _processes_here() else "cpu"
    if launched and device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    _require(device)
    if not launched:
        yield DistributedContext(device)
        return
    gpu = device.startswith("cuda")
    if gpu:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if gpu else "gloo", timeout=TIMEOUT)
    yield DistributedContext(device, distributed.get_rank(), distributed.get_world_size())
    # Skipped after an error of this process alone: the barrier would wait for the others, which
    # wait for this one until torchrun ends them.
    # Gloo's threads outlive a group that DistributedDataParallel used, and one that releases a
    # tensor while Python exits aborts the process; after a barrier they are idle.
    distributed.barrier()
    distributed.destroy_process_group()


@contextmanager
def use_threads(number: int = 0) -> Iterator[None]:
    """Let PyTorch compute with so many CPU threads in this process.

    0: ``default_threads``, shared with the other processes that ``torchrun`` started on this
    machine; at least one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number or max(1, default_threads() // _processes_here()))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _processes_here() -> int:
    """Return how many processes ``torchrun`` started on this machine; 1 without it."""
    launched = distributed.is_torchelastic_launched()
    return int(os.environ["LOCAL_WORLD_SIZE"]) if launched else 1


def _require(device: str) -> None:
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch without CUDA
        raise DeviceError(
            f"device {quoted(device)} cannot be used ({first_line(error)}); give cpu, or cuda "
            "where this PyTorch sees a GPU"
        ) from None
