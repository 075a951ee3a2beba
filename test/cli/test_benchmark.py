"""``bisenet benchmark``: its table, JSON and picture, and when it gives no ratios."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from busy import busy_processes

from bisenet_ros.cli.main import main
from bisenet_ros.inference.benchmark import cpu_load, peak_memory
from bisenet_ros.inference.errors import InferenceError

SMALL = [
    "--threads",
    "1",
    "--device",
    "cpu",
    "--rounds",
    "1",
    "--resolution",
    "64x32",
    "--input-size",
    "160x90",
]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The number is torch's for the whole process, and engines set it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def benchmark(model: Path, *more: str) -> int:
    return main(["benchmark", "--model", str(model), *SMALL, *more])


def test_figures(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, picture = tmp_path / "b.json", tmp_path / "b.png"
    arguments = ["--backend", "torch", "--allow-busy", "--json", str(file), "--plot", str(picture)]
    assert benchmark(tiny_model, *arguments) == 0
    document: dict[str, Any] = json.loads(file.read_text())
    assert (document["model"], document["reference"]) == ("tiny", "torch:fp32")
    assert (document["threads"], document["input_size"]) == (1, [160, 90])
    fp32, bf16 = document["results"]
    assert fp32.keys() == {
        *("backend", "precision", "device", "resolution", "p50_ms", "p95_ms", "p99_ms", "fps"),
        *("ratio", "stages_ms", "frames", "gmacs_per_s", "peak_memory_mb"),
    }
    assert (fp32["backend"], fp32["precision"], fp32["device"]) == ("torch", "fp32", "cpu")
    assert (fp32["ratio"], fp32["resolution"]) == (1, [64, 32])
    assert bf16["ratio"] == pytest.approx(fp32["p50_ms"] / bf16["p50_ms"])
    assert fp32["stages_ms"].keys() == {"resize", "inference", "restore"}
    assert fp32["gmacs_per_s"] == pytest.approx(document["gmacs"]["64x32"] * fp32["fps"])
    assert min(fp32["peak_memory_mb"], bf16["peak_memory_mb"]) > 50
    assert document["peak_gmacs_per_s"]["cpu"].keys() == {"fp32", "bf16"}
    assert 0 <= document["others_cpu_share"] <= 1
    assert document["machine"]["libraries"]["torch"] == torch.__version__
    reasons = {entry["precision"]: entry["reason"] for entry in document["skipped"]}
    assert reasons.keys() == {"fp16", "int8"}
    assert "precision 'fp16' is not for torch on cpu" in reasons["fp16"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tiny at 64x32: 0.0")
    assert lines[0].endswith("GMAC, threads 1, image 160x90, reference torch:fp32")
    assert [line.split()[0] for line in lines[1:4]] == ["engine", "torch:fp32", "torch:bf16"]
    # Four frames have no percentiles that far out.
    assert [lines[2].split()[place] for place in (2, 4, 5, 7)] == ["4", "-", "-", "1.00"]
    assert lines[4].startswith("not run: torch:fp16: precision 'fp16'")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_an_engine_whose_memory_process_fails_keeps_its_figures(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> float:
        raise InferenceError("the process of torch was killed")

    monkeypatch.setattr(peak_memory, "peak_memory", fail)
    file = tmp_path / "b.json"
    arguments = ["--backend", "torch", "--precision", "fp32", "--allow-busy", "--json", str(file)]
    assert benchmark(tiny_model, *arguments) == 0
    (result,) = json.loads(file.read_text())["results"]
    assert result["peak_memory_mb"] is None
    assert result["p50_ms"] > 0
    said = capsys.readouterr().out
    assert "no peak memory of torch:fp32: the process of torch was killed\n" in said


def test_each_resolution_has_its_own_reference(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    sizes = ["--resolution", "64x32", "32x32", "64x32", "--precision", "bf16", "--backend", "torch"]
    arguments = [*sizes, "--no-memory", "--allow-busy", "--json", str(file)]
    assert benchmark(tiny_model, *arguments) == 0
    results = json.loads(file.read_text())["results"]
    found = [(*result["resolution"], result["precision"]) for result in results]
    assert found == [(64, 32, "fp32"), (64, 32, "bf16"), (32, 32, "fp32"), (32, 32, "bf16")]
    assert [result["ratio"] for result in results[::2]] == [1, 1]
    assert {result["peak_memory_mb"] for result in results} == {None}


def test_random_weights(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    arguments = ["--random-weights", "bisenetv2_paper/19", "--backend", "torch", "--precision"]
    line = ["benchmark", *SMALL, *arguments, "fp32", "--no-memory", "--allow-busy"]
    assert main([*line, "--json", str(file)]) == 0
    document = json.loads(file.read_text())
    assert document["model"] == "random bisenetv2_paper of 19 classes"
    assert document["gmacs"]["64x32"] == pytest.approx(20.26 * 64 * 32 / (1024 * 512), rel=0.01)


def test_nothing_is_measured_beside_busy_processes(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "b.json"
    with busy_processes():
        assert benchmark(tiny_model, "--backend", "torch", "--json", str(file)) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("bisenet benchmark: other processes use ")
    assert captured.err.endswith(": nothing was measured; end them, or pass --allow-busy\n")
    assert not file.exists()


def test_there_are_no_ratios_if_processes_become_busy_meanwhile(
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Idle:
        def others(self) -> float:
            return 0.0

    monkeypatch.setattr(cpu_load, "watch", lambda seconds: Idle())
    file = tmp_path / "b.json"
    arguments = ["--precision", "fp32", "--rounds", "10", "--no-memory", "--json", str(file)]
    with busy_processes():
        assert benchmark(tiny_model, "--backend", "torch", *arguments) == 3
    document = json.loads(file.read_text())
    assert [result["ratio"] for result in document["results"]] == [None]
    assert document["others_cpu_share"] > 0.05
    captured = capsys.readouterr()
    assert captured.out.splitlines()[2].split()[7] == "-"
    assert "of the CPU: what they met has no ratios; end them" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--backend caffe", "--backend 'caffe' is none of all, tensorrt, openvino, torch"),
        ("--precision fp64", "--precision 'fp64' is none of all, fp32, bf16, fp16, int8"),
        ("--against torch", "--against 'torch' is not of the form BACKEND:PRECISION"),
        ("--against torch:fp64", "--against 'torch:fp64' is not of the form BACKEND:PRECISION"),
        ("--against torch:int8 --backend torch", "the reference torch:int8 does not work: prec"),
        ("--threads -1", "--threads, --rounds and --seconds must not be negative"),
        ("--resolution 100x100", "resolution 100x100 must be at least 32x32 and divisible by 8"),
        ("--input-size 1280", "--input-size '1280' is not of the form WxH"),
        ("--input-size 0x90", "--input-size 0x90 has no pixels"),
        ("--json none/b.json", "cannot write none/b.json: there is no folder none"),
        ("--plot b.doc", "cannot draw b.doc: its suffix must be one of "),
        ("--model none.safetensors", "no model file at none.safetensors"),
    ],
)
def test_refused(
    arguments: str, message: str, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark(tiny_model, "--allow-busy", *arguments.split()) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"bisenet benchmark: {message}")
    assert captured.err.count("\n") == 1


def test_random_weights_of_another_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", *SMALL, "--allow-busy", "--random-weights", "bisenetv2"]) == 1
    assert "'bisenetv2' is not of the form PRESET/CLASSES" in capsys.readouterr().err
