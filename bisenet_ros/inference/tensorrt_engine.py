"""Building and running engines with TensorRT or TensorRT for RTX.

This uses only what TensorRT 10.3, 11.x and TensorRT for RTX have in common. Networks are strongly
typed: the ONNX file defines the precision of each operation.
"""

import importlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto

from bisenet_ros.errors import InferenceError, UnusableEngineError
from bisenet_ros.inference.tensorrt_library import NEWEST_OPSET, Library

if TYPE_CHECKING:
    import tensorrt as trt  # types of both libraries' objects

T = TypeVar("T")

logger = logging.getLogger(__name__)

_OUTPUTS = ("labels", "confidence")
"""Names in the ONNX file; an engine may order them differently."""

_LEVELS = {
    "INTERNAL_ERROR": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    # Hundreds of lines per build. Verbose messages, thousands, are dropped.
    "INFO": logging.DEBUG,
}


@cache
def start_tensorrt(library: Library) -> "TensorRT":
    """Return the only ``TensorRT`` of ``library``, which accepts one logger per process.

    Raises:
        ImportError: ``library`` is not installed.
    """
    return TensorRT(library)


class TensorRT:
    """An imported library with its logger."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.api: Any = importlib.import_module(library.module)
        self._messages = _Messages()
        self._logger = _make_logger(self.api, self._messages)

    def parse(self, onnx: bytes) -> "Network":
        """Parse the content of an ONNX file.

        Raises:
            InferenceError: TensorRT rejects the file, or may not support its opset.
        """
        _check_opset(onnx)
        return Network(self, onnx)

    def build(self, onnx: bytes, gpu: str, progress_period: float = 5.0) -> bytes:
        """Return a serialized engine; takes seconds to minutes, with progress in the log.

        Args:
            onnx: content of an ONNX file.
            gpu: compute capability of the target, such as "sm86". TensorRT requires the target to
                be the current CUDA device.
            progress_period: least time between log messages on progress, in seconds.

        Raises:
            InferenceError: TensorRT rejects the file, or memory ran out.
            KeyboardInterrupt: SIGINT or SIGTERM arrived while the main thread was building; the
                build is canceled at its next step.
        """
        network = self.parse(onnx)
        # Without a workspace limit: it would only exclude kernels. The engine allocates its memory
        # when it is loaded, and that reports a lack of it.
        config = network.builder.create_builder_config()
        self.library.set_target(self.api, config, gpu)
        with _defer_interrupt() as interrupted:
            config.progress_monitor = _make_progress_monitor(self.api, interrupted, progress_period)
            serialized = network.builder.build_serialized_network(network.definition, config)
        if serialized is None:
            raise InferenceError(
                f"{self} cannot build the engine{self.error()}; usually GPU memory ran out: stop "
                "other processes that use the GPU, or lower the resolution"
            )
        return bytes(serialized)

    def start(self, kind: "Callable[[trt.ILogger], T]") -> T:
        """Construct a Builder or Runtime.

        Raises:
            InferenceError: CUDA cannot start. The library's own TypeError does not tell why.
        """
        try:
            return kind(self._logger)
        except TypeError as error:
            raise InferenceError(
                f"{self} cannot start{self.error()}; check that it supports the GPU's driver"
            ) from error

    def make_parser(self, network: "trt.INetworkDefinition") -> "trt.OnnxParser":
        """Return a parser that fills ``network``."""
        parser: trt.OnnxParser = self.api.OnnxParser(network, self._logger)
        return parser

    def error(self) -> str:
        """Return TensorRT's latest error in parentheses, or "", and clear it."""
        return self._messages.take_error()

    def __str__(self) -> str:
        return f"{self.library.title} {self.api.__version__}"


def _check_opset(onnx: bytes) -> None:
    """Reject opsets that TensorRT may not support.

    NVIDIA's parser does not: it parses operators of newer opsets as if they were older ones.

    Raises:
        InferenceError: the opset is newer than ``NEWEST_OPSET``.
    """
    try:
        opsets = ModelProto.FromString(onnx).opset_import
    except DecodeError:
        return  # the parser reports what is wrong
    newest = max((each.version for each in opsets if each.domain in ("", "ai.onnx")), default=0)
    if newest > NEWEST_OPSET:
        raise InferenceError(
            f"the ONNX file has opset {newest}, and TensorRT may support none above "
            f"{NEWEST_OPSET}: export it with opset {NEWEST_OPSET} or older"
        )


class Network:
    """An ONNX file, parsed by TensorRT.

    - ``definition``: the network.
    - ``builder``: builds engines from ``definition``.
    """

    def __init__(self, tensorrt: TensorRT, onnx: bytes) -> None:
        api = tensorrt.api
        self.builder: trt.Builder = tensorrt.start(api.Builder)
        # In TensorRT 11 all networks are strongly typed, and the flag has no effect.
        self.definition = self.builder.create_network(
            1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        )
        self._parser = tensorrt.make_parser(self.definition)  # owns the network's weights
        if not self._parser.parse(onnx):
            errors = map(self._parser.get_error, range(self._parser.num_errors))
            tensorrt.error()  # the same error, already reported
            raise InferenceError(
                f"{tensorrt} cannot read the network: {'; '.join(map(str, errors))}"
            )


