"""NVIDIA's parser and builder, without a GPU: TensorRT for RTX builds all exported files.

BISENET_LONG=1 builds every combination instead of a few, 480 engines, which takes half an hour.
"""

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from onnx import ModelProto, numpy_helper

from bisenet_ros.benchmark.random_model import random_model
from bisenet_ros.deploy.calibration import calibrate
from bisenet_ros.deploy.onnx import build_onnx
from bisenet_ros.deploy.precision import ONNX_PRECISIONS
from bisenet_ros.deploy.quantization import FLOAT_LAYERS
from bisenet_ros.deploy.reference_images import reference_images
from bisenet_ros.errors import InferenceError, UnusableEngineError
from bisenet_ros.inference import tensorrt_engine
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.engine_cache import EngineCache, cache_folder, unpack
from bisenet_ros.inference.tensorrt_backend import build_for
from bisenet_ros.inference.tensorrt_engine import Engine, TensorRT, start_tensorrt
from bisenet_ros.inference.tensorrt_library import NEWEST_OPSET, TENSORRT_RTX
from bisenet_ros.model import file as model_file
from bisenet_ros.model.file import Model
from bisenet_ros.resources import model_path

trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")

torch.set_num_threads(1)

TESTS = Path(__file__).parents[1]
GPUS = ("sm75", "sm86", "sm89", "sm120")
SIZES = ((256, 128), (480, 360), (1024, 512), (2048, 1024))


@cache
def converted(kind: str) -> Model:
    """A checkpoint of another project, calibrated."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TESTS / "model" / "converters")
        checkpoint = import_module(f"{kind}_checkpoint").checkpoint()
    path = Path(os.environ["XDG_CACHE_HOME"]) / f"{kind}.pth"
    torch.save(checkpoint, path)
    model = model_file.load(path)
    table = calibrate(model, reference_images((128, 64)).values(), (128, 64))
    return replace(model, metadata=replace(model.metadata, calibration=table))


MODELS: dict[str, Callable[[], Model]] = {
    "shipped": cache(lambda: model_file.load(model_path(""))),
    "public form": cache(partial(random_model, "bisenetv2", 19)),
    "paper form": cache(partial(random_model, "bisenetv2_paper", 19)),
    "CoinCheung's": partial(converted, "coincheung"),
    "MMSegmentation's": partial(converted, "mmseg"),
}


class Case(NamedTuple):
    model: str
    precision: str
    size: tuple[int, int]
    confidence: bool
    gpus: tuple[str, ...] = ("sm86",)

    def __str__(self) -> str:
        width, height = self.size
        outputs = "labels, confidence" if self.confidence else "labels"
        return f"{self.model} {self.precision} {width}x{height} {outputs}"


CASES = (
    [Case(*each, GPUS) for each in product(MODELS, ONNX_PRECISIONS, SIZES, (False, True))]
    if os.environ.get("BISENET_LONG")
    else [
        Case("shipped", "fp32", (480, 360), confidence=False),
        Case("shipped", "fp16", (480, 360), confidence=True, gpus=GPUS),
        Case("shipped", "int8", (480, 360), confidence=False, gpus=GPUS),
        Case("public form", "int8", (1024, 512), confidence=True),
        Case("paper form", "fp32", (2048, 1024), confidence=True),
        Case("CoinCheung's", "int8", (256, 128), confidence=False),
        Case("MMSegmentation's", "int8", (256, 128), confidence=False),
    ]
)


@pytest.fixture(scope="module")
def tensorrt() -> TensorRT:
    return start_tensorrt(TENSORRT_RTX)


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Model:
    return model_file.load(tiny_model)


@pytest.fixture(scope="module")
def graph(tiny: Model) -> ModelProto:
    """The file of a small model in INT8."""
    table = calibrate(tiny, reference_images((128, 64)).values(), (128, 64))
    calibrated = replace(tiny, metadata=replace(tiny.metadata, calibration=table))
    return build_onnx(calibrated, resolution=(128, 64), precision="int8", fp16_rest=True)


def layers(network: Any) -> list[Any]:
    return [network.get_layer(index) for index in range(network.num_layers)]


def convolutions(network: Any) -> list[Any]:
    found = [layer for layer in layers(network) if layer.type == trt.LayerType.CONVOLUTION]
    for layer in found:
        layer.__class__ = trt.IConvolutionLayer  # the bindings' own way to a layer's own members
    return found


def in_int8(network: Any) -> dict[str, bool]:
    """Return whether each convolution is in INT8, with both inputs dequantized."""
    dequantized = {
        layer.get_output(0).name
        for layer in layers(network)
        if layer.type == trt.LayerType.DEQUANTIZE and layer.get_input(0).dtype == trt.int8
    }
    return {
        each.name: each.num_inputs == 2
        and dequantized.issuperset((each.get_input(0).name, each.get_input(1).name))
        for each in convolutions(network)
    }


def multiply_adds(layer: Any) -> int:
    channels = layer.get_input(0).shape[1] // layer.num_groups
    return int(np.prod(layer.get_output(0).shape) * channels * np.prod(layer.kernel_size_nd))


def modules(graph: ModelProto) -> dict[str, str]:
    """Return the name of each convolution's module in the network."""
    return {
        node.name: node.input[1].removeprefix("network.").partition(".weight")[0]
        for node in graph.graph.node
        if node.op_type == "Conv"
    }


