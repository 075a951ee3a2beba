"""``DeployModule`` in PyTorch on a device."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from bisenet_ros.deploy.deploy_module import DeployModule
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.cuda_runner import CudaRunner
from bisenet_ros.model.file import Model

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def start_runner(
    model: Model, options: EngineOptions, device: str, threads: int
) -> "CpuRunner | CudaRunner":
    """Return ``model`` ready to run on ``device``, such as "cpu" or "cuda:0".

    Args:
        model: what to run.
        options: only precision, resolution, batch size and confidence are used.
        device: where to run.
        threads: on the CPU.

    Raises:
        RuntimeError: raised by PyTorch if the device fails or memory runs out.
    """
    dtype = DTYPES[options.precision]
    deployed = DeployModule(model, confidence=options.confidence, dtype=dtype).on(device)
    shape = options.input_shape(model)
    if device == "cpu":
        return CpuRunner(deployed, shape, threads)
    return CudaRunner(deployed, shape, device)


class CpuRunner:
    """``DeployModule`` on the CPU for images of one shape [N,H,W,3]."""

    def __init__(self, deployed: DeployModule, shape: tuple[int, ...], threads: int) -> None:
        self._deployed = deployed
        self._threads = threads
        self._images = torch.empty(shape, dtype=torch.uint8)

    @torch.inference_mode()
    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """See ``Backend.run``."""
        self._images.numpy()[...] = images
        with _threads(self._threads):
            outputs = self._deployed(self._images)
        return tuple(output.numpy() for output in outputs)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let PyTorch use ``count`` CPU threads."""
    before = torch.get_num_threads()
    if count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
