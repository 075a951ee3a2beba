"""INT8 files: calibration, structure of the graph, and agreement with PyTorch."""

import copy
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import nn

from bisenet_ros.deploy.calibration import _Histogram, calibrate
from bisenet_ros.deploy.deploy_module import DeployModule
from bisenet_ros.deploy.onnx import build_onnx
from bisenet_ros.deploy.openvino_core import openvino_core
from bisenet_ros.deploy.quantization import FLOAT_LAYERS
from bisenet_ros.errors import InferenceError
from bisenet_ros.evaluation.metrics import Scores, confusion_matrix
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.int8_probe import exact_weight_bits
from bisenet_ros.inference.selection import load_backend
from bisenet_ros.model import file as model_file
from bisenet_ros.model import metadata
from bisenet_ros.model.file import Model
from bisenet_ros.network import PRESETS, BiSeNetV2
from bisenet_ros.resources import model_path

torch.set_num_threads(1)

RESOLUTION = 136, 72
"""Neither square nor the model's resolution, at which it is calibrated."""


def blocks(seed: int) -> NDArray[np.uint8]:
    """uint8 [72,136,3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 17, 3), np.uint8)
    return coarse.repeat(8, 0).repeat(8, 1)


def int8_share(graph: ModelProto) -> float:
    """Return the share of multiply-adds in INT8, 0..1: both factors come from DQ nodes."""
    inferred = onnx.shape_inference.infer_shapes(graph, strict_mode=True, data_prop=True).graph
    shapes = {
        info.name: [dimension.dim_value for dimension in info.type.tensor_type.shape.dim]
        for info in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    shapes |= {each.name: list(each.dims) for each in inferred.initializer}
    dequantized = {
        output
        for node in inferred.node
        if node.op_type == "DequantizeLinear"
        for output in node.output
    }
    total = int8 = 0
    for node in inferred.node:
        if node.op_type == "Conv":
            weights = shapes[node.input[1]]
            macs = math.prod(shapes[node.output[0]]) * math.prod(weights[1:])
            total += macs
            int8 += macs * (dequantized.issuperset(node.input[:2]))
    return int8 / total


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Model:
    loaded = model_file.load(tiny_model)
    table = calibrate(loaded, (blocks(seed) for seed in range(10)))
    return Model("tiny", loaded.network, replace(loaded.metadata, calibration=table))


@pytest.fixture(scope="module")
def graph(model: Model) -> ModelProto:
    return build_onnx(model, resolution=RESOLUTION, precision="int8", confidence=True)


def run(graph: ModelProto, image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [np.asarray(output) for output in session.run(None, {"image": image[None]})]


def check_int8_rules(graph: ModelProto) -> Iterator[str]:
    """Assert TensorRT's constraints on files with Q/DQ nodes, and our own."""
    values = {each.name: each for each in graph.graph.initializer}
    producers = {output: node for node in graph.graph.node for output in node.output}
    consumers: dict[str, list[NodeProto]] = {}
    for node in graph.graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    for node in graph.graph.node:
        if node.domain not in ("", "ai.onnx"):
            yield f"{node.op_type} {node.name} is of domain {node.domain}"
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero_point = values[node.input[1]], values[node.input[2]]
            if zero_point.data_type != TensorProto.INT8:
                yield f"{node.name} is not signed"
            if numpy_helper.to_array(zero_point).any():
                yield f"{node.name} has a zero point that is not 0"
            if not (numpy_helper.to_array(scale) > 0).all():
                yield f"{node.name} has a scale that is not positive"
        if node.op_type == "QuantizeLinear":
            following = consumers[node.output[0]]
            if [each.op_type for each in following] != ["DequantizeLinear"]:
                yield f"{node.name} is not followed by one DQ alone"
            elif list(following[0].input[1:]) != list(node.input[1:]):
                yield f"{node.name} and its DQ have scales of their own"
        if node.op_type == "Conv" and node.input[1] in producers:
            scale = values[producers[node.input[1]].input[1]]
            weights = values[producers[node.input[1]].input[0]]
            group = next(a.i for a in node.attribute if a.name == "group")
            if group > 1 and scale.data_type == TensorProto.FLOAT16 and weights.dims[1] % 4:
                yield f"{node.name} has groups that TensorRT does not take in INT8"
            if list(scale.dims) != [weights.dims[0]]:
                yield f"{node.name} has weights without a scale for each channel"
            if len(node.input) > 2 and node.input[2] not in values:
                yield f"{node.name} has a bias that is computed"
            elif len(node.input) > 2 and values[node.input[2]].data_type != scale.data_type:
                yield f"{node.name} has a bias that is not in float"


