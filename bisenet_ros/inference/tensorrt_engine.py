"""All that is asked of TensorRT or TensorRT for RTX: build an engine from an ONNX file, and run it.

Only what TensorRT 10.3 and 11.x and TensorRT for RTX all have: networks are strongly typed, so the
ONNX file says what is computed in which precision.
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
    import tensorrt as trt  # types for the objects of both

T = TypeVar("T")

logger = logging.getLogger(__name__)

_OUTPUTS = ("labels", "confidence")
"""As the ONNX file names them; an engine may have them in another order."""

_LEVELS = {
    "INTERNAL_ERROR": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    # Hundreds of lines a build. Its verbose messages, thousands, are left out.
    "INFO": logging.DEBUG,
}


@cache
def start_tensorrt(library: Library) -> "TensorRT":
    """Import ``library``; one ``TensorRT`` for each, since it takes no second logger."""
    return TensorRT(library)


class TensorRT:
    """One of the two libraries at work."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.api: Any = importlib.import_module(library.module)
        self._messages = _Messages()
        self._logger = _make_logger(self.api, self._messages)

    def parse(self, onnx: bytes) -> "Network":
        """Return the network of an ONNX file.

        Raises:
            InferenceError: TensorRT does not take the file, or the file is newer than it may know.
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
            InferenceError: TensorRT does not take the file, or has too little memory.
            KeyboardInterrupt: SIGINT or SIGTERM in the main thread; it ends the build at its next
                step.
        """
        network = self.parse(onnx)
        # The workspace has no limit of ours: one would only rule out kernels. What the engine needs
        # in the end is taken, or refused for want of memory, when it is loaded.
        config = network.builder.create_builder_config()
        self.library.set_target(self.api, config, gpu)
        with _noted_interrupt() as interrupted:
            config.progress_monitor = _make_progress_monitor(self.api, interrupted, progress_period)
            serialized = network.builder.build_serialized_network(network.definition, config)
        if serialized is None:
            raise InferenceError(
                f"{self} cannot build the engine{self.error()}; most often it lacks GPU memory: "
                "end what else uses the GPU, or lower the resolution"
            )
        return bytes(serialized)

    def start(self, kind: "Callable[[trt.ILogger], T]") -> T:
        """A Builder or Runtime; where CUDA does not start these raise a TypeError without a reason.

        Raises:
            InferenceError: CUDA does not start.
        """
        try:
            return kind(self._logger)
        except TypeError as error:
            raise InferenceError(
                f"{self} cannot start{self.error()}; see that the GPU's driver fits it"
            ) from error

    def make_parser(self, network: "trt.INetworkDefinition") -> "trt.OnnxParser":
        """A parser that fills ``network``."""
        parser: trt.OnnxParser = self.api.OnnxParser(network, self._logger)
        return parser

    def error(self) -> str:
        """The latest error that TensorRT told of, in brackets; it is forgotten then."""
        return self._messages.take_error()

    def __str__(self) -> str:
        return f"{self.library.title} {self.api.__version__}"


def _check_opset(onnx: bytes) -> None:
    """Refuse what NVIDIA's parser does not: it reads operators of any opset as of those it knows.

    Raises:
        InferenceError: naming the opset.
    """
    try:
        opsets = ModelProto.FromString(onnx).opset_import
    except DecodeError:
        return  # the parser says what is wrong with it
    newest = max((each.version for each in opsets if each.domain in ("", "ai.onnx")), default=0)
    if newest > NEWEST_OPSET:
        raise InferenceError(
            f"the ONNX file has opset {newest}, and TensorRT may know none beyond {NEWEST_OPSET}: "
            f"export it with opset {NEWEST_OPSET} or an older one"
        )


