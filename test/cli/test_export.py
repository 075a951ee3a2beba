"""``bisenet export``: the files that it writes, what it says of them, and refusals."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from refusal import refusal

from bisenet_ros.cli.main import main
from bisenet_ros.deploy.deploy_module import DeployModule
from bisenet_ros.deploy.openvino_core import openvino_core
from bisenet_ros.inference.engine_cache import EngineCache, cache_folder
from bisenet_ros.model import file as model_file

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def image() -> np.ndarray:
    blocks = np.random.default_rng(0).integers(0, 256, (1, 8, 16, 3), np.uint8)
    return blocks.repeat(8, 1).repeat(8, 2)


def torch_labels(path: Path, image: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        labels: np.ndarray = DeployModule(model_file.load(path))(torch.from_numpy(image))[0].numpy()
    return labels


def test_onnx_file(tiny_model: Path, image: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--format", "onnx", "--model", str(tiny_model), "--confidence"]) == 0
    name = "tiny_128x64_fp32.onnx"  # no scores: fp32, at the model's resolution
    said = capsys.readouterr().out
    match = re.fullmatch(
        rf"wrote {name}: onnx in fp32 at 128x64; ([\d.]+)% of the labels of the reference "
        r"images are PyTorch's\n",
        said,
    )
    assert match is not None, said
    assert 99.9 <= float(match[1]) <= 100
    labels, confidence = onnxruntime.InferenceSession(name).run(None, {"image": image})
    assert (labels == torch_labels(tiny_model, image)).mean() >= 0.999
    assert confidence.shape == labels.shape
    assert [each.name for each in Path().iterdir()] == [name]


def test_openvino_file(tiny_model: Path, image: np.ndarray) -> None:
    path = Path("new") / "file.xml"
    line = ["export", "--format", "openvino", "--model", str(tiny_model), "--output", str(path)]
    assert main([*line, "--precision", "fp32", "--resolution", "128x64"]) == 0
    assert sorted(each.name for each in path.parent.iterdir()) == ["file.bin", "file.xml"]
    engine = openvino_core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert (engine(image)[0] == torch_labels(tiny_model, image)).mean() >= 0.999
    size = path.with_suffix(".bin").stat().st_size
    assert main([*line, "--precision", "fp16"]) == 0
    assert path.with_suffix(".bin").stat().st_size < 0.6 * size


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (
            ["--precision", "bf16"],
            1,
            "precision 'bf16' is not for ONNX files; use int8, fp16, fp32",
        ),
        (["--precision", "int8"], 1, "has no calibration, which int8 needs"),
        (["--resolution", "100x100"], 1, "must be at least 32x32 and divisible by 8"),
        (["--output", "model.xml"], 2, "--output model.xml must end in .onnx"),
        (["--model", "nowhere.safetensors"], 1, "no model file at nowhere.safetensors"),
    ],
)
def test_what_cannot_be_exported(
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    line = ["export", "--format", "onnx", "--model", str(tiny_model), *arguments]
    refused = refusal(line, capsys)
    assert refused.status == status
    assert message in refused.message
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    "line", [[], ["--format", "caffe"], ["--format", "onnx", "--list-cache"]], ids=str
)
def test_one_thing_at_a_time(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["export", *line])
    assert exit_.value.code == 2
    assert "usage: bisenet export" in capsys.readouterr().err


def test_cache_is_listed_and_cleared(capsys: pytest.CaptureFixture[str]) -> None:
    Path("cache").mkdir(mode=0o700)
    cache = EngineCache(cache_folder(Path("cache")))
    cache.get({"backend": "openvino 2026", "model": "mine"}, lambda: b"engine", bytes)
    assert main(["export", "--list-cache", "--cache", "cache"]) == 0
    assert "openvino 2026, mine" in capsys.readouterr().out
    assert main(["export", "--clear-cache", "--cache", "cache"]) == 0
    assert capsys.readouterr().out.startswith("1 engine deleted from ")
    assert cache.entries() == []


@pytest.mark.parametrize("precision", [[], ["--precision", "fp32"]])
def test_engines_for_gpus_elsewhere(
    tiny_model: Path, precision: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    built = precision[-1] if precision else "fp16"  # the model has no calibration
    Path("cache").mkdir(mode=0o700)
    line = ["export", "--format", "tensorrt", "--gpu", "sm86", "sm120", "--cache", "cache"]
    assert main([*line, "--model", str(tiny_model), *precision]) == 0
    assert f"an engine of tiny for sm86, sm120 in {built} at 128x64" in capsys.readouterr().out
    assert main(["export", "--list-cache", "--cache", "cache"]) == 0
    *engines, total = capsys.readouterr().out.splitlines()
    shown = sorted(re.sub(r" +[\d.]+ MB  tensorrt_rtx [\d.]+", "", each) for each in engines)
    assert shown == [f", tiny, 128x64, {built}, {gpu}" for gpu in ("sm120", "sm86")]
    assert total.startswith("2 engines, ")


def test_gpu_that_tensorrt_for_rtx_does_not_have(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["export", "--format", "tensorrt", "--model", str(tiny_model), "--gpu", "sm86", "sm90"]
    assert main(line) == 1
    known = "sm75, sm80, sm86, sm89, sm120, sm121"
    assert f"TensorRT for RTX has no GPU 'sm90'; use {known}" in capsys.readouterr().err


def test_missing_tensorrt_for_rtx_is_named_with_the_remedy(
    tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)  # as if not installed
    assert (
        main(["export", "--format", "tensorrt", "--model", str(tiny_model), "--gpu", "sm86"]) == 1
    )
    told = capsys.readouterr().err
    assert re.search(r"for RTX cannot be imported .* install -U tensorrt-rtx-cu13'", told), told


def test_calibration(tiny_model: Path, image: np.ndarray) -> None:
    import cv2

    Path("images").mkdir()
    cv2.imwrite("images/a.png", image[0])
    Path("mine.safetensors").write_bytes(tiny_model.read_bytes())
    assert main(["export", "--calibrate", "images", "--model", "mine.safetensors"]) == 0
    assert len(model_file.load(Path("mine.safetensors")).metadata.calibration) > 50


def test_the_shipped_model_is_not_calibrated_by_default(
    image: np.ndarray, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2

    from bisenet_ros import resources

    Path("images").mkdir()
    cv2.imwrite("images/a.png", image[0])
    shipped = Path(shutil.copy(resources.model_path(""), "shipped.safetensors"))
    before = shipped.read_bytes()
    monkeypatch.setattr(resources, "model_path", lambda name: shipped)
    refused = refusal(["export", "--calibrate", "images"], capsys)
    assert refused == (2, "--calibrate changes the model file: name it by --model FILE")
    assert shipped.read_bytes() == before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            ["--calibrate", ".", "--model", "m", "--resolution", "64x64"],
            "resolution .* --calibrate",
        ),
        (["--format", "onnx", "--cache", "c"], "cache .* --format onnx"),
        (["--format", "tensorrt", "--output", "a.engine"], "output .* --format tensorrt"),
        (["--list-cache", "--confidence"], "confidence .* --list-cache"),
        (["--format", "onnx", "--gpu", "sm86"], "gpu .* --format onnx"),
        (["--format", "tensorrt", "--gpu", "sm86", "--device", "cuda"], "device .* --gpu"),
    ],
)
def test_options_without_effect_are_refused(
    line: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pattern = message.replace(" .* ", " is of no use with ")
    assert refusal(["export", *line], capsys) == (2, f"--{pattern}; leave it out")