@pytest.mark.parametrize("case", CASES, ids=str)
def test_file_is_read_and_built(case: Case, tensorrt: TensorRT) -> None:
    model = MODELS[case.model]()
    width, height = case.size
    graph = build_onnx(
        model,
        resolution=case.size,
        precision=case.precision,
        confidence=case.confidence,
        fp16_rest=True,
    )
    content = graph.SerializeToString()
    network = tensorrt.parse(content).definition

    image, *others = (network.get_input(index) for index in range(network.num_inputs))
    assert (image.name, image.dtype, tuple(image.shape)) == (
        "image",
        trt.uint8,
        (1, height, width, 3),
    )
    assert others == []
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    assert [(each.name, each.dtype, tuple(each.shape)) for each in outputs] == [
        (name, trt.uint8, (1, height, width))
        for name in ("labels", "confidence")[: 1 + case.confidence]
    ]

    found = convolutions(network)
    assert len(found) == len(modules(graph)) > 50
    dtype = trt.float32 if case.precision == "fp32" else trt.float16
    assert {each.get_input(0).dtype for each in found} == {dtype}
    assert {each.get_output(0).dtype for each in found} == {dtype}
    names = modules(graph)
    int8 = in_int8(network)
    if case.precision == "int8":
        grouped = {names[each.name] for each in found if each.num_groups > 1}
        in_float = {names[name] for name, quantized in int8.items() if not quantized}
        assert in_float == {*FLOAT_LAYERS, *grouped}
    else:
        assert set(int8.values()) == {False}
        assert {layer.type for layer in layers(network)}.isdisjoint(
            {trt.LayerType.QUANTIZE, trt.LayerType.DEQUANTIZE}
        )
    # Upsampling and argmax are in fp32.
    searches = [each for each in layers(network) if each.type == trt.LayerType.TOPK]
    assert [each.get_input(0).dtype for each in searches] == [trt.float32]

    for gpu in case.gpus:
        engine = tensorrt.build(content, gpu)
        assert len(engine) > len(content) / 4


