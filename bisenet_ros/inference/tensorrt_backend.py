"""NVIDIA TensorRT, 10.3 up to 11.x: engines made for one GPU, checked against PyTorch, cached."""

import logging
import sys
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from bisenet_ros.inference.agreement import check_agreement
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.cuda import cuda_device, cuda_number, release_memory
from bisenet_ros.inference.engine_cache import EngineCache, cache_folder, engine_key
from bisenet_ros.inference.errors import InferenceError, engine_errors
from bisenet_ros.inference.onnx_export import ONNX_PRECISIONS, build_onnx
from bisenet_ros.inference.precision import choose_precisions
from bisenet_ros.model_file import Model

if TYPE_CHECKING:
    from bisenet_ros.inference.tensorrt_engine import Engine

logger = logging.getLogger(__name__)

_VERSIONS = (10, 3), (12, 0)
"""The first that reads the exported files, and the first whose changes are unknown."""

_BUILD = "strongly typed"
"""What is asked of the builder, for the cache: another wish, another engine."""


_UNSCORED = "fp16", "fp32"
"""Taken without a score: weights that overflow in fp16 do not pass the comparison with PyTorch."""


class TensorRTBackend:
    """``Deployed`` as a TensorRT engine, in fp32, fp16 or int8.

    Building one takes minutes, and is told to the log; the cache keeps it. A new engine labels a
    rendered street first, and is thrown away with an error if PyTorch labels that otherwise.
    """

    name = "tensorrt"

    def __init__(self, model: Model, options: EngineOptions) -> None:
        device, version = _device_and_version(options.device)
        self.device = str(device)
        with engine_errors("tensorrt", self.device):
            gpu = torch.cuda.get_device_properties(device)
        # Jetsons of one name differ in their multiprocessors, by model and power mode.
        name = (
            f"{gpu.name}, compute capability {gpu.major}.{gpu.minor}, "
            f"{gpu.multi_processor_count} multiprocessors"
        )
        precisions = choose_precisions(
            options.precision, ONNX_PRECISIONS, model.metadata.scores, "tensorrt", _UNSCORED
        )
        failures: list[InferenceError] = []
        for precision, slower in zip_longest(precisions, precisions[1:]):
            try:
                with engine_errors("tensorrt", self.device), torch.cuda.device(device):
                    self._engine = _open(model, options, precision, device, version, name)
            except InferenceError as error:
                failures.append(error)
                if slower is None:
                    raise failures[0] from None
                logger.warning(
                    "TensorRT failed in %s, and %s is tried instead (if it always does, "
                    "'precision: %s' spares the attempt): %s",
                    precision,
                    slower,
                    slower,
                    error,
                )
            else:
                self.precision = precision
                break

    @staticmethod
    def native_precisions(device: str) -> tuple[str, ...]:
        """See ``Backend.native_precisions``."""
        _device_and_version(device)
        return ONNX_PRECISIONS

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
    precision: str,
    device: torch.device,
    version: str,
    name: str,
) -> "Engine":
    """The engine of one precision, for the device of that name, from the cache or new."""
    from bisenet_ros.inference import tensorrt_engine

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
        onnx,
        engine=f"tensorrt {version}",
        precision=precision,
        device=name,
        build=_BUILD,
    )

    def load(serialized: bytes) -> "Engine":
        return tensorrt_engine.Engine(serialized, device)

    def build() -> bytes:
        logger.info("building a TensorRT engine, which takes minutes: %s", key)
        serialized = tensorrt_engine.build_engine(onnx)
        engine = load(serialized)
        check_agreement(
            lambda image: engine.run(image)[0],
            model,
            options.resolution,
            precision,
            "the TensorRT engine",
        )
        return serialized

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
