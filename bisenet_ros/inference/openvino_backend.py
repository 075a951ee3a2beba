"""OpenVINO: x86 and ARM CPUs, and Intel GPUs."""

import io
import logging
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.engine_cache import EngineCache, Key, cache_folder, engine_key
from bisenet_ros.inference.errors import (
    InferenceError,
    UnusableEngineError,
    cause,
    engine_errors,
)
from bisenet_ros.inference.onnx_export import build_onnx
from bisenet_ros.inference.precision import choose_precision
from bisenet_ros.model_file import Model

logger = logging.getLogger(__name__)

_CAPABILITIES = {"int8": "INT8", "fp16": "FP16", "bf16": "BF16", "fp32": "FP32"}
"""OpenVINO's names of what a device computes natively, fastest first."""

_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}


class OpenVINOBackend:
    """``Deployed``, exported to ONNX and compiled for this machine's CPU or Intel GPU.

    The ONNX graph is in fp32 or int8; bf16 and fp16 are what the compiler makes of fp32.
    """

    name = "openvino"

    def __init__(self, model: Model, options: EngineOptions) -> None:
        core = openvino.Core()
        device = _device(options.device, core.available_devices)
        self.device = device.lower()
        supported = self.native_precisions(options.device)
        self.precision = choose_precision(
            options.precision, supported, model.metadata.scores, f"openvino on this {self.device}"
        )
        graph = build_onnx(
            model,
            resolution=options.resolution,
            precision="int8" if self.precision == "int8" else "fp32",
            confidence=options.confidence,
        ).SerializeToString()
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
        }
        if options.threads and device == "CPU":
            config["INFERENCE_NUM_THREADS"] = options.threads
            # OpenVINO pins threads to cores, from the first one on in each process: two nodes that
            # share the CPU would both run on the same ones.
            config["ENABLE_CPU_PINNING"] = False
        key = engine_key(
            model,
            options,
            graph,
            engine=f"openvino {openvino.get_version()}",
            precision=self.precision,
            device=f"{core.get_property(device, 'FULL_DEVICE_NAME')}, {' '.join(supported)}",
            build=str(config),
        )
        cache = EngineCache(cache_folder(options.cache))
        with engine_errors("openvino", self.device):
            engine = _compile(core, device, graph, config, cache, key)
            self._request = engine.create_infer_request()

    @staticmethod
    def native_precisions(device: str) -> tuple[str, ...]:
        """See ``Backend.native_precisions``."""
        core = openvino.Core()
        name = _device(device, core.available_devices)
        native = core.get_property(name, "OPTIMIZATION_CAPABILITIES")
        return tuple(each for each, capability in _CAPABILITIES.items() if capability in native)

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """See ``Backend.run``."""
        with engine_errors("openvino", self.device):
            outputs = self._request.infer({0: image[None]}, share_inputs=True, share_outputs=True)
        # What it shares is the request's own memory, which the next frame overwrites.
        return tuple(output[0].copy() for output in outputs.to_tuple())

    def close(self) -> None:
        """See ``Backend.close``."""
        del self._request


def _device(asked: str, available: list[str]) -> str:
    """OpenVINO's name of a device."""
    if asked in ("auto", "cpu"):
        return "CPU"
    if asked.partition(".")[0] != "gpu":
        raise InferenceError(f"device '{asked}' is none of openvino's: auto, cpu, gpu, gpu.N")
    # One GPU is "GPU", several are "GPU.0", "GPU.1" and so on, and "GPU" is the first of them.
    if asked.upper() not in available and not (
        asked == "gpu" and any(each.startswith("GPU") for each in available)
    ):
        raise InferenceError(
            f"device '{asked}' is not there: openvino sees {', '.join(available).lower()}; use "
            "cpu, or install Intel's compute runtime for the GPU"
        )
    return asked.upper()


def _compile(
    core: openvino.Core,
    device: str,
    graph: bytes,
    config: dict[str, Any],
    cache: EngineCache,
    key: Key,
) -> openvino.CompiledModel:
    """The engine of an ONNX graph, from the cache if it is there.

    It is our cache and not OpenVINO's (CACHE_DIR), which serves damaged files as they are.
    """

    def compile_anew() -> openvino.CompiledModel:
        return core.compile_model(core.read_model(graph), device, config)

    def build() -> bytes:
        exported = io.BytesIO()
        compile_anew().export_model(exported)
        return exported.getvalue()

    def load(engine: bytes) -> openvino.CompiledModel:
        try:
            return core.import_model(engine, device, config)
        except RuntimeError as error:
            raise UnusableEngineError(
                f"openvino does not load the engine: {cause(error)}"
            ) from error

    try:
        return cache.get(key, build, load)
    except (RuntimeError, UnusableEngineError) as error:
        # Not every device takes back what it gave to be stored.
        logger.warning("the engine is compiled without the cache: %s", cause(error))
        return compile_anew()
