"""NVIDIA TensorRT and TensorRT for RTX: engines that are checked against PyTorch, and cached."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from bisenet_ros.deploy.onnx import ExactRunner, build_onnx
from bisenet_ros.deploy.parity import Parity, ParityCheck
from bisenet_ros.deploy.precision import ONNX_PRECISIONS, check_precision
from bisenet_ros.errors import InferenceError, engine_errors, quoted
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.cuda import cuda_device, cuda_number, release_memory
from bisenet_ros.inference.engine_cache import (
    EngineCache,
    Key,
    cache_folder,
    engine_key,
    pack,
    unpack,
)
from bisenet_ros.inference.tensorrt_library import (
    TENSORRT_RTX,
    Capability,
    Library,
    choose_library,
    how_to_install_rtx,
    target,
)
from bisenet_ros.model.file import Model

if TYPE_CHECKING:
    from bisenet_ros.inference.tensorrt_engine import Engine, TensorRT

logger = logging.getLogger(__name__)

_BUILD = "strongly typed"
"""What is asked of the builder, for the cache: another wish, another engine."""


class TensorRTBackend:
    """``DeployModule`` as an engine of TensorRT or TensorRT for RTX, in fp32, fp16 or int8.

    Building one takes minutes, with TensorRT for RTX seconds, and is told to the log; the cache
    keeps it. A new engine labels the reference images first, and is an error if PyTorch labels them
    otherwise. TensorRT discards it then. TensorRT for RTX builds engines for GPUs that are
    elsewhere, so each GPU proves them when it first loads them.
    """

    threads = 0

    def __init__(
        self, model: Model, options: EngineOptions, check: ParityCheck | None = None
    ) -> None:
        gpu = _find_gpu(options.device)
        self.name = gpu.library.module
        self.device = str(gpu.device)
        self.precision = options.precision
        check_precision(self.precision, ONNX_PRECISIONS, "tensorrt")
        major, minor = gpu.capability
        self.instruction_set = f"sm_{major}{minor}"
        self.arithmetic = f"{self.name} {self.instruction_set}"
        with engine_errors(self.name, self.device), torch.cuda.device(gpu.device):
            prove = check or ParityCheck(model, options.resolution_for(model))
            self._engine, self.parity = _open(model, options, gpu, prove)

    @staticmethod
    def native_precisions(device: str) -> tuple[str, ...]:
        """See ``Backend.native_precisions``."""
        _find_gpu(device)
        return ONNX_PRECISIONS

    @staticmethod
    def identity(device: str) -> str:
        """See ``Backend.identity``."""
        gpu = _find_gpu(device)
        return f"{gpu.library.module} {gpu.version}, {gpu.description}"

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """See ``Backend.run``."""
        with engine_errors(self.name, self.device):
            return self._engine.run(image)

    def close(self) -> None:
        """See ``Backend.close``."""
        del self._engine
        release_memory()


def build_for(model: Model, options: EngineOptions, gpus: Sequence[str]) -> list[Key]:
    """Put an engine for each of some GPUs, which need not be here, into the cache.

    What is there already stays. No engine is compared with PyTorch here: the GPU does that.

    Args:
        model: what to build.
        options: with a named precision; the device does not matter.
        gpus: such as "sm86".

    Returns:
        The key of each engine in the cache, if that could be written.

    Raises:
        InferenceError: TensorRT for RTX is not installed, or does not take the model, the precision
            or a GPU.
    """
    from bisenet_ros.inference.tensorrt_engine import start_tensorrt

    library = TENSORRT_RTX
    unknown = [gpu for gpu in gpus if gpu not in library.targets]
    if unknown:
        raise InferenceError(
            f"{library.title} has no GPU {quoted(unknown[0])}; use {', '.join(library.targets)}; "
            "for others build on the machine that has the GPU"
        )
    check_precision(options.precision, ONNX_PRECISIONS, "tensorrt")
    try:
        version = library.version()
    except InferenceError as error:
        raise InferenceError(f"{error}: {how_to_install_rtx()}") from error
    onnx = _onnx(model, options)
    keys = [_key(model, options, onnx, library, version, gpu) for gpu in gpus]
    for gpu, key in zip(gpus, keys, strict=True):

        def build(gpu: str = gpu, key: Key = key) -> bytes:
            return pack({}, _build(start_tensorrt(library), onnx, gpu, key))

        EngineCache(cache_folder(options.engine_cache)).get(key, build, bytes)
    return keys


@dataclass(frozen=True)
class _Gpu:
    """A GPU that is here, and the library that runs it.

    - ``description``: what engines depend on that were tuned on the GPU.
    """

    device: torch.device
    capability: Capability
    description: str
    library: Library
    version: str


def _find_gpu(name: str) -> _Gpu:
    number = 0 if name == "auto" else cuda_number(name, "tensorrt", "auto")
    device = cuda_device(number)
    with engine_errors("tensorrt", str(device)):
        gpu = torch.cuda.get_device_properties(device)
    library, version = choose_library((gpu.major, gpu.minor), torch.version.cuda)
    # Jetsons of one name differ in their multiprocessors, by model and power mode.
    description = (
        f"{gpu.name}, compute capability {gpu.major}.{gpu.minor}, "
        f"{gpu.multi_processor_count} multiprocessors"
    )
    return _Gpu(device, (gpu.major, gpu.minor), description, library, version)


def _onnx(model: Model, options: EngineOptions) -> bytes:
    content: bytes = build_onnx(
        model,
        resolution=options.resolution_for(model),
        precision=options.precision,
        confidence=options.confidence,
        fp16_rest=True,
    ).SerializeToString()
    return content


def _key(
    model: Model, options: EngineOptions, onnx: bytes, library: Library, version: str, device: str
) -> Key:
    return engine_key(
        model,
        options,
        engine=f"{library.module} {version}",
        precision=options.precision,
        device=device,
        content=onnx,
        build=_BUILD,
    )


def _build(tensorrt: "TensorRT", onnx: bytes, gpu: str, key: Key) -> bytes:
    logger.info("building an engine by %s, which takes a while: %s", tensorrt, key)
    return tensorrt.build(onnx, gpu)


def _open(
    model: Model, options: EngineOptions, gpu: _Gpu, prove: ParityCheck
) -> "tuple[Engine, Parity]":
    """The engine and its parity, from the cache or new."""
    from bisenet_ros.inference.tensorrt_engine import Engine, start_tensorrt

    tensorrt = start_tensorrt(gpu.library)
    onnx = _onnx(model, options)
    cache = EngineCache(cache_folder(options.engine_cache))
    ahead = bool(gpu.library.targets)
    device = target(gpu.capability) if ahead else gpu.description
    key = _key(model, options, onnx, gpu.library, gpu.version, device)
    here: Key = {**key, "device": gpu.description}
    kept = cache.recall_kernels(here) if ahead else b""

    def check(engine: Engine) -> Parity:
        return prove(
            lambda image: engine.run(image)[0],
            options.precision,
            f"the {gpu.library.title} engine",
            ExactRunner(onnx) if options.precision == "int8" else None,
        )

    def load(content: bytes) -> "tuple[Engine, dict[str, float], str]":
        facts, serialized = unpack(content)
        digest = hashlib.sha256(serialized).hexdigest()
        return Engine(tensorrt, serialized, gpu.device, kept), facts, digest

    def build() -> bytes:
        serialized = _build(tensorrt, onnx, target(gpu.capability), key)
        facts = {} if ahead else asdict(check(Engine(tensorrt, serialized, gpu.device)))
        return pack(facts, serialized)

    engine, facts, digest = cache.get(key, build, load)
    if ahead:
        proof: Key = {**here, "engine": digest}
        facts = cache.recall(proof)
        if facts is None:
            facts = asdict(check(engine))
            cache.remember(proof, facts)
        _keep_kernels(engine, options.resolution_for(model), kept, cache, here)
    return engine, Parity(**facts)


def _keep_kernels(
    engine: "Engine", resolution: tuple[int, int], kept: bytes, cache: EngineCache, key: Key
) -> None:
    """Run the engine, so that all of it is compiled, and store what was not stored before."""
    width, height = resolution
    engine.run(np.zeros((height, width, 3), np.uint8))
    kernels = engine.kernels()
    if kernels != kept:
        cache.remember_kernels(key, kernels)