class Engine:
    """A loaded engine with one input and one or more outputs, all uint8 and of fixed size.

    Args:
        tensorrt: library of the version that built the engine.
        serialized: result of ``TensorRT.build``.
        device: the current CUDA device.
        kernels: earlier result of ``kernels`` on the same device, or empty.

    Raises:
        UnusableEngineError: the engine is damaged or for another TensorRT or GPU. TensorRT reports
            some cases of too little memory in the same way.
        InferenceError: the device has too little memory.
    """

    def __init__(
        self, tensorrt: TensorRT, serialized: bytes, device: torch.device, kernels: bytes = b""
    ) -> None:
        self._tensorrt = tensorrt
        runtime: trt.Runtime = tensorrt.start(tensorrt.api.Runtime)
        engine = runtime.deserialize_cuda_engine(serialized)
        if engine is None:
            raise UnusableEngineError(f"{tensorrt} cannot load the engine{tensorrt.error()}")
        context, compiled = tensorrt.library.create_context(engine, kernels)
        if context is None:
            raise InferenceError(
                f"{device} has too little memory left for the engine{tensorrt.error()}: stop "
                "other processes that use it, or lower the resolution"
            )
        # Attributes are destroyed in this order: the context before the runtime that it needs.
        self._context, self._kernels, self._runtime = context, compiled, runtime
        # PyTorch has no types for these two.
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # Synchronizing the stream itself would keep a CPU core busy.
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self._input = _Buffer(context, "image", device)
        self._outputs = [_Buffer(context, name, device) for name in _OUTPUTS if name in names]

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """Run the engine on a batch of images.

        Args:
            images: uint8 [N,H,W,3] RGB of the engine's batch size and resolution.

        Returns:
            Labels, and confidence if the engine has it, uint8 [N,H,W]; the caller owns the arrays.

        Raises:
            InferenceError: TensorRT cannot run the engine.
        """
        self._input.host.numpy()[...] = images
        with torch.cuda.stream(self._stream):
            self._input.device.copy_(self._input.host, non_blocking=True)
            if not self._context.execute_async_v3(self._stream.cuda_stream):
                raise InferenceError(
                    f"{self._tensorrt} cannot run the engine{self._tensorrt.error()}"
                )
            for output in self._outputs:
                output.host.copy_(output.device, non_blocking=True)
        self._done.record(self._stream)
        self._done.synchronize()
        return tuple(output.host.numpy().copy() for output in self._outputs)

    def kernels(self) -> bytes:
        """Return the kernels compiled for this device; empty if the engine contains them."""
        return self._kernels()


class _Buffer:
    """Device memory of one tensor of an engine, and pinned host memory for copies."""

    def __init__(self, context: "trt.IExecutionContext", name: str, device: torch.device) -> None:
        dims = context.get_tensor_shape(name)
        shape = [dims[axis] for axis in range(len(dims))]
        self.device = torch.empty(shape, dtype=torch.uint8, device=device)
        self.host = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        context.set_tensor_address(name, self.device.data_ptr())


@contextmanager
def _defer_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield whether SIGINT or SIGTERM has arrived; raise KeyboardInterrupt for it at the end.

    TensorRT swallows exceptions raised in its callbacks. Only the main thread receives signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    arrived = False

    def handle(*_: object) -> None:
        nonlocal arrived
        arrived = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if arrived:
        raise KeyboardInterrupt


class _Messages:
    """Forward TensorRT's messages to Python's log, and keep the latest error."""

    def __init__(self) -> None:
        self._error = ""
        self._warned: set[str] = set()

    def pass_on(self, severity: str, message: str) -> None:
        """Log one message; TensorRT calls this from any thread."""
        level = _LEVELS.get(severity)
        if level is None:
            return
        if level >= logging.ERROR:
            self._error = message
        elif message in self._warned:
            level = logging.DEBUG  # a build may repeat a warning for each layer
        elif level == logging.WARNING:
            self._warned.add(message)
        logger.log(level, "TensorRT: %s", message)

    def take_error(self) -> str:
        """Return the latest error in parentheses, or "", and clear it."""
        error, self._error = self._error, ""
        return f" ({error})" if error else ""


def _make_logger(api: Any, messages: _Messages) -> "trt.ILogger":
    class Logger(api.ILogger):  # type: ignore[misc]  # of either library
        def __init__(self) -> None:
            api.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            messages.pass_on(severity.name, msg)

    return Logger()


def _make_progress_monitor(
    api: Any, interrupted: Callable[[], bool], period: float
) -> "trt.IProgressMonitor":
    """Log the progress of a build every ``period`` seconds; cancel it once ``interrupted``."""
    steps: dict[str, int] = {}
    logged = time.monotonic()

    class ProgressMonitor(api.IProgressMonitor):  # type: ignore[misc]  # of either library
        """TensorRT calls its methods from any thread."""

        def __init__(self) -> None:
            api.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            """Return whether the build shall continue."""
            nonlocal logged
            now = time.monotonic()
            if now - logged >= period:
                logged = now
                count = steps.get(phase_name, step + 1)
                logger.info("TensorRT: %s, step %d of %d", phase_name, step + 1, count)
            return not interrupted()

        def phase_finish(self, phase_name: str) -> None:
            """Forget the phase, which may end early."""
            steps.pop(phase_name, None)

    return ProgressMonitor()
