"""All that is asked of TensorRT itself: build an engine from an ONNX file, and run it.

Needs TensorRT to be imported. Only what 10.3 and 11.x both have: networks are strongly typed, so
the ONNX file says what is computed in which precision.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import tensorrt as trt
import torch
from numpy.typing import NDArray

from bisenet_ros.inference.errors import InferenceError, UnusableEngineError

T = TypeVar("T")

logger = logging.getLogger(__name__)

_PROGRESS_PERIOD_S = 5.0

_OUTPUTS = ("labels", "confidence")
"""As the ONNX file names them; an engine may have them in another order."""

_LEVELS = {
    trt.ILogger.Severity.INTERNAL_ERROR: logging.CRITICAL,
    trt.ILogger.Severity.ERROR: logging.ERROR,
    trt.ILogger.Severity.WARNING: logging.WARNING,
    # Hundreds of lines a build. Its verbose messages, thousands, are left out.
    trt.ILogger.Severity.INFO: logging.DEBUG,
}


def build_engine(onnx: bytes) -> bytes:
    """A serialized engine for the current CUDA device; takes minutes, with progress in the log.

    Raises:
        InferenceError: TensorRT does not take the file, or has too little memory.
        KeyboardInterrupt: SIGINT or SIGTERM in the main thread; it ends the build at its next step.
    """
    builder = _start(trt.Builder)
    # TensorRT 11 has no other networks and ignores the flag.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, _LOGGER)  # has to live until the engine is built
    if not parser.parse(onnx):
        reasons = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise InferenceError(f"TensorRT {trt.__version__} cannot read the network: {reasons}")
    config = builder.create_builder_config()
    with _noted_interrupt() as interrupted:
        config.progress_monitor = ProgressMonitor(interrupted)
        serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise InferenceError(
            f"TensorRT {trt.__version__} cannot build the engine{_LOGGER.told()}; most often it "
            "lacks GPU memory: end what else uses the GPU, or lower the resolution"
        )
    return bytes(serialized)


@contextmanager
def _noted_interrupt() -> Iterator[Callable[[], bool]]:
    """Tells of a signal to end, and raises KeyboardInterrupt only at the end.

    TensorRT swallows what is raised while it calls back. Signals reach the main thread alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    noted = False

    def note(*_: object) -> None:
        nonlocal noted
        noted = True

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if noted:
        raise KeyboardInterrupt


def _start(kind: Callable[[trt.ILogger], T]) -> T:
    """A Builder or Runtime; where CUDA does not start these raise a TypeError that says nothing."""
    try:
        return kind(_LOGGER)
    except TypeError as error:
        raise InferenceError(
            f"TensorRT cannot start{_LOGGER.told()}; see that the GPU's driver fits it"
        ) from error


class Engine:
    """A loaded engine of one input and one or more outputs, all uint8 and of fixed size.

    Raises:
        UnusableEngineError: it is of another TensorRT, another GPU, or no engine at all; TensorRT
            does not tell these from too little memory.
        InferenceError: the device has too little memory.
    """

    def __init__(self, serialized: bytes, device: torch.device) -> None:
        self._runtime = _start(trt.Runtime)
        engine = self._runtime.deserialize_cuda_engine(serialized)
        if engine is None:
            raise UnusableEngineError(f"TensorRT does not load the engine{_LOGGER.told()}")
        context = engine.create_execution_context()
        if context is None:
            raise InferenceError(
                f"{device} has too little memory left for the engine: end what else uses it, or "
                "lower the resolution"
            )
        self._context = context
        # PyTorch has no types for these two.
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # Waiting for the stream itself would keep a core of the CPU busy.
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self._input = _Buffer(context, "image", device)
        self._outputs = [_Buffer(context, name, device) for name in _OUTPUTS if name in names]

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """The outputs without their first axis, as copies.

        Args:
            image: uint8, the input without its first axis.

        Raises:
            InferenceError: TensorRT cannot run it.
        """
        self._input.host[0].numpy()[...] = image
        with torch.cuda.stream(self._stream):
            self._input.device.copy_(self._input.host, non_blocking=True)
            if not self._context.execute_async_v3(self._stream.cuda_stream):
                raise InferenceError(f"TensorRT cannot run the engine{_LOGGER.told()}")
            for output in self._outputs:
                output.host.copy_(output.device, non_blocking=True)
        self._done.record(self._stream)
        self._done.synchronize()
        return tuple(output.host[0].numpy().copy() for output in self._outputs)


class _Buffer:
    """One tensor of an engine on the GPU, and in memory that the GPU copies to and from."""

    def __init__(self, context: trt.IExecutionContext, name: str, device: torch.device) -> None:
        dims = context.get_tensor_shape(name)
        shape = [dims[axis] for axis in range(len(dims))]
        self.device = torch.empty(shape, dtype=torch.uint8, device=device)
        self.host = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        context.set_tensor_address(name, self.device.data_ptr())


class Logger(trt.ILogger):
    """Passes what TensorRT says to Python's log, and keeps the latest error."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._error = ""

    def told(self) -> str:
        """The latest error, in brackets; it is forgotten then."""
        error, self._error = self._error, ""
        return f" ({error})" if error else ""

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """Called by TensorRT, from any thread."""
        if severity not in _LEVELS:
            return
        if _LEVELS[severity] >= logging.ERROR:
            self._error = msg
        logger.log(_LEVELS[severity], "TensorRT: %s", msg)


class ProgressMonitor(trt.IProgressMonitor):
    """Tells Python's log now and then how far a build is, and ends it once ``interrupted``."""

    def __init__(self, interrupted: Callable[[], bool]) -> None:
        trt.IProgressMonitor.__init__(self)
        self._interrupted = interrupted
        self._steps: dict[str, int] = {}
        self._told = time.monotonic()

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """Called by TensorRT, from any thread, as are the others."""
        self._steps[phase_name] = num_steps

    def step_complete(self, phase_name: str, step: int) -> bool:
        """Whether to go on."""
        now = time.monotonic()
        if now - self._told >= _PROGRESS_PERIOD_S:
            self._told = now
            steps = self._steps.get(phase_name, step + 1)
            logger.info("TensorRT builds: %s, step %d of %d", phase_name, step + 1, steps)
        return not self._interrupted()

    def phase_finish(self, phase_name: str) -> None:
        """The phase is over, early perhaps."""
        self._steps.pop(phase_name, None)


_LOGGER = Logger()
"""One for all, since TensorRT takes no second one."""
