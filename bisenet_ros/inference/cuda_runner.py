"""``DeployModule`` on a GPU for images of one shape, as a CUDA graph if it can be captured."""

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
"""Computes on fixed GPU tensors and returns its results on the GPU."""

logger = logging.getLogger(__name__)

WARM_UP = 3
"""Plain calls before a capture, as in PyTorch's documentation: libraries initialize, allocate and
select kernels in them, none of which can be captured."""


class CudaRunner:
    """Copy images to the GPU, label them there, and copy the results back.

    It has its own stream, and buffers that are allocated once. Host buffers are pinned for
    asynchronous copies. After deleting it, ``release_memory`` frees all of its memory.

    Args:
        deployed: the module, on ``device``.
        shape: of the images, [N,H,W,3].
        device: a CUDA device, such as "cuda:0".

    Raises:
        RuntimeError: raised by PyTorch if the device fails or memory runs out.
    """

    @torch.inference_mode()
    def __init__(self, deployed: DeployModule, shape: tuple[int, ...], device: str) -> None:
        # PyTorch has no types for some of these.
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # Synchronizing the stream itself would keep a CPU core busy.
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        # Weights may still be copied on the current stream.
        self._stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(self._stream):
            images = torch.zeros(shape, dtype=torch.uint8, device=device)

            def call() -> tuple[Tensor, ...]:
                with fastest_kernels():
                    return deployed(images)  # type: ignore[no-any-return]

            for _ in range(WARM_UP):
                outputs = call()
            self._outputs = [_pinned_like(output) for output in outputs]
            del outputs  # the graph allocates its own memory
        self._deployed = deployed  # the graph holds addresses of weights, not references
        self._images = images
        self._host_images = _pinned_like(images)
        self._label = graphed(call, self._stream)

    @torch.inference_mode()
    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """See ``Backend.run``."""
        self._host_images.numpy()[...] = images
        with torch.cuda.stream(self._stream):
            self._images.copy_(self._host_images, non_blocking=True)
            for host, output in zip(self._outputs, self._label(), strict=True):
                host.copy_(output, non_blocking=True)
        self._done.record(self._stream)
        self._done.synchronize()
        return tuple(host.numpy().copy() for host in self._outputs)


def graphed(call: Call, stream: torch.cuda.Stream) -> Call:
    """Return a replay of ``call`` as a CUDA graph, or ``call`` with a warning if capture fails.

    A replay runs on the current stream, and overwrites and returns the same tensors each time.

    Args:
        call: what to capture; it has run on ``stream`` before.
        stream: where to capture, not the default stream. It stays usable if the capture fails.
    """
    try:
        return _capture(call, stream)
    except RuntimeError as error:
        # If an operation breaks the capture, ending the capture raises another error that masks it.
        reason = error.__context__ if isinstance(error.__context__, RuntimeError) else error
        logger.warning("torch runs without a CUDA graph, which is slower: %s", cause(reason))
        return call


def _capture(call: Call, stream: torch.cuda.Stream) -> Call:
    graph = torch.cuda.CUDAGraph()
    # torch.cuda.graph does not restore the current stream on failure; the outer context does.
    # "thread_local": work of other threads, such as loading another engine, is not captured.
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
    """Let cuDNN time its kernels once for each shape, and use the fastest."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _pinned_like(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
