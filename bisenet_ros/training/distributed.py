"""Training by several processes, as ``torchrun`` starts them, each on its device."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Processes:
    """This process among all that train together; alone by default.

    - ``device``: what this one computes on: cpu, cuda or cuda:N.
    - ``rank``: 0 to ``size`` - 1. Rank 0 writes the files and reports.
    - ``size``: their number.
    """

    device: str = "cpu"
    rank: int = 0
    size: int = 1

    def sum(self, values: Tensor) -> Tensor:
        """The sum of ``values`` over all processes."""
        if self.size > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def any(self, condition: bool) -> bool:
        """Whether ``condition`` holds in one of the processes."""
        return bool(self.sum(torch.tensor(float(condition), device=self.device)) > 0)


TIMEOUT = timedelta(hours=4)
"""The others wait as long while rank 0 scores the validation images."""


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started; without it this one is alone.

    "auto" is cuda where PyTorch sees a GPU, else cpu. With torchrun "cuda" becomes the GPU of the
    process's number on its machine.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not distributed.is_torchelastic_launched():
        yield Processes(device)
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    gpu = device.startswith("cuda")
    if gpu:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if gpu else "gloo", timeout=TIMEOUT)
    try:
        yield Processes(device, distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