class Network:
    """An ONNX file as TensorRT has understood it.

    - ``builder``: what builds ``definition``.
    """

    def __init__(self, tensorrt: TensorRT, onnx: bytes) -> None:
        api = tensorrt.api
        self.builder: trt.Builder = tensorrt.start(api.Builder)
        # TensorRT 11 has no other networks and ignores the flag.
        self.definition = self.builder.create_network(
            1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        )
        self._parser = tensorrt.make_parser(self.definition)  # its weights are those of the network
        if not self._parser.parse(onnx):
            errors = map(self._parser.get_error, range(self._parser.num_errors))
            tensorrt.error()  # the same once more
            raise InferenceError(
                f"{tensorrt} cannot read the network: {'; '.join(map(str, errors))}"
            )


class Engine:
    """A loaded engine of one input and one or more outputs, all uint8 and of fixed size.

    Args:
        tensorrt: that has built it, in the same version.
        serialized: by ``TensorRT.build``.
        device: of CUDA, and the current one.
        kernels: what ``kernels`` gave before, on the same device, or empty.

    Raises:
        UnusableEngineError: it is of another TensorRT, another GPU, or no engine at all; TensorRT
            does not tell these from too little memory.
        InferenceError: the device has too little memory.
    """

    def __init__(
        self, tensorrt: TensorRT, serialized: bytes, device: torch.device, kernels: bytes = b""
    ) -> None:
        self._tensorrt = tensorrt
        runtime: trt.Runtime = tensorrt.start(tensorrt.api.Runtime)
        engine = runtime.deserialize_cuda_engine(serialized)
        if engine is None:
            raise UnusableEngineError(f"{tensorrt} does not load the engine{tensorrt.error()}")
        context, compiled = tensorrt.library.create_context(engine, kernels)
        if context is None:
            raise InferenceError(
                f"{device} has too little memory left for the engine{tensorrt.error()}: end what "
                "else uses it, or lower the resolution"
            )
        # In this order, in which they are destroyed: what runs, and what it stands on.
        self._context, self._kernels, self._runtime = context, compiled, runtime
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
                raise InferenceError(
                    f"{self._tensorrt} cannot run the engine{self._tensorrt.error()}"
                )
            for output in self._outputs:
                output.host.copy_(output.device, non_blocking=True)
        self._done.record(self._stream)
        self._done.synchronize()
        return tuple(output.host[0].numpy().copy() for output in self._outputs)

    def kernels(self) -> bytes:
        """What was compiled for this device so far; empty where all of it is in the engine."""
        return self._kernels()


class _Buffer:
    """One tensor of an engine on the GPU, and in memory that the GPU copies to and from."""

    def __init__(self, context: "trt.IExecutionContext", name: str, device: torch.device) -> None:
        dims = context.get_tensor_shape(name)
        shape = [dims[axis] for axis in range(len(dims))]
        self.device = torch.empty(shape, dtype=torch.uint8, device=device)
        self.host = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        context.set_tensor_address(name, self.device.data_ptr())


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


class _Messages:
    """Passes what TensorRT says to Python's log, and keeps the latest error."""

    def __init__(self) -> None:
        self._error = ""
        self._warned: set[str] = set()

    def pass_on(self, severity: str, message: str) -> None:
        """Called by TensorRT, from any thread."""
        level = _LEVELS.get(severity)
        if level is None:
            return
        if level >= logging.ERROR:
            self._error = message
        elif message in self._warned:
            level = logging.DEBUG  # one build may repeat a warning for each layer
        elif level == logging.WARNING:
            self._warned.add(message)
        logger.log(level, "TensorRT: %s", message)

    def take_error(self) -> str:
        """The latest error, in brackets; it is forgotten then."""
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
        """Called by TensorRT, from any thread."""

        def __init__(self) -> None:
            api.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            """Whether to go on."""
            nonlocal logged
            now = time.monotonic()
            if now - logged >= period:
                logged = now
                count = steps.get(phase_name, step + 1)
                logger.info("TensorRT: %s, step %d of %d", phase_name, step + 1, count)
            return not interrupted()

        def phase_finish(self, phase_name: str) -> None:
            """The phase is over, early perhaps."""
            steps.pop(phase_name, None)

    return ProgressMonitor()
