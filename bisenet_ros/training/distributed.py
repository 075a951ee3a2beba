"""Data-parallel training in the processes that ``torchrun`` starts, one device each."""

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
    """This process and its peers in data-parallel training; a single process by default.

    Attributes:
        device: Device of this process: cpu, cuda or cuda:N.
        rank: 0 to ``size`` - 1. Rank 0 writes the files and reports.
        size: Number of processes.
    """

    device: str = "cpu"
    rank: int = 0
    size: int = 1

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of ``values``, of any shape, over all processes."""
        if self.size > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def any(self, condition: bool) -> bool:
        """Return whether ``condition`` is true in any process; all processes must call this."""
        if self.size == 1:
            return condition
        return bool(self.sum(torch.tensor(float(condition), device=self.device)) > 0)


ALONE = DistributedContext()
TIMEOUT = timedelta(hours=4)
"""Collective timeout, long enough for rank 0 to score the validation images."""


@contextmanager
def init_distributed(device: str) -> Iterator[DistributedContext]:
    """Join the process group if started by ``torchrun``, and yield this process's context.

    Args:
        device: "auto" selects cuda if PyTorch sees a GPU for each local process, else cpu. Under
            torchrun "cuda" becomes the GPU numbered by the process's local rank.

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
    # Not in a finally block: if only this process fails, a barrier would deadlock with its peers
    # until torchrun kills them.
    # Gloo's threads outlive a group used by DistributedDataParallel, and one that releases a
    # tensor while Python exits aborts the process. After a barrier they are idle.
    distributed.barrier()
    distributed.destroy_process_group()


@contextmanager
def use_threads(number: int = 0) -> Iterator[None]:
    """Set PyTorch's number of CPU threads within the context.

    Args:
        number: Threads; 0 divides ``default_threads`` among the local processes of ``torchrun``,
            at least one each.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number or max(1, default_threads() // _processes_here()))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _processes_here() -> int:
    """Return the number of local processes of ``torchrun``; 1 without it."""
    launched = distributed.is_torchelastic_launched()
    return int(os.environ["LOCAL_WORLD_SIZE"]) if launched else 1


def _require(device: str) -> None:
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch without CUDA
        raise DeviceError(
            f"cannot use device {quoted(device)} ({first_line(error)}); use cpu, or cuda if "
            "PyTorch sees a GPU"
        ) from None
