"""OpenVINO: x86 and ARM CPUs, and Intel GPUs."""

import functools
import io
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset15 as opset

from bisenet_ros.deploy.onnx import ExactRunner, build_onnx
from bisenet_ros.deploy.openvino_core import openvino_core
from bisenet_ros.deploy.parity import Parity, ParityCheck
from bisenet_ros.deploy.precision import check_precision
from bisenet_ros.errors import InferenceError, UnusableEngineError, cause, engine_errors, quoted
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.cpu import cpu_identity, cpu_quota, default_threads
from bisenet_ros.inference.engine_cache import (
    EngineCache,
    Key,
    cache_folder,
    engine_key,
    pack,
    unpack,
)
from bisenet_ros.inference.int8_probe import exact_weight_bits
from bisenet_ros.model.file import Model

logger = logging.getLogger(__name__)

_CAPABILITIES = {"int8": "INT8", "fp16": "FP16", "bf16": "BF16", "fp32": "FP32"}
"""OpenVINO's names of what a device computes natively, fastest first."""

_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}

_INSTRUCTION_SETS = ("avx512_amx", "avx512", "avx2_vnni", "avx2", "avx", "sse42", "sve", "asimd")
"""As OpenVINO's kernels are named, such as brgconv_avx512_I8; what has another name is first."""


class OpenVINOBackend:
    """``DeployModule``, exported to ONNX and compiled for this machine's CPU or Intel GPU.

    The ONNX graph is in fp32 or int8; bf16 and fp16 are what the compiler makes of fp32. INT8
    weights have 8 bits, or 7 where the device's kernels saturate with 8 (``int8_probe``).
    """

    name = "openvino"

    def __init__(
        self, model: Model, options: EngineOptions, check: ParityCheck | None = None
    ) -> None:
        core = openvino_core()
        device = _device(options.device, core.available_devices)
        self.device = device.lower()
        self.precision = options.precision
        supported = self.native_precisions(options.device)
        check_precision(self.precision, supported, f"openvino on this {self.device}")
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
        }
        # OpenVINO counts the cores, and not what a quota allows.
        if device == "CPU" and (options.threads or cpu_quota() is not None):
            config["INFERENCE_NUM_THREADS"] = options.threads or default_threads()
            # OpenVINO pins threads to cores, from the first one on in each process: two nodes that
            # share the CPU would both run on the same ones.
            config["ENABLE_CPU_PINNING"] = False
        cache = EngineCache(cache_folder(options.engine_cache))
        identity = self.identity(options.device)
        in_int8 = self.precision == "int8"
        with engine_errors("openvino", self.device):
            bits = _weight_bits(core, device, identity, cache) if in_int8 else 8
            graph = build_onnx(
                model,
                resolution=options.resolution_for(model),
                precision="int8" if in_int8 else "fp32",
                confidence=options.confidence,
                weight_bits=bits,
            ).SerializeToString()
            key = engine_key(
                model,
                options,
                engine=f"openvino {openvino.get_version()}",
                precision=self.precision,
                device=identity,
                content=graph,
                build=str(config),
            )
            prove = check or ParityCheck(model, options.resolution_for(model))

            def compare(engine: openvino.CompiledModel) -> Parity:
                request = engine.create_infer_request()
                return prove(
                    lambda image: request.infer({0: image[None]})[0][0],
                    self.precision,
                    "the OpenVINO engine",
                    ExactRunner(graph) if in_int8 else None,
                )

            engine, self.parity = _compile(core, device, graph, config, cache, key, compare)
            self._request = engine.create_infer_request()
        self.threads = engine.get_property("INFERENCE_NUM_THREADS") if device == "CPU" else 0
        self.instruction_set = _instruction_set(engine)
        self.arithmetic = f"openvino {self.instruction_set}" + ("" if bits == 8 else f" {bits}-bit")

    @staticmethod
    def native_precisions(device: str) -> tuple[str, ...]:
        """See ``Backend.native_precisions``."""
        core = openvino_core()
        name = _device(device, core.available_devices)
        listed = core.get_property(name, "OPTIMIZATION_CAPABILITIES")
        return tuple(
            precision
            for precision, capability in _CAPABILITIES.items()
            # OpenVINO lists what the CPU can do, even where oneDNN is told not to use it.
            if capability in listed and (precision != "bf16" or _computes(name, "bf16"))
        )

    @staticmethod
    def identity(device: str) -> str:
        """See ``Backend.identity``."""
        core = openvino_core()
        name = _device(device, core.available_devices)
        full = core.get_property(name, "FULL_DEVICE_NAME")
        on = f"{full}, instructions {cpu_identity()}" if name == "CPU" else full
        return f"OpenVINO {openvino.get_version()}, {on}"

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
        raise InferenceError(f"device {quoted(asked)} is none of openvino's: auto, cpu, gpu, gpu.N")
    # One GPU is "GPU", several are "GPU.0", "GPU.1" and so on, and "GPU" is the first of them.
    if asked.upper() not in available and not (
        asked == "gpu" and any(each.startswith("GPU") for each in available)
    ):
        raise InferenceError(
            f"device {quoted(asked)} is not there: openvino sees {', '.join(available).lower()}; "
            "use cpu, or install Intel's compute runtime for the GPU"
        )
    return asked.upper()


