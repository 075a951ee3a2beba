"""``DeployModule`` on a GPU for one size of image, as a CUDA graph where it can be one."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bisenet_ros.deploy.deploy_module import DeployModule
from bisenet_ros.errors import cause

Call = Callable[[], tuple[Tensor, ...]]
"""Work on fixed tensors of a GPU; gives its results there."""

logger = logging.getLogger(__name__)

WARM_UP = 3
"""Plain calls before a capture, as in PyTorch's documentation: libraries start and allocate in
them, and kernels are chosen, none of which can be captured."""


class CudaRunner:
    """Copies an image to the GPU, labels it there, and copies the results back.

    It has a stream of its own, and buffers that are made once. Those of the host are pinned, so
    that the GPU copies by itself. Deleting it frees all of it for ``release_memory``.

    Args:
        deployed: on ``device``.
        resolution: (width, height) of the images.
        device: a CUDA device.

    Raises:
        RuntimeError: PyTorch's, where the device fails or has too little memory.
    """

    @torch.inference_mode()
    def __init__(self, deployed: DeployModule, resolution: tuple[int, int], device: str) -> None:
        width, height = resolution
        # PyTorch has no types for some of these.
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # Waiting for the stream itself would keep a core of the CPU busy.
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        # The weights are laid out on the current stream.
        self._stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(self._stream):
            image = torch.zeros((1, height, width, 3), dtype=torch.uint8, device=device)

            def call() -> tuple[Tensor, ...]:
                with fastest_kernels():
                    return deployed(image)  # type: ignore[no-any-return]

            for _ in range(WARM_UP):
                outputs = call()
            self._outputs = [_pinned_like(output) for output in outputs]
            del outputs  # the graph has memory of its own
        self._deployed = deployed  # a graph knows its weights by their addresses alone
        self._image = image
        self._host_image = _pinned_like(image)
        self._label = graphed(call, self._stream)

    @torch.inference_mode()
    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """See ``Backend.run``."""
        self._host_image[0].numpy()[...] = image
        with torch.cuda.stream(self._stream):
            self._image.copy_(self._host_image, non_blocking=True)
            for host, output in zip(self._outputs, self._label(), strict=True):
                host.copy_(output, non_blocking=True)
        self._done.record(self._stream)
        self._done.synchronize()
        return tuple(host[0].numpy().copy() for host in self._outputs)


def graphed(call: Call, stream: torch.cuda.Stream) -> Call:
    """Return a replay of the GPU's work in ``call``; ``call`` itself, with a warning, on failure.

    A replay gives the same tensors each time, overwritten, and is started on the current stream.

    Args:
        call: has run before on ``stream``.
        stream: what to capture on, not the default one. It can be used whether that fails or not.
    """
    try:
        return _capture(call, stream)
    except RuntimeError as error:
        # Where an operation broke the capture, the error that ending it raises hides the reason.
        reason = error.__context__ if isinstance(error.__context__, RuntimeError) else error
        logger.warning("torch works without a CUDA graph, more slowly: %s", cause(reason))
        return call


def _capture(call: Call, stream: torch.cuda.Stream) -> Call:
    graph = torch.cuda.CUDAGraph()
    # Around torch.cuda.graph, which on failure does not put the current stream back. What other
    # threads do on the GPU meanwhile, such as loading another engine, is not captured.
    with (
        torch.cuda.stream(stream),
        torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
    ):
        outputs = call()

    def replay() -> tuple[Tensor, ...]:
        graph.replay()
        return outputs

    return replay


@contextmanager
def fastest_kernels() -> Iterator[None]:
    """Let cuDNN measure its kernels once for each shape, and take the fastest."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _pinned_like(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