def test_guide_names_the_layers_in_float_and_the_share_in_int8(tensorrt: TensorRT) -> None:
    guide = (TESTS.parent / "docs" / "engines.md").read_text()
    section = guide.partition("\n## INT8\n")[2].partition("\n## ")[0]
    assert tuple(re.findall(r"^- `([\w.]+)`", section, re.MULTILINE)) == FLOAT_LAYERS

    graph = build_onnx(MODELS["shipped"](), resolution=(128, 64), precision="int8", fp16_rest=True)
    network = tensorrt.parse(graph.SerializeToString()).definition
    macs = {each.name: multiply_adds(each) for each in convolutions(network)}
    int8 = sum(macs[name] for name, quantized in in_int8(network).items() if quantized)
    (documented,) = re.findall(r"([\d.]+) % for TensorRT", section)
    assert 100 * int8 / sum(macs.values()) == pytest.approx(float(documented), abs=0.05)


# Invalid files.


def unknown_operator(graph: ModelProto) -> bytes:
    graph.graph.node[-1].op_type = "StringNormalizer"
    return graph.SerializeToString()


def zero_points_of_3(graph: ModelProto) -> bytes:
    names = {node.input[2] for node in graph.graph.node if node.op_type == "QuantizeLinear"}
    for value in graph.graph.initializer:
        if value.name in names:
            shifted = numpy_helper.to_array(value) + np.int8(3)
            value.CopyFrom(numpy_helper.from_array(shifted, value.name))
    return graph.SerializeToString()


def truncated(graph: ModelProto) -> bytes:
    return graph.SerializeToString()[:-100]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (unknown_operator, "cannot read the network: .*StringNormalizer.*UNSUPPORTED_NODE"),
        (zero_points_of_3, "cannot read the network: .*Non-zero zero point is not supported"),
        (truncated, "cannot read the network: .*Failed to parse the ONNX model"),
        (lambda graph: b"", "cannot build the engine .*must have at least one output"),
    ],
)
def test_refusal_has_the_reason(
    graph: ModelProto, tensorrt: TensorRT, spoil: Callable[[ModelProto], bytes], reason: str
) -> None:
    copy = ModelProto()
    copy.CopyFrom(graph)
    with pytest.raises(InferenceError, match=rf"(?s)TensorRT for RTX [\d.]+ {reason}"):
        tensorrt.build(spoil(copy), "sm86")


def test_opset_beyond_those_known_is_refused(graph: ModelProto, tensorrt: TensorRT) -> None:
    copy = ModelProto()
    copy.CopyFrom(graph)
    (opset,) = copy.opset_import
    assert opset.version == NEWEST_OPSET == 20
    opset.version = 21
    with pytest.raises(InferenceError, match=r"has opset 21, .* none above 20: export it with"):
        tensorrt.parse(copy.SerializeToString())
    copy.opset_import.add(domain="com.microsoft", version=99)  # other domains do not count
    opset.version = 20
    tensorrt.parse(copy.SerializeToString())


@pytest.mark.parametrize(
    ("size", "reason"), [(1, "within workspace limit"), (2**63 - 1, "Internal Error")]
)
def test_refused_workspace_has_the_reason(
    graph: ModelProto,
    tensorrt: TensorRT,
    size: int,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = type(TENSORRT_RTX)
    set_target = kind.set_target

    def limit(library: Any, api: Any, config: Any, gpu: str) -> None:
        set_target(library, api, config, gpu)
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size)

    monkeypatch.setattr(kind, "set_target", limit)
    with pytest.raises(InferenceError, match=rf"(?s)cannot build .*{reason}.*lower"):
        tensorrt.build(graph.SerializeToString(), "sm86")


def test_engine_needs_a_driver(graph: ModelProto, tensorrt: TensorRT) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    engine = tensorrt.build(graph.SerializeToString(), "sm86")
    with pytest.raises(UnusableEngineError, match="driver version is insufficient"):
        Engine(tensorrt, engine, torch.device("cuda", 0))


# Log and interrupts of a build.