def test_file_keeps_the_rules_of_int8(graph: ModelProto) -> None:
    assert list(check_int8_rules(graph)) == []
    assert all(entry.version <= 20 for entry in graph.opset_import if entry.domain == "")
    assert {entry.domain for entry in graph.opset_import} <= {"", "ai.onnx"}


def test_layers_in_int8_are_all_but_the_named_ones(model: Model, graph: ModelProto) -> None:
    dequantized = {n.output[0] for n in graph.graph.node if n.op_type == "DequantizeLinear"}
    in_float = {
        node.input[1]
        for node in graph.graph.node
        if node.op_type == "Conv" and not dequantized.issuperset(node.input[:2])
    }
    assert in_float == {f"network.{name}.weight" for name in FLOAT_LAYERS}
    names = {n for n, m in model.network.named_modules() if isinstance(m, nn.Conv2d)}
    assert names.issuperset(FLOAT_LAYERS)
    assert model.metadata.calibration.keys() == names


def test_int8_agrees_with_torch_and_with_itself_at_every_writing(
    model: Model, graph: ModelProto
) -> None:
    again = build_onnx(model, resolution=RESOLUTION, precision="int8", confidence=True)
    assert again.SerializeToString(deterministic=True) == graph.SerializeToString(
        deterministic=True
    )
    deployed = DeployModule(model, confidence=True)
    equal, difference = [], []
    for seed in range(100, 104):
        image = blocks(seed)
        with torch.inference_mode():
            labels, confidence = (o.numpy() for o in deployed(torch.from_numpy(image[None])))
        found_labels, found_confidence = run(graph, image)
        assert found_labels.dtype == found_confidence.dtype == np.uint8
        assert found_labels.shape == found_confidence.shape == (1, 72, 136)
        equal.append((labels == found_labels).mean())
        difference.append(np.abs(confidence.astype(int) - found_confidence).mean())
    assert 0.9 < np.mean(equal) < 1  # random weights leave many pixels undecided
    assert np.mean(difference) < 8


def test_an_eighth_of_the_calibration_spoils_the_labels(model: Model, graph: ModelProto) -> None:
    image = blocks(100)
    eighth = {name: value / 8 for name, value in model.metadata.calibration.items()}
    spoilt = Model("x", model.network, replace(model.metadata, calibration=eighth))
    other = build_onnx(spoilt, resolution=RESOLUTION, precision="int8", confidence=True)
    truth = run(build_onnx(model, resolution=RESOLUTION, precision="fp32"), image)[0]
    good, bad = ((run(each, image)[0] == truth).mean() for each in (graph, other))
    assert bad < good - 0.05


