"""``bisenet info``: cost and metadata of presets and model files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from refusal import refusal

from bisenet_ros.classes import SemanticClass
from bisenet_ros.cli.main import main
from bisenet_ros.model.file import Metadata, save
from bisenet_ros.model.metadata import Score
from bisenet_ros.network import PRESETS, BiSeNetV2


def info(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    file = tmp_path / "info.json"
    assert main(["info", *arguments, "--json", str(file)]) == 0
    return json.loads(file.read_text())


def test_default_preset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = info(tmp_path)
    assert document["parameters"] == 3_358_627
    assert round(document["gmacs"], 2) == 24.60
    assert document["resolution"] == [1024, 512]
    assert document["metadata"] is None
    parts = document["parts"]
    assert list(parts) == [
        "detail",
        "semantic.stem",
        "semantic.S3",
        "semantic.S4",
        "semantic.S5_4",
        "semantic.S5_5",
        "aggregation",
        "head",
    ]
    assert round(parts["semantic.S5_5"]["gmacs"], 3) == 0.076
    assert parts["detail"] == {"parameters": 519_232, "gmacs": 11.70210816}
    assert sum(part["parameters"] for part in parts.values()) == document["parameters"]
    assert sum(part["gmacs"] for part in parts.values()) == pytest.approx(document["gmacs"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == ("bisenetv2: 19 classes, 1024 head channels, inference at 1024x512")
    assert lines[2].split() == ["detail", "519,232", "11.702"]
    assert lines[-1].split() == ["total", "3,358,627", "24.603"]


def test_arguments_change_the_preset(tmp_path: Path) -> None:
    document = info(
        tmp_path,
        "--preset=bisenetv2_paper",
        "--num-classes=11",
        "--head-channels=128",
        "--resolution=480x360",
    )
    head = document["parts"]["head"]
    assert head["parameters"] == 9 * 128 * 128 + 2 * 128 + 128 * 11 + 11
    assert head["gmacs"] * 1e9 == pytest.approx((9 * 128 * 128 + 128 * 11) * 60 * 45)
    assert document["resolution"] == [480, 360]


def test_model_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    architecture = replace(PRESETS["bisenetv2"], num_classes=2, head_channels=8)
    metadata = Metadata(
        preset="bisenetv2",
        architecture=architecture,
        classes=(SemanticClass(0, "sky", (1, 2, 3)), SemanticClass(1, "road", (255, 0, 16))),
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
        resolution=(96, 64),
        dataset="a test",
        license="for tests only",
        scores=(
            Score("val", "miou", "fp32", 0.625),
            Score("a drive", "iou road", "int8", 0.5, "openvino avx2 7-bit"),
            Score("a drive", "miou", "int8", 0.25, "openvino avx2 7-bit"),
            Score("a drive", "miou", "int8", 0.75, "openvino avx512"),
        ),
        recipe={"iterations": 3, "init": {"iterations": 2, "init": {"iterations": 1}}},
    )
    path = tmp_path / "tiny.safetensors"
    save(path, BiSeNetV2(architecture), metadata)
    document = info(tmp_path, "--model", str(path))
    assert document["resolution"] == [96, 64]
    assert document["parts"]["head"]["parameters"] == 9 * 128 * 8 + 2 * 8 + 8 * 2 + 2
    stored = document["metadata"]
    assert stored["license"] == "for tests only"
    assert stored["classes"][1] == {"id": 1, "name": "road", "color": [255, 0, 16]}
    assert stored["architecture"]["lambda_"] == "1/4"
    assert (stored["mean"], stored["std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert [Score(**score) for score in stored["scores"]] == list(metadata.scores)
    assert stored["recipe"] == metadata.recipe
    out = capsys.readouterr().out
    for text in ("tiny: 2 classes", "at 96x64", "for tests only", "a test"):
        assert text in out
    assert "val fp32 (arithmetic not stated): miou 0.625" in out
    lines = out.splitlines()
    assert "scores          a drive int8 (openvino avx2 7-bit): iou road 0.5, miou 0.25" in lines
    assert "scores          a drive int8 (openvino avx512): miou 0.75" in lines
    assert "    1  #ff0010  road" in lines
    recipe = lines.index("recipe          iterations 3")
    assert lines[recipe + 1 : recipe + 3] == [
        "  started from  iterations 2",
        "  started from  iterations 1",
    ]
    assert max(map(len, lines)) <= 100
    at = info(tmp_path, "--model", str(path), "--resolution", "192x128")
    assert at["resolution"] == [192, 128]
    assert at["parts"]["detail"]["gmacs"] == 4 * document["parts"]["detail"]["gmacs"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (
            "--preset bisenetv1",
            2,
            "--preset 'bisenetv1' is not one of bisenetv2, bisenetv2_paper, ",
        ),
        ("--num-classes 1", 2, "argument --num-classes: '1' is not a whole number from 2 to 255"),
        ("--head-channels 0", 2, "argument --head-channels: '0' is not a whole number from 1"),
        ("--resolution 1024", 2, "argument --resolution: resolution '1024' is not of the form WxH"),
        ("--resolution 1000x500", 2, "argument --resolution: resolution 1000x500 must be "),
        ("--resolution 0x64", 2, "argument --resolution: resolution 0x64 must be "),
        ("--model none.pth", 1, "no model file at none.pth"),
        ("--model none.pth --num-classes 3", 2, "--num-classes conflicts with --model, whose"),
    ],
)
def test_invalid_arguments(
    arguments: str, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = refusal(["info", *arguments.split()], capsys)
    assert refused.status == status
    assert refused.message.startswith(message)
