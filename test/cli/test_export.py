"""``bisenet export``: files, messages and errors."""

import re
import resource
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
from bisenet_ros.model import file as model_file

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def empty_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    name = "tiny_128x64_fp32.onnx"  # by default fp32 at the model's resolution
    out = capsys.readouterr().out
    match = re.fullmatch(
        rf"wrote {name}: onnx in fp32 at 128x64; ([\d.]+)% of the labels of the reference "
        r"images equal PyTorch's\n",
        out,
    )
    assert match is not None, out
    assert 99.9 <= float(match[1]) <= 100
    labels, confidence = onnxruntime.InferenceSession(name).run(None, {"image": image})
    assert (labels == torch_labels(tiny_model, image)).mean() >= 0.999
    assert confidence.shape == labels.shape
    assert [each.name for each in Path().iterdir()] == [name]


@pytest.mark.parametrize(("form", "suffix"), [("onnx", "onnx"), ("openvino", "xml")])
def test_file_for_several_images(
    tiny_model: Path, image: np.ndarray, form: str, suffix: str
) -> None:
    path = Path(f"file.{suffix}")
    line = ["export", "--format", form, "--model", str(tiny_model), "--output", str(path)]
    assert main([*line, "--batch-size", "2"]) == 0
    images = np.concatenate([image, 255 - image])
    engine = openvino_core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert (engine(images)["labels"] == torch_labels(tiny_model, images)).mean() >= 0.999


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
        (["--precision", "bf16"], 2, "argument --precision: invalid choice: 'bf16'"),
        (["--precision", "int8"], 1, "has no calibration, which int8 needs"),
        (["--resolution", "100x100"], 2, "must be at least 32x32 and divisible by 8"),
        (["--output", "model.xml"], 2, "--output model.xml must end in .onnx"),
        (["--model", "nowhere.safetensors"], 1, "no model file at nowhere.safetensors"),
    ],
)
def test_unsupported_exports_are_rejected(
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


@pytest.mark.parametrize("precision", [[], ["--precision", "fp32"]])
def test_engines_for_other_machines(
    tiny_model: Path, precision: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    built = precision[-1] if precision else "fp16"  # the model has no calibration
    line = ["export", "--format", "tensorrt", "--gpu", "sm86", "sm120"]
    assert main([*line, "--model", str(tiny_model), *precision]) == 0
    folder = "tiny_128x64_engines"
    wrote, hint = capsys.readouterr().out.splitlines()
    assert wrote == f"wrote {folder}: tensorrt_rtx for sm86, sm120 in {built} at 128x64"
    assert hint.startswith(f"Start the node with engine_cache:={Path.cwd() / folder}, ")
    assert [each.name for each in Path().iterdir()] == [folder]
    assert main(["engines", "list", "--engine-cache", folder]) == 0
    *engines, total = capsys.readouterr().out.splitlines()
    shown = sorted(re.sub(r" +[\d.]+ MB  tensorrt_rtx [\d.]+", "", each) for each in engines)
    assert shown == [f", tiny, 128x64, {built}, {gpu}" for gpu in ("sm120", "sm86")]
    assert total.startswith("2 engines, ")


def test_unwritable_engine_folder_is_an_error(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    line = ["export", "--format", "tensorrt", "--model", str(tiny_model), "--gpu", "sm86"]
    Path("shared").mkdir()
    Path("shared").chmod(0o777)
    status, message = refusal([*line, "--output", "shared"], capsys)
    assert status == 1
    assert message.endswith(f"chmod go-w {Path('shared').absolute()}")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        refused = refusal([*line, "--output", "full"], capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refused == (1, "cannot write into full; see the warnings above")


def test_gpu_unsupported_by_tensorrt_for_rtx(
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
    err = capsys.readouterr().err
    assert re.search(r"for RTX cannot be imported .* install -U tensorrt-rtx-cu13'", err), err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ([], "the following arguments are required: --format"),
        (["--format", "caffe"], "argument --format: invalid choice: 'caffe'"),
        (
            ["--format", "tensorrt"],
            "--format tensorrt needs --gpu with the GPUs of other machines; for the GPU of this "
            "machine run 'bisenet engines build --backend tensorrt'",
        ),
        (
            ["--format", "onnx", "--gpu", "sm86"],
            "--gpu does not apply to --format onnx; omit it",
        ),
    ],
)
def test_wrong_usage(line: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused = refusal(["export", *line], capsys)
    assert refused.status == 2
    assert refused.message.startswith(message)
