"""The backend for NVIDIA TensorRT and TensorRT for RTX."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

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
from bisenet_ros.inference.graph import Graph
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
    import torch

    from bisenet_ros.inference.tensorrt_engine import Engine, TensorRT

logger = logging.getLogger(__name__)

_BUILD = "strongly typed"
"""Options of the builder, part of the cache key."""


class TensorRTBackend:
    """``DeployModule`` as an engine of TensorRT or TensorRT for RTX, in fp32, fp16 or int8.

    A build takes minutes, or seconds with TensorRT for RTX, and is logged; the engine is cached.
    The labels of the reference images are compared with PyTorch's: with TensorRT after the build,
    and an engine that differs is discarded. TensorRT for RTX builds engines for GPUs of other
    machines, so each GPU compares them when it first loads them.
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
        import torch

        with engine_errors(self.name, self.device), torch.cuda.device(gpu.device):
            parity_check = check or ParityCheck(
                model, options.resolution_for(model), options.batch_size
            )
            self._engine, self.parity = _open(model, options, gpu, parity_check)

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

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """See ``Backend.run``."""
        with engine_errors(self.name, self.device):
            return self._engine.run(images)

    def close(self) -> None:
        """See ``Backend.close``."""
        del self._engine
        release_memory()


def build_for(model: Model, options: EngineOptions, gpus: Sequence[str]) -> list[Key]:
    """Build an engine for each GPU, present or not, and store it in the cache.

    Engines that are in the cache are kept. They are compared with PyTorch when the GPU loads them.

    Args:
        model: what to build.
        options: with a named precision; the device is ignored.
        gpus: compute capabilities, such as "sm86".

    Returns:
        The cache key of each engine. If the cache cannot be written, nothing is stored under it.

    Raises:
        InferenceError: TensorRT for RTX is not installed, or does not support the model, the
            precision or a GPU.
    """
    from bisenet_ros.inference.tensorrt_engine import start_tensorrt

    library = TENSORRT_RTX
    unknown = [gpu for gpu in gpus if gpu not in library.targets]
    if unknown:
        raise InferenceError(
            f"{library.title} has no GPU {quoted(unknown[0])}; use {', '.join(library.targets)}, "
            "or build on the machine that has the GPU"
        )
    check_precision(options.precision, ONNX_PRECISIONS, "tensorrt")
    try:
        version = library.version()
    except InferenceError as error:
        raise InferenceError(f"{error}: {how_to_install_rtx()}") from error
    cache = EngineCache(cache_folder(options.engine_cache))
    graph = _graph(model, options, cache)
    keys = [_key(model, options, graph, library, version, gpu) for gpu in gpus]
    for gpu, key in zip(gpus, keys, strict=True):

        def build(gpu: str = gpu, key: Key = key) -> bytes:
            return pack({}, _build(start_tensorrt(library), graph, gpu, key))

        cache.get(key, build, bytes)
    return keys


@dataclass(frozen=True)
class _Gpu:
    """A GPU of this machine, and the library that supports it.

    - ``description``: properties that engines tuned on the GPU depend on.
    """

    device: "torch.device"
    capability: Capability
    description: str
    library: Library
    version: str


def _find_gpu(name: str) -> _Gpu:
    number = 0 if name == "auto" else cuda_number(name, "tensorrt", "auto")
    device = cuda_device(number)
    import torch

    with engine_errors("tensorrt", str(device)):
        gpu = torch.cuda.get_device_properties(device)
    library, version = choose_library((gpu.major, gpu.minor), torch.version.cuda)
    # Jetsons with the same name differ in multiprocessors, depending on model and power mode.
    description = (
        f"{gpu.name}, compute capability {gpu.major}.{gpu.minor}, "
        f"{gpu.multi_processor_count} multiprocessors"
    )
    return _Gpu(device, (gpu.major, gpu.minor), description, library, version)


def _graph(model: Model, options: EngineOptions, cache: EngineCache) -> Graph:
    return Graph(model, options, cache, precision=options.precision, fp16_rest=True)


def _key(
    model: Model, options: EngineOptions, graph: Graph, library: Library, version: str, device: str
) -> Key:
    return engine_key(
        model,
        options,
        engine=f"{library.module} {version}",
        precision=options.precision,
        device=device,
        content=graph.digest,
        build=_BUILD,
    )


def _build(tensorrt: "TensorRT", graph: Graph, gpu: str, key: Key) -> bytes:
    logger.info("building an engine with %s, which may take minutes: %s", tensorrt, key)
    return tensorrt.build(graph.content, gpu)


def _open(
    model: Model, options: EngineOptions, gpu: _Gpu, parity_check: ParityCheck
) -> "tuple[Engine, Parity]":
    """Return the engine and its parity, from the cache if possible."""
    from bisenet_ros.inference.tensorrt_engine import Engine, start_tensorrt

    tensorrt = start_tensorrt(gpu.library)
    cache = EngineCache(cache_folder(options.engine_cache))
    graph = _graph(model, options, cache)
    ahead = bool(gpu.library.targets)  # engines are built ahead, and kernels compiled here
    device = target(gpu.capability) if ahead else gpu.description
    key = _key(model, options, graph, gpu.library, gpu.version, device)
    here: Key = {**key, "device": gpu.description}
    kept = cache.recall_kernels(here) if ahead else b""

    def check(engine: Engine) -> Parity:
        return parity_check(
            lambda images: engine.run(images)[0],
            options.precision,
            f"the {gpu.library.title} engine",
            graph.exact_runner() if options.precision == "int8" else None,
        )

    def load(content: bytes) -> "tuple[Engine, dict[str, float], str]":
        facts, serialized = unpack(content)
        digest = hashlib.sha256(serialized).hexdigest()
        return Engine(tensorrt, serialized, gpu.device, kept), facts, digest

    def build() -> bytes:
        serialized = _build(tensorrt, graph, target(gpu.capability), key)
        facts = {} if ahead else asdict(check(Engine(tensorrt, serialized, gpu.device)))
        return pack(facts, serialized)

    engine, facts, digest = cache.get(key, build, load)
    if ahead:
        parity_key: Key = {**here, "engine": digest}
        facts = cache.recall(parity_key)
        if facts is None:
            facts = asdict(check(engine))
            cache.remember(parity_key, facts)
        engine.run(np.zeros(options.input_shape(model), np.uint8))  # compiles its kernels
        _store_kernels(engine, kept, cache, here)
    return engine, Parity(**facts)


def _store_kernels(engine: "Engine", kept: bytes, cache: EngineCache, key: Key) -> None:
    """Store the compiled kernels of the engine if they are new."""
    kernels = engine.kernels()
    if kernels != kept:
        cache.remember_kernels(key, kernels)
