"""NVIDIA TensorRT, 10.3 up to 11.x: engines made for one GPU, checked against PyTorch, cached."""

import logging
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.cuda import cuda_device, cuda_number, release_memory
from bisenet_ros.inference.engine_cache import EngineCache, cache_folder, engine_key, pack, unpack
from bisenet_ros.inference.errors import InferenceError, engine_errors
from bisenet_ros.inference.onnx_export import ONNX_PRECISIONS, build_onnx
from bisenet_ros.inference.onnx_runner import ExactRunner
from bisenet_ros.inference.parity import Parity, ParityCheck
from bisenet_ros.model_file import Model

if TYPE_CHECKING:
    from bisenet_ros.inference.tensorrt_engine import Engine

logger = logging.getLogger(__name__)

_VERSIONS = (10, 3), (12, 0)
"""The first that reads the exported files, and the first whose changes are unknown."""

_BUILD = "strongly typed"
"""What is asked of the builder, for the cache: another wish, another engine."""


class TensorRTBackend:
    """``Deployed`` as a TensorRT engine, in fp32, fp16 or int8.

    Building one takes minutes, and is told to the log; the cache keeps it. A new engine labels the
    reference images first, and is discarded with an error if PyTorch labels them otherwise.
    """

    name = "tensorrt"
    threads = 0

    def __init__(
        self, model: Model, options: EngineOptions, check: ParityCheck | None = None
    ) -> None:
        device, version = _device_and_version(options.device)
        self.device = str(device)
        self.precision = options.precision
        if self.precision not in ONNX_PRECISIONS:
            raise InferenceError(
                f"precision '{self.precision}' is not for tensorrt; use auto, "
                f"{', '.join(ONNX_PRECISIONS)}"
            )
        with engine_errors("tensorrt", self.device), torch.cuda.device(device):
            major, minor = torch.cuda.get_device_capability(device)
            self.instruction_set = f"sm_{major}{minor}"
            self.arithmetic = f"tensorrt {self.instruction_set}"
            prove = check or ParityCheck(model, options.resolution)
            self._engine, self.parity = _open(
                model, options, device, version, self.identity(options.device), prove
            )

    @staticmethod
    def native_precisions(device: str) -> tuple[str, ...]:
        """See ``Backend.native_precisions``."""
        _device_and_version(device)
        return ONNX_PRECISIONS

    @staticmethod
    def identity(device: str) -> str:
        """See ``Backend.identity``."""
        cuda, _ = _device_and_version(device)
        with engine_errors("tensorrt", str(cuda)):
            gpu = torch.cuda.get_device_properties(cuda)
        # Jetsons of one name differ in their multiprocessors, by model and power mode.
        return (
            f"{gpu.name}, compute capability {gpu.major}.{gpu.minor}, "
            f"{gpu.multi_processor_count} multiprocessors"
        )

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """See ``Backend.run``."""
        with engine_errors("tensorrt", self.device):
            return self._engine.run(image)

    def close(self) -> None:
        """See ``Backend.close``."""
        del self._engine
        release_memory()


def _open(
    model: Model,
    options: EngineOptions,
    device: torch.device,
    version: str,
    identity: str,
    prove: ParityCheck,
) -> "tuple[Engine, Parity]":
    """The engine and its parity, from the cache or new."""
    from bisenet_ros.inference import tensorrt_engine

    precision = options.precision
    onnx = build_onnx(
        model,
        resolution=options.resolution,
        precision=precision,
        confidence=options.confidence,
        half=True,
    ).SerializeToString()
    key = engine_key(
        model,
        options,
        engine=f"tensorrt {version}",
        precision=precision,
        device=identity,
        content=onnx,
        build=_BUILD,
    )

    def load(content: bytes) -> "tuple[Engine, Parity]":
        facts, serialized = unpack(content)
        return tensorrt_engine.Engine(serialized, device), Parity(**facts)

    def build() -> bytes:
        logger.info("building a TensorRT engine, which takes minutes: %s", key)
        serialized = tensorrt_engine.build_engine(onnx)
        engine = tensorrt_engine.Engine(serialized, device)
        parity = prove(
            lambda image: engine.run(image)[0],
            precision,
            "the TensorRT engine",
            ExactRunner(onnx) if precision == "int8" else None,
        )
        return pack(asdict(parity), serialized)

    return EngineCache(cache_folder(options.cache)).get(key, build, load)


def _device_and_version(name: str) -> tuple[torch.device, str]:
    number = 0 if name == "auto" else cuda_number(name, "tensorrt", "auto")
    version = _version()
    return cuda_device(number), version


def _version() -> str:
    try:
        import tensorrt as trt
    except (ImportError, OSError) as error:  # OSError: its libraries are missing
        raise InferenceError(
            f"TensorRT cannot be imported ({error}): '{sys.executable} -m pip install "
            "tensorrt-cu13', or -cu12, after the CUDA of your PyTorch; on a Jetson 'sudo apt "
            "install python3-libnvinfer'"
        ) from error
    lowest, beyond = _VERSIONS
    if not lowest <= tuple(map(int, trt.__version__.split(".")[:2])) < beyond:
        raise InferenceError(f"TensorRT {trt.__version__} is installed; 10.3 up to 11.x is needed")
    return trt.__version__
