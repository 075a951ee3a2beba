"""``bisenet benchmark``: table, JSON, plot, time limit, and busy machines."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from busy import busy_processes
from fake_clock import FakeClock
from refusal import refusal

from bisenet_ros.benchmark import gemm_peak as gemm_peak
from bisenet_ros.benchmark import interleave as turns
from bisenet_ros.benchmark import machine, measurement, peak_memory
from bisenet_ros.benchmark.machine import instruction_set
from bisenet_ros.cli import benchmark as module
from bisenet_ros.cli.main import main
from bisenet_ros.deploy.precision import PRECISIONS
from bisenet_ros.errors import InferenceError
from bisenet_ros.inference import backend
from bisenet_ros.inference.backend import EngineOptions, native_precisions
from bisenet_ros.inference.segmenter import StageTimes
from bisenet_ros.model.file import Model

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = ["--threads", "1", "--device", "cpu", "--resolution", "64x32", "--input-size", "160x90"]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Restore PyTorch's number of threads, which engines set for the whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the measurements of CPU load and matrix products."""
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.2)
    monkeypatch.setattr(gemm_peak, "SIZES", {"cpu": (128,)})


def benchmark(model: Path, *more: str) -> int:
    return main(["benchmark", "--model", str(model), *SMALL, "--rounds", "1", *more])


