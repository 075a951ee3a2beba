"""NVIDIA TensorRT, 10.3 up to 11.x: engines made for one GPU, checked against PyTorch, cached."""

import hashlib
import logging
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.deploy import Deployed
from bisenet_ros.inference.engine_cache import EngineCache, Key, cache_folder
from bisenet_ros.inference.errors import InferenceError
from bisenet_ros.inference.onnx_export import build_onnx
from bisenet_ros.inference.precision import choose_precision
from bisenet_ros.model_file import Model
from bisenet_ros.synthetic.street import Street

if TYPE_CHECKING:
    from bisenet_ros.inference.tensorrt_engine import Engine

_log = logging.getLogger(__name__)

_PRECISIONS = ("int8", "fp16", "fp32")
"""Fastest first."""

_VERSIONS = (10, 3), (12, 0)
"""The first that reads the exported files, and the first whose changes are unknown."""

_BUILD = "strongly typed"
"""What is asked of the builder, for the cache: another wish, another engine."""

_AGREEMENT = {"int8": 0.97, "fp16": 0.99, "fp32": 0.99}
"""Of a new engine's labels with PyTorch's: the least part of equal pixels."""


class TensorRTBackend:
    """``Deployed`` as a TensorRT engine, in fp32, fp16 or int8.

    Building one takes minutes, and is told to the log; the cache keeps it. A new engine labels a
    rendered street first, and is thrown away with an error if PyTorch labels that otherwise.
    """

    name = "tensorrt"

    def __init__(self, model: Model, options: EngineOptions) -> None:
        number = _device_number(options.device)
        version = _version()
        device = _device(number)
        from bisenet_ros.inference import tensorrt_engine

        self.device = str(device)
        self.precision = choose_precision(
            options.precision, _PRECISIONS, model.metadata.scores, "tensorrt"
        )
        onnx = build_onnx(
            model,
            resolution=options.resolution,
            precision=self.precision,
            confidence=options.confidence,
            half=True,
        ).SerializeToString()
        key = _key(model, onnx, options, self.precision, version, device)
        cache = EngineCache(cache_folder(options.cache))

        def build() -> bytes:
            _log.info("building a TensorRT engine, which takes minutes: %s", key)
            serialized = tensorrt_engine.build_engine(onnx)
            engine = tensorrt_engine.Engine(serialized, device)
            image, _ = Street(0, *options.resolution).frame(0)
            labels = engine.run(image)[0]
            check_agreement(labels, _torch_labels(model, image, device), self.precision)
            return serialized

        try:
            with torch.cuda.device(device):
                try:
                    self._engine: Engine = tensorrt_engine.Engine(cache.get(key, build), device)
                except tensorrt_engine.UnusableEngineError as error:
                    _log.warning("the cached engine is built again: %s", error)
                    cache.discard(key)
                    self._engine = tensorrt_engine.Engine(cache.get(key, build), device)
        except torch.cuda.OutOfMemoryError as error:
            raise InferenceError(
                f"{device} has too little memory left: end what else uses it, or lower the "
                "resolution"
            ) from error

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """See ``Backend.run``."""
        return self._engine.run(image)

    def close(self) -> None:
        """See ``Backend.close``."""
        del self._engine
        torch.cuda.empty_cache()


def check_agreement(
    labels: NDArray[np.uint8], reference: NDArray[np.uint8], precision: str
) -> None:
    """Make sure that ``labels`` are PyTorch's ``reference``, both uint8 [H,W], but for rounding.

    Raises:
        InferenceError: fewer than 99 % of the pixels are equal, or 97 % in int8.
    """
    equal, least = float((labels == reference).mean()), _AGREEMENT[precision]
    if equal < least:
        raise InferenceError(
            f"the engine that TensorRT built in {precision} labels {equal:.2%} of the pixels of a "
            f"test image as PyTorch does, and {least:.0%} is the least; it is thrown away, so use "
            "another precision or backend"
        )


def _torch_labels(
    model: Model, image: NDArray[np.uint8], device: torch.device
) -> NDArray[np.uint8]:
    deployed = Deployed(model).to(device).eval()
    with torch.inference_mode():
        labels = deployed(torch.from_numpy(image).to(device).unsqueeze(0))[0]
    return np.asarray(labels[0].cpu().numpy(), np.uint8)


def _key(
    model: Model,
    onnx: bytes,
    options: EngineOptions,
    precision: str,
    version: str,
    device: torch.device,
) -> Key:
    """What the engine depends on, and what a reader of the cache's list wants to know.

    The ONNX file has the weights, the calibration and all that the exporter makes of them, so no
    engine outlives a change of any.
    """
    width, height = options.resolution
    major, minor = torch.cuda.get_device_capability(device)
    return {
        "backend": f"tensorrt {version}",
        "model": model.name,
        "resolution": f"{width}x{height}",
        "precision": precision,
        "confidence": "yes" if options.confidence else "no",
        "device": f"{torch.cuda.get_device_name(device)}, compute capability {major}.{minor}",
        "build": _BUILD,
        "onnx": hashlib.sha256(onnx).hexdigest(),
    }


def _version() -> str:
    try:
        import tensorrt as trt
    except (ImportError, OSError) as error:  # OSError: its libraries are missing
        raise InferenceError(
            f"TensorRT cannot be imported ({error}): 'pip install tensorrt-cu12' or tensorrt-cu13, "
            "after the CUDA of your PyTorch; on a Jetson 'sudo apt install python3-libnvinfer'"
        ) from error
    lowest, beyond = _VERSIONS
    if not lowest <= tuple(map(int, trt.__version__.split(".")[:2])) < beyond:
        raise InferenceError(f"TensorRT {trt.__version__} is installed; 10.3 up to 11.x is needed")
    return trt.__version__


def _device_number(device: str) -> int:
    kind, _, number = device.partition(":")
    if device != "auto" and (kind != "cuda" or (number and not number.isdecimal())):
        raise InferenceError(f"device '{device}' is not for tensorrt; use auto, cuda or cuda:N")
    return int(number or 0)


def _device(number: int) -> torch.device:
    count = torch.cuda.device_count()
    if number >= count:
        raise InferenceError(
            f"device 'cuda:{number}' is not there: this PyTorch ({torch.__version__}) sees {count} "
            "CUDA devices; install a PyTorch built for CUDA, or use another backend"
        )
    return torch.device("cuda", number)