def test_progress_and_messages_go_to_the_log(
    graph: ModelProto,
    tensorrt: TensorRT,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, tensorrt_engine.__name__):
        tensorrt.build(graph.SerializeToString(), "sm86", progress_period=0.0)
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        tensorrt.build(graph.SerializeToString(), "sm86", progress_period=0.0)
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    steps = [each for each in caplog.messages if re.search(r", step \d+ of \d+$", each)]
    assert "TensorRT: Building engine, step 1 of 6" in steps
    assert "TensorRT: Building engine, step 5 of 6" in steps  # it reports no sixth
    others = [record for record in caplog.records if record.getMessage() not in steps]
    assert {record.levelno for record in others} <= {logging.DEBUG, logging.WARNING}
    warnings = [record.getMessage() for record in others if record.levelno == logging.WARNING]
    assert len(warnings) == len(
        set(warnings)
    )  # each once, though TensorRT repeats one for each layer


def test_interrupt_ends_a_build(graph: ModelProto, tmp_path: Path) -> None:
    (tmp_path / "file.onnx").write_bytes(graph.SerializeToString())
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, tmp_path / "file.onnx"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGINT, done.stderr
    assert "KeyboardInterrupt" in done.stderr
    assert len(done.stdout.splitlines()) == 1  # canceled at that step


INTERRUPTED = """
import logging, os, signal, sys
from bisenet_ros.inference import tensorrt_engine
from bisenet_ros.inference.tensorrt_library import TENSORRT_RTX

class Interrupting(logging.Handler):
    def emit(self, record):
        if ", step " in record.getMessage():
            print("interrupting", flush=True)
            os.kill(os.getpid(), signal.SIGINT)

tensorrt_engine.logger.setLevel(logging.INFO)
tensorrt_engine.logger.addHandler(Interrupting())
with open(sys.argv[1], "rb") as file:
    tensorrt_engine.start_tensorrt(TENSORRT_RTX).build(file.read(), "sm86", progress_period=0.0)
print("built")
"""


def test_engine_is_kept_by_gpu_and_version(
    tiny: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = EngineOptions(resolution=(128, 64), precision="fp16", engine_cache=tmp_path)
    with caplog.at_level(logging.INFO):
        build_for(tiny, options, ["sm86", "sm89"])
        build_for(tiny, options, ["sm86"])
    assert caplog.text.count("building an engine with TensorRT for RTX ") == 2
    cache = EngineCache(cache_folder(tmp_path))
    keys = [entry.key for entry in cache.entries()]
    assert {(key["backend"], key["device"]) for key in keys if key is not None} == {
        (f"tensorrt_rtx {trt.__version__}", "sm86"),
        (f"tensorrt_rtx {trt.__version__}", "sm89"),
    }
    key = keys[0]
    assert key is not None
    facts, engine = cache.get(key, lambda: b"", unpack)
    assert facts == {}  # compared on the GPU, later
    assert len(engine) > 10_000


# The API for running engines, which needs a GPU, exists.


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("Runtime", "deserialize_cuda_engine"),
        (
            "ICudaEngine",
            "get_tensor_name num_io_tensors create_execution_context create_runtime_config",
        ),
        ("IRuntimeConfig", "create_runtime_cache set_runtime_cache"),
        ("IRuntimeCache", "serialize deserialize"),
        ("IExecutionContext", "get_tensor_shape set_tensor_address execute_async_v3"),
    ],
)
def test_api_has_what_loads_and_runs_engines(kind: str, names: str) -> None:
    assert [name for name in names.split() if not hasattr(getattr(trt, kind), name)] == []


def test_context_takes_a_runtime_config() -> None:
    takes = trt.ICudaEngine.create_execution_context.__doc__
    assert "runtime_config: tensorrt_rtx_bindings.tensorrt_rtx.IRuntimeConfig" in takes


def test_library_knows_the_targets_of_this_version() -> None:
    known = set(trt.ComputeCapability.__members__) - {"NONE", "CURRENT"}
    assert {gpu.upper() for gpu in TENSORRT_RTX.targets} == known