def test_table_json_and_plot(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, picture = tmp_path / "b.json", tmp_path / "b.png"
    arguments = ["--backend", "torch", "--precision", *PRECISIONS, "--allow-busy"]
    arguments += ["--json", str(file), "--plot", str(picture)]
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
    assert fp32["stages_ms"].keys() == {"resize", "inference", "postprocess"}
    assert fp32["gmacs_per_s"] == pytest.approx(document["gmacs"]["64x32"] * fp32["fps"])
    assert min(fp32["peak_memory_mb"], bf16["peak_memory_mb"]) > 50
    peaks = document["peak_gmacs_per_s"]["cpu"]
    assert peaks.keys() == {"fp32", "bf16"}
    assert peaks["fp32"] >= fp32["gmacs_per_s"]
    # An emulated precision is measured because it is named, but has no peak.
    assert (peaks["bf16"] is not None) == ("bf16" in native_precisions("torch", "cpu"))
    assert 0 <= document["others_cpu_share"] <= 1
    assert document["machine"]["libraries"]["torch"] == torch.__version__
    reasons = {entry["precision"]: entry["reason"] for entry in document["skipped"]}
    assert reasons.keys() == {"fp16", "int8"}
    assert "precision 'fp16' is not supported by torch on cpu" in reasons["fp16"]
    assert document["machine"]["instruction_set"] == instruction_set()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tiny at 64x32: 0.0")
    assert lines[0].endswith(
        f"GMAC, threads 1 ({instruction_set()}), image 160x90, reference torch:fp32"
    )
    assert [line.split()[0] for line in lines[1:4]] == ["engine", "torch:fp32", "torch:bf16"]
    # Four frames are too few for p95 and p99.
    assert [lines[2].split()[place] for place in (2, 4, 5, 7)] == ["4", "-", "-", "1.00"]
    assert lines[4].startswith("not run: torch:fp16: precision 'fp16'")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_result_is_kept_if_measuring_its_memory_fails(
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
    out = capsys.readouterr().out
    assert "peak memory of torch:fp32 not measured: the process of torch was killed\n" in out


def test_frames_of_a_batch_are_counted_as_frames(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "b.json"
    arguments = ["--backend", "torch", "--precision", "fp32", "--allow-busy", "--json", str(file)]
    assert benchmark(tiny_model, *arguments, "--batch-size", "3") == 0
    document = json.loads(file.read_text())
    assert document["batch_size"] == 3
    (result,) = document["results"]
    assert result["fps"] == pytest.approx(3e3 / result["p50_ms"])
    assert result["gmacs_per_s"] == pytest.approx(document["gmacs"]["64x32"] * result["fps"])
    assert ", 3 images at once" in capsys.readouterr().out


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


def test_share_of_peak_is_at_most_100_percent(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(gemm_peak, "gemm_peak", lambda *_: 1e-9)
    file = tmp_path / "b.json"
    arguments = ["--backend", "torch", "--precision", "fp32", "--no-memory", "--allow-busy"]
    assert benchmark(tiny_model, *arguments, "--json", str(file)) == 0
    document = json.loads(file.read_text())
    (result,) = document["results"]
    assert document["peak_gmacs_per_s"] == {"cpu": {"fp32": result["gmacs_per_s"]}}
    assert capsys.readouterr().out.splitlines()[2].split()[-2:] == ["100%", "-"]


class SlowMachine:
    """Replaces everything that takes time with fakes that advance ``clock``.

    ``memory`` lists the engines whose peak memory was measured.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *,
        load: float,
        frame: float,
        product: float,
        memory: float,
    ) -> None:
        self.clock = clock = FakeClock()
        self.memory: list[str] = []

        class SlowSegmenter:
            def __init__(self, model: Model, options: EngineOptions) -> None:
                clock.now += load
                self.backend = SimpleNamespace(device="cpu")
                self.resolution = options.resolution
                self.batch_size = 1

            def segment_batch(self, images: object) -> list[SimpleNamespace]:
                clock.now += frame
                return [SimpleNamespace(times=StageTimes(0.0, 1e3 * frame, 0.0))]

            def close(self) -> None:
                pass

        def make_product(*_: object) -> Callable[[], None]:
            return clock.taking(product, lambda: None)

        def measure_memory(load: object, options: EngineOptions, seconds: float) -> float:
            self.memory.append(f"{options.backend}:{options.precision}")
            clock.now += min(memory, seconds)
            if memory > seconds:
                raise TimeoutError
            return 100.0

        monkeypatch.setattr(turns, "Budget", partial(turns.Budget, clock=clock))
        monkeypatch.setattr(measurement, "Segmenter", SlowSegmenter)
        monkeypatch.setattr(gemm_peak, "_torch_product", make_product)
        monkeypatch.setattr(gemm_peak, "_onnxruntime_product", make_product)
        monkeypatch.setattr(peak_memory, "peak_memory", measure_memory)

    def benchmark(self, model: Path, file: Path, *more: str) -> int:
        """Measure six engines that are available on this machine."""
        arguments = ["--model", str(model), "--json", str(file), "--allow-busy", *SMALL, *more]
        engines = ["--backend", "torch", "openvino", "--precision", "fp32", "bf16", "int8"]
        return main(["benchmark", *arguments, *engines])


@pytest.mark.parametrize("seconds", [0, 1, 5, 20, 60])
@pytest.mark.parametrize(
    "costs",
    [
        {"load": 0.1, "frame": 0.01, "product": 0.01, "memory": 2.0},
        {"load": 2.0, "frame": 0.2, "product": 1.0, "memory": 4.0},
        {"load": 1.0, "frame": 1.0, "product": 5.0, "memory": 6.0},
        {"load": 4.0, "frame": 1.0, "product": 5.0, "memory": 9.0},
        {"load": 7.0, "frame": 3.0, "product": 4.0, "memory": 50.0},
    ],
)
def test_benchmark_ends_within_seconds_plus_30(
    costs: dict[str, float],
    seconds: int,
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = SlowMachine(monkeypatch, **costs)
    file = tmp_path / "b.json"
    assert machine.benchmark(tiny_model, file, "--seconds", str(seconds)) == 0
    assert 0 < machine.clock.now <= seconds + 30
    document = json.loads(file.read_text())
    results = document["results"]
    assert len(results) + len(document["skipped"]) == 6
    assert len({result["frames"] for result in results}) == 1
    assert results[0]["frames"] >= turns.MIN_ROUNDS


def test_slow_machine_skips_peak_memory_and_suggests_seconds(
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine = SlowMachine(monkeypatch, load=0.5, frame=0.5, product=0.1, memory=4.0)
    file = tmp_path / "b.json"
    assert machine.benchmark(tiny_model, file, "--seconds", "5") == 0
    document = json.loads(file.read_text())
    assert [result["frames"] for result in document["results"]] == [turns.MIN_ROUNDS] * 6
    measured = [result["peak_memory_mb"] for result in document["results"]]
    assert measured == [100.0] * len(machine.memory) + [None] * (6 - len(machine.memory))
    assert 0 < len(machine.memory) < 6
    (line,) = (each for each in capsys.readouterr().out.splitlines() if "not measured" in each)
    assert line.startswith("peak memory of ")
    assert " not measured: no time left, use --seconds " in line
    enough = line.rpartition(" ")[2]
    assert machine.benchmark(tiny_model, file, "--seconds", enough) == 0
    assert "not measured" not in capsys.readouterr().out


def test_time_limit_applies_to_each_resolution(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = SlowMachine(monkeypatch, load=1.0, frame=1.0, product=5.0, memory=3.0)
    file = tmp_path / "b.json"
    sizes = ["64x32", "32x32"]
    assert machine.benchmark(tiny_model, file, "--seconds", "5", "--resolution", *sizes) == 0
    assert machine.clock.now <= 2 * 35
    assert len(json.loads(file.read_text())["results"]) == 12


def test_native_precisions_are_measured_by_default(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    natives = {"openvino": ("fp32",), "torch": ("bf16", "fp32")}

    def native(name: str, device: str) -> tuple[str, ...]:
        if name not in natives:
            raise InferenceError(f"no {name} on {device}")
        return natives[name]

    monkeypatch.setattr(backend, "native_precisions", native)
    SlowMachine(monkeypatch, load=1.0, frame=0.1, product=0.1, memory=1.0)
    file = tmp_path / "b.json"
    arguments = ["--no-memory", "--allow-busy", "--json", str(file)]

    def engines(*more: str) -> list[str]:
        assert benchmark(tiny_model, *arguments, *more) == 0
        results = json.loads(file.read_text())["results"]
        return [f"{each['backend']}:{each['precision']}" for each in results]

    assert engines() == ["torch:fp32", "openvino:fp32", "torch:bf16"]
    assert json.loads(file.read_text())["skipped"] == [
        {
            "backend": "tensorrt",
            "precision": "all",
            "resolution": [64, 32],
            "reason": "no tensorrt on cpu",
        }
    ]
    natives["torch"] = ("fp32",)
    assert engines("--backend", "torch") == ["torch:fp32"]
    assert engines("--backend", "torch", "--precision", "all", "bf16") == [
        "torch:fp32",
        "torch:bf16",
    ]
    # The reference is always measured.
    torch_bf16 = ["--against", "torch:bf16", "--backend", "openvino"]
    assert engines(*torch_bf16) == ["torch:bf16", "openvino:fp32"]


def test_random_weights(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    arguments = ["--random-weights", "bisenetv2_paper/19", "--backend", "torch", "--precision"]
    line = ["benchmark", *SMALL, "--rounds", "1", *arguments, "fp32", "--no-memory", "--allow-busy"]
    assert main([*line, "--json", str(file)]) == 0
    document = json.loads(file.read_text())
    assert document["model"] == "random bisenetv2_paper of 19 classes"
    assert document["gmacs"]["64x32"] == pytest.approx(20.26 * 64 * 32 / (1024 * 512), rel=0.01)


def test_nothing_is_measured_on_a_busy_machine(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "b.json"
    with busy_processes():
        assert benchmark(tiny_model, "--backend", "torch", "--json", str(file)) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("bisenet benchmark: other processes use ")
    assert captured.err.endswith(": nothing was measured; stop them, or pass --allow-busy\n")
    assert not file.exists()


def test_ratios_are_omitted_if_the_machine_becomes_busy(
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Idle:
        def others(self) -> float:
            return 0.0

    monkeypatch.setattr(machine, "watch", lambda seconds: Idle())
    file = tmp_path / "b.json"
    arguments = ["--precision", "fp32", "--rounds", "10", "--no-memory", "--json", str(file)]
    with busy_processes():
        assert benchmark(tiny_model, "--backend", "torch", *arguments) == 3
    document = json.loads(file.read_text())
    assert [result["ratio"] for result in document["results"]] == [None]
    assert document["others_cpu_share"] > 0.05
    captured = capsys.readouterr()
    assert captured.out.splitlines()[2].split()[7] == "-"
    assert "ratios of affected resolutions are omitted; stop them, or pass" in captured.err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (
            "--backend caffe",
            2,
            "argument --backend: invalid choice: 'caffe'",
        ),
        (
            "--precision fp64",
            2,
            "argument --precision: invalid choice: 'fp64'",
        ),
        (
            "--against torch",
            2,
            "argument --against: 'torch' is not BACKEND:PRECISION",
        ),
        (
            "--against torch:fp64",
            2,
            "argument --against: 'torch:fp64' is not BACKEND:PRECISION",
        ),
        ("--against torch:int8 --backend torch", 1, "the reference torch:int8 does not work: prec"),
        ("--threads -1", 2, "argument --threads: '-1' is not a whole number from 0 to 1024"),
        ("--rounds -1", 2, "argument --rounds: '-1' is not a whole number of at least 0"),
        ("--seconds -1", 2, "argument --seconds: '-1' is not a number of at least 0"),
        ("--seconds nan", 2, "argument --seconds: 'nan' is not a number of at least 0"),
        ("--device npu", 2, "argument --device: 'npu' is not auto, cpu, cuda or cuda:N"),
        (
            "--resolution 100x100",
            2,
            "argument --resolution: resolution 100x100 must be at least 32x32",
        ),
        ("--input-size 1280", 2, "argument --input-size: size '1280' is not of the form WxH"),
        ("--input-size 0x90", 2, "argument --input-size: size '0x90' has no pixels"),
        ("--json none/b.json", 1, "cannot write none/b.json: no folder none"),
        ("--plot b.doc", 1, "cannot write plot b.doc: its suffix must be one of "),
        ("--model none.safetensors", 1, "no model file at none.safetensors"),
    ],
)
def test_invalid_arguments(
    arguments: str,
    status: int,
    message: str,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = ["benchmark", "--model", str(tiny_model), *SMALL, "--allow-busy", *arguments.split()]
    refused = refusal(line, capsys)
    assert refused.status == status
    assert refused.message.startswith(message)


def test_malformed_random_weights(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["benchmark", *SMALL, "--allow-busy", "--random-weights", "bisenetv2"]
    refused = refusal(line, capsys)
    assert refused.status == 2
    assert "'bisenetv2' is not PRESET/CLASSES, e.g. bisenetv2_paper/19" in refused.message