def test_openvino_computes_what_the_file_says(model: Model) -> None:
    core = openvino_core()
    exact = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}

    def run_probe(probe: bytes, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        engine = core.compile_model(core.read_model(probe), "CPU", exact)
        results = engine([image])
        return [results[output] for output in engine.outputs]

    bits = exact_weight_bits(run_probe)
    assert bits is not None
    graph = build_onnx(
        model, resolution=RESOLUTION, precision="int8", confidence=True, weight_bits=bits
    )
    compiled = core.compile_model(core.read_model(graph.SerializeToString()), "CPU", exact)
    images = [blocks(seed) for seed in range(100, 104)]
    equal = [(run(graph, each)[0] == compiled([each[None]])[0]).mean() for each in images]
    assert np.mean(equal) > 0.93

    computed_in = {
        node.friendly_name: node.rt_info["runtimePrecision"].astype(str)
        for node in compiled.get_runtime_model().get_ops()
        if node.rt_info["layerType"].astype(str) == "Convolution"
    }
    detail = [computed_in[name] for name in computed_in if "/detail/" in name]
    assert len(detail) == 8
    if "INT8" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert set(detail) <= {"i8", "u8"}


def test_with_fp16_around_it_the_scales_are_in_fp16(model: Model) -> None:
    half = build_onnx(model, resolution=RESOLUTION, precision="int8", fp16_rest=True)
    assert list(check_int8_rules(half)) == []
    assert int8_share(half) > 0.95
    values = {each.name: each for each in half.graph.initializer}
    scales = {
        values[node.input[1]].data_type
        for node in half.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    }
    assert scales == {TensorProto.FLOAT16}
    whole = build_onnx(model, resolution=RESOLUTION, precision="int8")
    image = blocks(100)
    # Less than on real weights: these leave many pixels undecided.
    assert (run(half, image)[0] == run(whole, image)[0]).mean() > 0.85


def test_share_counts_multiply_adds() -> None:
    """A graph with 8*3*9 multiply-adds at 4x8 pixels in INT8 and 4*8 at 2x4 in float."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["a"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["b"], axis=0),
        helper.make_node("Conv", ["a", "b"], ["c"]),
        helper.make_node("Conv", ["c", "v"], ["y"], strides=[2, 2]),
    ]
    values = {
        "s": np.array(0.1, np.float32),
        "z": np.array(0, np.int8),
        "w": np.ones((8, 3, 3, 3), np.int8),
        "ws": np.ones(8, np.float32),
        "wz": np.zeros(8, np.int8),
        "v": np.ones((4, 8, 1, 1), np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "two_convolutions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 6, 10])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 2, 4])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    int8, in_float = 8 * 3 * 9 * 4 * 8, 4 * 8 * 2 * 4
    assert int8_share(file) == int8 / (int8 + in_float)
    file.graph.node[3].input[0] = "x"  # only the weights are in INT8: computed in float
    assert int8_share(file) == 0


@pytest.mark.parametrize("preset", ["bisenetv2", "bisenetv2_paper"])
def test_at_least_95_percent_of_the_multiply_adds_are_in_int8(model: Model, preset: str) -> None:
    network = BiSeNetV2(PRESETS[preset]).eval()
    names = [n for n, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    its_metadata = replace(model.metadata, calibration=dict.fromkeys(names, 1.0))
    its_model = Model(preset, network, its_metadata)
    graph = build_onnx(its_model, resolution=(64, 64), precision="int8")
    assert 0.95 <= int8_share(graph) < 1


def test_without_a_calibration_the_error_names_the_remedy(model: Model) -> None:
    bare = Model("bare", model.network, replace(model.metadata, calibration={}))
    with pytest.raises(InferenceError, match=r"'bare' has no calibration.*calibrate --model FILE"):
        build_onnx(bare, resolution=RESOLUTION, precision="int8")


@pytest.mark.parametrize("spoil", [lambda table: table.pop("head.2"), lambda t: t.update(new=1.0)])
def test_calibration_of_other_layers_is_refused(
    model: Model, spoil: Callable[[dict[str, float]], object]
) -> None:
    table = dict(model.metadata.calibration)
    spoil(table)
    other = Model("other", model.network, replace(model.metadata, calibration=table))
    with pytest.raises(InferenceError, match=r"does not fit its layers \('(head\.2|new)'"):
        build_onnx(other, resolution=RESOLUTION, precision="int8")


def test_calibration_travels_in_the_model_file(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "calibrated.safetensors"
    model_file.save(path, model.network, model.metadata)
    assert model_file.load(path).metadata.calibration == model.metadata.calibration


def test_model_files_from_before_int8_load(model: Model) -> None:
    document = json.loads(json.dumps(metadata.to_json(model.metadata)))
    del document["calibration"]
    assert metadata.from_json(document) == replace(model.metadata, calibration={})


@pytest.mark.parametrize("magnitude", [0.0, -1.0, float("nan"), float("inf"), "wide"])
def test_calibration_that_is_none_is_refused(model: Model, magnitude: object) -> None:
    document = json.loads(json.dumps(metadata.to_json(model.metadata)))
    document["calibration"] = {"head.2": magnitude}
    with pytest.raises(metadata.ModelFileError, match="field 'calibration'"):
        metadata.from_json(document)


def test_calibration_lies_between_the_bulk_and_the_largest(model: Model) -> None:
    """The input's largest magnitude after normalization is that of white or black pixels."""
    mean, std = np.array(model.metadata.mean), np.array(model.metadata.std)
    largest = max(np.abs((0 - mean) / std).max(), np.abs((1 - mean) / std).max())
    for layer in ("detail.S1.0.0", "semantic.stem.conv.0"):
        assert 0.8 * largest < model.metadata.calibration[layer] <= largest * 1.001


def test_rare_outliers_are_clipped() -> None:
    """A million values up to 1 and one of 1.5: clipping it costs less than coarser steps."""
    histogram = _Histogram()
    for seed in range(10):
        histogram.add(torch.rand(100_000, generator=torch.Generator().manual_seed(seed)))
    assert histogram.best_magnitude() == pytest.approx(1, abs=0.03)
    histogram.add(torch.tensor([-1.5]))
    assert histogram.best_magnitude() == pytest.approx(1, abs=0.05)
    histogram.add(torch.full((100_000,), 1.5))
    assert histogram.best_magnitude() == pytest.approx(1.5, abs=0.03)


def test_without_images_nothing_is_calibrated(model: Model) -> None:
    with pytest.raises(InferenceError, match="zero on every image given"):
        calibrate(model, [])


def test_channels_of_small_weights_survive_in_fp16(model: Model) -> None:
    small = copy.deepcopy(model)
    name = "head.0.0.weight"
    with torch.no_grad():
        weights = DeployModule(small).network.get_parameter(name)
        norm = small.network.head[0][1]
        norm.weight[0] *= 2e-3 / weights[0].abs().max()
    expected = DeployModule(small).network.get_parameter(name)[0].detach().numpy()
    graph = build_onnx(small, resolution=RESOLUTION, precision="int8", fp16_rest=True)
    values = {each.name: numpy_helper.to_array(each) for each in graph.graph.initializer}
    scale = values[f"network.{name}_scale"]
    assert scale.dtype == np.float16
    assert scale.min() >= np.finfo(np.float16).tiny
    stored = values[f"network.{name}_quantized"][0] * np.float32(scale[0])
    assert np.abs(stored - expected).max() <= 0.51 * scale[0]
    assert np.abs(stored).max() > 1e-3


@pytest.mark.skipif(
    "BISENET_DATA" not in os.environ, reason="BISENET_DATA is not set: no CamVid on this machine"
)
def test_shipped_model_loses_at_most_a_point_in_int8(tmp_path: Path) -> None:
    """Mean IoU and agreement with PyTorch on every third image of the clip."""
    shipped = model_file.load(model_path(""))
    folder = Path(os.environ["BISENET_DATA"]) / "camvid" / "val"
    width, height = shipped.metadata.resolution
    options = EngineOptions(
        resolution=(width, height), device="cpu", precision="int8", threads=1, engine_cache=tmp_path
    )
    engine = load_backend(shipped, replace(options, backend="openvino"))
    reference = load_backend(shipped, replace(options, precision="fp32", backend="torch"))
    classes = len(shipped.metadata.classes)
    exact = np.zeros((classes, classes + 1), np.int64)
    int8, equal = exact.copy(), []
    for path in sorted((folder / "images").iterdir())[::3]:
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        truth = cv2.imread(str(folder / "labels" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED)
        ((wanted,),), ((found,),) = reference.run(image[None]), engine.run(image[None])
        exact += confusion_matrix(truth, wanted, classes)
        int8 += confusion_matrix(truth, found, classes)
        equal.append((wanted == found).mean())
    assert len(equal) == 34
    assert Scores(exact).miou > 0.6
    assert Scores(int8).miou >= Scores(exact).miou - 0.01
    assert np.mean(equal) >= 0.97


def test_weights_of_7_bits_leave_room_for_the_sums_of_kernels_without_vnni(
    model: Model, graph: ModelProto
) -> None:
    seven = build_onnx(model, resolution=RESOLUTION, precision="int8", weight_bits=7)
    assert list(check_int8_rules(seven)) == []
    largest = {
        bits: max(
            np.abs(numpy_helper.to_array(each).astype(int)).max()
            for each in file.graph.initializer
            if each.data_type == TensorProto.INT8 and len(each.dims) == 4
        )
        for bits, file in ((7, seven), (8, graph))
    }
    assert largest == {7: 64, 8: 127}
    assert 2 * 255 * largest[7] < 2**15 < 2 * 255 * largest[8]