def _compile(
    core: openvino.Core,
    device: str,
    graph: bytes,
    config: dict[str, Any],
    cache: EngineCache,
    key: Key,
    compare: Callable[[openvino.CompiledModel], Parity],
) -> tuple[openvino.CompiledModel, Parity]:
    """The engine of an ONNX graph and its parity, from the cache if it is there.

    It is our cache and not OpenVINO's (CACHE_DIR), which serves damaged files as they are.
    """

    def compile_anew() -> tuple[openvino.CompiledModel, Parity]:
        engine = core.compile_model(core.read_model(graph), device, config)
        return engine, compare(engine)

    def build() -> bytes:
        engine, parity = compile_anew()
        exported = io.BytesIO()
        engine.export_model(exported)
        return pack(asdict(parity), exported.getvalue())

    def load(content: bytes) -> tuple[openvino.CompiledModel, Parity]:
        facts, engine = unpack(content)
        try:
            return core.import_model(engine, device, config), Parity(**facts)
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


def _weight_bits(core: openvino.Core, device: str, identity: str, cache: EngineCache) -> int:
    """Bits of INT8 weights with which the device computes exactly, from the cache or probed.

    Raises:
        InferenceError: it does with none.
    """
    key = {"probe": "int8", "device": identity}
    bits = cache.recall(key)
    if bits is None:
        bits = exact_weight_bits(lambda graph, image: _run_once(core, device, graph, image))
        cache.remember(key, bits or 0)
        if bits == 7:
            logger.info("int8 of openvino saturates on this %s: taking weights of 7 bits", device)
    if not bits:
        raise InferenceError(
            f"openvino computes int8 wrongly on this {device.lower()}, even with weights of 7 "
            "bits; use another precision"
        )
    return int(bits)


def _run_once(
    core: openvino.Core, device: str, graph: bytes, image: NDArray[np.uint8]
) -> list[NDArray[np.float32]]:
    config = {"INFERENCE_PRECISION_HINT": _HINTS["int8"]}
    engine = core.compile_model(core.read_model(graph), device, config)
    results = engine([image])
    return [results[output] for output in engine.outputs]


@functools.cache
def _computes(device: str, precision: str) -> bool:
    """Return whether OpenVINO computes a convolution in the precision that it is asked for."""
    image = opset.parameter([1, 16, 8, 8], np.float32)
    weights = opset.constant(np.ones((16, 16, 3, 3), np.float32))
    pads = [1, 1]
    convolution = opset.convolution(image, weights, [1, 1], pads, pads, [1, 1])
    pool = opset.max_pool(convolution, [1, 1], [1, 1], [0, 0], [0, 0], [2, 2])
    model = openvino.Model([pool], [image])
    try:
        engine = openvino_core().compile_model(
            model, device, {"INFERENCE_PRECISION_HINT": _HINTS[precision]}
        )
    except RuntimeError:
        return False
    return [precision in kernel for kernel in _convolution_kernels(engine)] == [True]


def _instruction_set(engine: openvino.CompiledModel) -> str:
    """Return the instruction set of most convolutions, such as avx2; "gpu" on a GPU."""
    found = Counter(
        next((each for each in _INSTRUCTION_SETS if each in kernel), "")
        for kernel in _convolution_kernels(engine)
    )
    names = [name for name, _ in found.most_common() if name]
    return names[0] if names else "gpu"


def _convolution_kernels(engine: openvino.CompiledModel) -> list[str]:
    """Names of the kernels that run the convolutions, such as "brgconv_avx512_I8"."""
    details = [node.rt_info for node in engine.get_runtime_model().get_ops()]
    return [
        each["primitiveType"].astype(str)
        for each in details
        if each["layerType"].astype(str) == "Convolution"
    ]
