"""The OpenVINO backend, for x86 and ARM CPUs and Intel GPUs."""

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
from bisenet_ros.inference.graph import Graph
from bisenet_ros.model.file import Model

logger = logging.getLogger(__name__)

_CAPABILITIES = {"int8": "INT8", "fp16": "FP16", "bf16": "BF16", "fp32": "FP32"}
"""OpenVINO's names of natively supported precisions, fastest first."""

_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}

_INSTRUCTION_SETS = ("avx512_amx", "avx512", "avx2_vnni", "avx2", "avx", "sse42", "sve", "asimd")
"""Parts of the names of OpenVINO's kernels, such as brgconv_avx512_I8; longer names first."""


class OpenVINOBackend:
    """``DeployModule``, exported to ONNX and compiled for this machine's CPU or Intel GPU.

    The ONNX graph is in fp32 or int8; for bf16 and fp16 the compiler converts the fp32 graph. INT8
    weights have 8 bits, or 7 if the device's kernels saturate with 8 (``int8_probe``).
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
        # OpenVINO's default is the number of cores, which ignores CPU quotas.
        if device == "CPU" and (options.threads or cpu_quota() is not None):
            config["INFERENCE_NUM_THREADS"] = options.threads or default_threads()
            # OpenVINO pins threads to cores, starting at the first core in each process, so two
            # nodes that share the CPU would run on the same cores.
            config["ENABLE_CPU_PINNING"] = False
        cache = EngineCache(cache_folder(options.engine_cache))
        identity = self.identity(options.device)
        in_int8 = self.precision == "int8"
        with engine_errors("openvino", self.device):
            bits = _weight_bits(core, device, identity, cache) if in_int8 else 8
            graph = Graph(
                model,
                options,
                cache,
                precision="int8" if in_int8 else "fp32",
                weight_bits=bits,
            )
            key = engine_key(
                model,
                options,
                engine=f"openvino {openvino.get_version()}",
                precision=self.precision,
                device=identity,
                content=graph.digest,
                build=str(config),
            )
            parity_check = check or ParityCheck(
                model, options.resolution_for(model), options.batch_size
            )

            def compare(engine: openvino.CompiledModel) -> Parity:
                request = engine.create_infer_request()
                return parity_check(
                    lambda images: request.infer({0: images})[0],
                    self.precision,
                    "the OpenVINO engine",
                    graph.exact_runner() if in_int8 else None,
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
            # OpenVINO lists the CPU's capabilities even if oneDNN's limit disables them.
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

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """See ``Backend.run``."""
        with engine_errors("openvino", self.device):
            outputs = self._request.infer({0: images}, share_inputs=True, share_outputs=True)
        # Shared outputs are the request's memory, which the next run overwrites.
        return tuple(output.copy() for output in outputs.to_tuple())

    def close(self) -> None:
        """See ``Backend.close``."""
        del self._request


def _device(asked: str, available: list[str]) -> str:
    """Return OpenVINO's name of a device.

    Args:
        asked: as in ``EngineOptions``.
        available: OpenVINO's names of all devices.
    """
    if asked in ("auto", "cpu"):
        return "CPU"
    if asked.partition(".")[0] != "gpu":
        raise InferenceError(
            f"device {quoted(asked)} is not supported by openvino; use auto, cpu, gpu or gpu.N"
        )
    # One GPU is "GPU", several are "GPU.0", "GPU.1" and so on, and "GPU" is the first of them.
    if asked.upper() not in available and not (
        asked == "gpu" and any(each.startswith("GPU") for each in available)
    ):
        raise InferenceError(
            f"device {quoted(asked)} not found: openvino sees {', '.join(available).lower()}; "
            "use cpu, or install Intel's compute runtime for the GPU"
        )
    return asked.upper()


def _compile(
    core: openvino.Core,
    device: str,
    graph: Graph,
    config: dict[str, Any],
    cache: EngineCache,
    key: Key,
    compare: Callable[[openvino.CompiledModel], Parity],
) -> tuple[openvino.CompiledModel, Parity]:
    """Return the engine of a graph and its parity, from the cache if possible.

    OpenVINO's own cache (CACHE_DIR) is not used: it does not detect damaged files.
    """

    def compile_and_compare() -> tuple[openvino.CompiledModel, Parity]:
        engine = core.compile_model(core.read_model(graph.content), device, config)
        return engine, compare(engine)

    def build() -> bytes:
        engine, parity = compile_and_compare()
        exported = io.BytesIO()
        engine.export_model(exported)
        return pack(asdict(parity), exported.getvalue())

    def load(content: bytes) -> tuple[openvino.CompiledModel, Parity]:
        facts, engine = unpack(content)
        try:
            return core.import_model(engine, device, config), Parity(**facts)
        except RuntimeError as error:
            raise UnusableEngineError(f"openvino cannot load the engine: {cause(error)}") from error

    try:
        return cache.get(key, build, load)
    except (RuntimeError, UnusableEngineError) as error:
        # Not every device can import the engines that it exports.
        logger.warning("compiling the engine without the cache: %s", cause(error))
        return compile_and_compare()


def _weight_bits(core: openvino.Core, device: str, identity: str, cache: EngineCache) -> int:
    """Return the bit width of INT8 weights that the device computes exactly.

    The result of the probe is stored in the cache.

    Raises:
        InferenceError: the device computes no bit width exactly.
    """
    key = {"probe": "int8", "device": identity}
    bits = cache.recall(key)
    if bits is None:
        from bisenet_ros.inference.int8_probe import exact_weight_bits  # needs onnx

        bits = exact_weight_bits(lambda graph, image: _run_once(core, device, graph, image))
        cache.remember(key, bits or 0)
        if bits == 7:
            logger.info("int8 saturates in openvino on this %s: using 7-bit weights", device)
    if not bits:
        raise InferenceError(
            f"openvino computes int8 wrongly on this {device.lower()}, even with 7-bit "
            "weights; use another precision"
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
    """Return whether OpenVINO runs a convolution in ``precision`` if requested."""
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
