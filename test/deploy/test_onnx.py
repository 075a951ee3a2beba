"""The exported file: accepted by TensorRT's parser, with PyTorch's labels."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, TensorProto

from bisenet_ros.deploy import export as exported
from bisenet_ros.deploy.deploy_module import DeployModule
from bisenet_ros.deploy.onnx import build_onnx
from bisenet_ros.deploy.parity import ParityCheck
from bisenet_ros.errors import InferenceError
from bisenet_ros.model import file as model_file
from bisenet_ros.model.file import Model

torch.set_num_threads(1)

RESOLUTION = 136, 72
"""At 1/32 and 1/8 rows are no simple fraction, so all sizes must be fixed, not factors."""


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Model:
    return model_file.load(tiny_model)


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def graph(model: Model, precision: str) -> ModelProto:
    return build_onnx(model, resolution=RESOLUTION, precision=precision, confidence=True)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    blocks = [rng.integers(0, 256, (9, 17, 3), np.uint8) for _ in range(4)]
    return [block.repeat(8, 0).repeat(8, 1)[None] for block in blocks]


def broken_rules(model: ModelProto) -> Iterator[str]:
    """Assert the constraints that TensorRT 10.3 adds to those of ONNX."""
    for entry in model.opset_import:
        if entry.domain not in ("", "ai.onnx") or entry.version > 20:
            yield f"opset {entry.version} of domain '{entry.domain}'"
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    types = {}
    for info in (*inferred.value_info, *inferred.input, *inferred.output):
        tensor = info.type.tensor_type
        types[info.name] = tensor.elem_type
        if not all(dimension.dim_value > 0 for dimension in tensor.shape.dim):
            yield f"{info.name} has a size that is not fixed"
    types |= {each.name: each.data_type for each in inferred.initializer}
    ends = {each.name for each in (*inferred.input, *inferred.output)}
    for node in inferred.node:
        if node.domain not in ("", "ai.onnx"):
            yield f"{node.op_type} is of domain {node.domain}"
        if node.op_type in ("Shape", "NonZero", "Loop", "If", "Scan", "SequenceAt"):
            yield f"{node.op_type} {node.name} makes sizes depend on data"
        for name in (*node.input, *node.output):
            if name and name not in types:
                yield f"{name} has no known type"
            elif types.get(name) == TensorProto.UINT8:
                if name not in ends:
                    yield f"{name} inside the graph is uint8"
                elif node.op_type != "Cast":
                    yield f"{node.op_type} computes in uint8"
        if (
            node.op_type == "Cast"
            and types.get(node.output[0]) == TensorProto.UINT8
            and types.get(node.input[0]) != TensorProto.FLOAT
        ):
            yield f"{node.output[0]} becomes uint8 from something else than float"


def test_file_keeps_the_rules(graph: ModelProto) -> None:
    assert list(broken_rules(graph)) == []


def test_first_node_makes_the_image_float(graph: ModelProto) -> None:
    first, second = graph.graph.node[:2]
    assert (first.op_type, list(first.input)) == ("Cast", ["image"])
    assert (second.op_type, list(second.input)) == ("Transpose", list(first.output))
    assert [node.name for node in graph.graph.node if "image" in node.input] == [first.name]


def test_no_node_does_nothing(graph: ModelProto) -> None:
    kinds = {node.op_type for node in graph.graph.node}
    assert not kinds & {"Identity", "Constant", "Expand", "Shape", "ConstantOfShape", "Dropout"}
    used = {name for node in graph.graph.node for name in node.input}
    outputs = {each.name for each in graph.graph.output}
    assert all(used.union(outputs).intersection(node.output) for node in graph.graph.node)
    assert {each.name for each in graph.graph.initializer} <= used
    types = {v.name: v.type.tensor_type.elem_type for v in graph.graph.value_info}
    casts = [node for node in graph.graph.node if node.op_type == "Cast"]
    assert all(types.get(n.input[0]) != types.get(n.output[0]) for n in casts)


def test_rules_are_looked_at() -> None:
    text = """<ir_version: 8, opset_import: ["": 21, "mine": 1]>
    g (uint8[1,2,N] x) => (uint8[1,N,2] y) {
        t = Transpose<perm=[0,2,1]>(x)
        y = Identity(t)
    }"""
    found = "; ".join(broken_rules(onnx.parser.parse_model(text)))
    for rule in ("opset 21", "domain 'mine'", "x has a size", "t inside", "Transpose computes"):
        assert rule in found


def test_batch_norms_are_folded_and_weights_have_the_precision(
    graph: ModelProto, precision: str
) -> None:
    kinds = [node.op_type for node in graph.graph.node]
    assert kinds.count("BatchNormalization") == 1  # of the global average, before its convolution
    values = {each.name: each for each in graph.graph.initializer}
    wanted = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT
    convolutions = [node for node in graph.graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 50
    for node in convolutions:
        assert {values[name].data_type for name in node.input[1:]} == {wanted}


def test_inputs_and_outputs(model: Model, graph: ModelProto) -> None:
    def described(values: object) -> dict[str, tuple[int, list[int]]]:
        return {
            v.name: (
                v.type.tensor_type.elem_type,
                [d.dim_value for d in v.type.tensor_type.shape.dim],
            )
            for v in values  # type: ignore[attr-defined]
        }

    uint8 = TensorProto.UINT8
    assert described(graph.graph.input) == {"image": (uint8, [1, 72, 136, 3])}
    both = {"labels": (uint8, [1, 72, 136]), "confidence": (uint8, [1, 72, 136])}
    assert described(graph.graph.output) == both
    alone = build_onnx(model, resolution=(64, 32), precision="fp32")
    assert described(alone.graph.output) == {"labels": (uint8, [1, 32, 64])}
    several = build_onnx(model, resolution=(64, 32), precision="fp32", batch_size=3)
    assert described(several.graph.input) == {"image": (uint8, [3, 32, 64, 3])}
    assert described(several.graph.output) == {"labels": (uint8, [3, 32, 64])}


def test_labels_in_onnx_runtime_are_those_of_torch(
    model: Model, graph: ModelProto, precision: str, images: list[np.ndarray]
) -> None:
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    deployed = DeployModule(model, confidence=True)
    equal, difference = [], []
    for image in images:
        labels, confidence = session.run(None, {"image": image})
        with torch.inference_mode():
            expected, expected_confidence = deployed(torch.from_numpy(image))
        equal.append((labels == expected.numpy()).mean())
        difference.append(np.abs(confidence.astype(int) - expected_confidence.numpy()).max())
    # Random weights leave many pixels undecided; the shipped model is tested on real images.
    assert np.mean(equal) >= (0.9999 if precision == "fp32" else 0.98)
    assert max(difference) <= (1 if precision == "fp32" else 20)


def test_other_precisions_are_refused(model: Model) -> None:
    with pytest.raises(
        InferenceError, match="precision 'bf16' is not supported by ONNX files; use int8,"
    ):
        build_onnx(model, resolution=RESOLUTION, precision="bf16")


def test_a_file_is_written_whole_or_not_at_all(model: Model, tmp_path: Path) -> None:
    write = partial(
        exported.write_onnx, model, resolution=(64, 32), precision="fp32", confidence=False
    )
    path = tmp_path / "new" / "model.onnx"
    write(path)
    onnx.checker.check_model(str(path), full_check=True)
    assert [each.name for each in path.parent.iterdir()] == ["model.onnx"]
    assert path.stat().st_mode & 0o777 == 0o644
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write(tmp_path / "folder")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "new"]


@pytest.mark.parametrize("name", ["model.onnx", "model.xml"])
def test_a_file_with_other_labels_does_not_replace_a_good_one(
    model: Model, tmp_path: Path, name: str
) -> None:
    other = replace(model, metadata=replace(model.metadata, channel_order="bgr"))
    options: dict[str, Any] = {"resolution": (64, 32), "precision": "fp32", "confidence": False}
    (tmp_path / name).write_text("good")
    write = exported.write_onnx if name == "model.onnx" else exported.write_openvino
    with pytest.raises(InferenceError, match=rf"in fp32, .* PyTorch's.*discarding .*{name}"):
        write(model, tmp_path / name, check=ParityCheck(other, (64, 32)), **options)
    assert (tmp_path / name).read_text() == "good"
    assert [each.name for each in tmp_path.iterdir()] == [name]


TELEMETRY = """
import sys
from bisenet_ros import load_model
from bisenet_ros.deploy.onnx import ExactRunner, build_onnx
import numpy as np

graph = build_onnx(load_model(sys.argv[1]), resolution=(64, 32), precision="fp32")
ExactRunner(graph.SerializeToString())(np.zeros((1, 32, 64, 3), np.uint8))
"""


def test_onnx_runtime_reports_nothing_and_keeps_no_device_id(
    tiny_model: Path, tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", TELEMETRY, str(tiny_model)]
    subprocess.run(command, env=environment, check=True)
    assert list(tmp_path.rglob("*nnxruntime*")) == []


@pytest.mark.parametrize("name", ["model.onnx", "model.xml"])
def test_a_full_disk_is_an_error_of_the_system(model: Model, tmp_path: Path, name: str) -> None:
    write = exported.write_onnx if name == "model.onnx" else exported.write_openvino
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"model\.xml: .*is the disk full|File too large"):
            write(model, tmp_path / name, resolution=(64, 32), precision="fp32", confidence=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
