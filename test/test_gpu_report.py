"""``scripts/gpu_report.py``: dry run on the CPU, test results, failures and time limit."""

import importlib.util
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bisenet_ros.benchmark.machine import describe_machine
from bisenet_ros.model import file as model_file

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "gpu_report.py"

# Run in a process where libraries missing in the requirements cannot be imported.
DRY_RUN = """
import os
import sys

os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # threads only wait on such small images
absent = "matplotlib scipy rosbags tqdm PIL openvino rclpy tensorrt tensorrt_rtx onnx onnxruntime"
for name in absent.split():
    sys.modules[name] = None
sys.path.insert(0, sys.argv[1])

import gpu_report

gpu_report.ROUNDS_S = 0.3
sys.exit(gpu_report.main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("gpu_report", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_report"] = module  # required by dataclasses
    spec.loader.exec_module(module)
    yield module
    del sys.modules["gpu_report"]


def setup(script: ModuleType, model: Path, device: str, seconds: float) -> Any:
    return script.Setup(
        model=model_file.load(model),
        path=model,
        device=device,
        resolutions=[(64, 32)],
        frames=1,
        loads=1,
        cache=None,
        deadline=script.Deadline(seconds),
    )


def rows(part: str) -> list[dict[str, str]]:
    """Return the rows of all tables of a part, keyed by column name."""
    found, head = [], []
    for line in part.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            head = []
        elif not head:
            head = cells
        elif set(line) != set("| -"):
            found.append(dict(zip(head, cells, strict=True)))
    return found


def test_dry_run_on_the_cpu_prints_the_section(tiny_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "report.md"
    arguments = ["--device", "cpu", "--model", str(tiny_model), "--resolution", "64x32", "96x32"]
    arguments += ["--frames", "25", "--loads", "3", "--minutes", "3", "--output", str(output)]
    done = subprocess.run(
        [sys.executable, "-c", DRY_RUN, str(SCRIPT.parent), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert output.read_text() == done.stdout

    head, *parts = re.split(r"^##### (.+)\n", done.stdout, flags=re.MULTILINE)
    today = datetime.now(timezone.utc).date().isoformat()
    assert head.startswith(f"#### CPU, dry run: {describe_machine()['cpu']}, {today}\n")
    assert "| model | tiny |" in head
    assert f"| command | `python3 scripts/gpu_report.py --device cpu --model {tiny_model} " in head
    section = dict(zip(parts[::2], parts[1::2], strict=True))
    sizes = ["Engines at 64x32", "Engines at 96x32"]
    memory_titles = ["Memory over 25 frames", "3 loads and closes"]
    assert list(section) == ["Tests", *sizes, "Batches", *memory_titles, "The node"]
    assert section["Tests"].strip() == "Not run: no GPU, this is a dry run on the CPU."
    assert section["The node"].strip() == "Not run: rclpy is not installed."

    ratio, equal = "ratio to plain calls", "labels equal to the CPU's fp32"
    for title in sizes:
        plain, exact, *_ = rows(section[title])
        assert (plain["engine"], plain[ratio], plain[equal]) == (
            "torch fp32, plain calls",
            "1.00",
            "-",
        )
        assert (exact["engine"], exact[equal]) == ("torch fp32", "100.00%")
        for row in rows(section[title]):
            assert int(row["frames"]) >= 2
            assert float(row["FPS"]) == pytest.approx(1e3 / float(row["p50 ms"]), rel=0.05, abs=1)
    assert section[sizes[0]].startswith("\n0.06 GMAC a frame.\n")
    refusal = r"^Not run: tensorrt: device 'cpu' is not supported by tensorrt"
    for title in (*sizes, "Batches", *memory_titles):
        assert re.search(refusal, section[title], re.MULTILINE)

    (batches,) = rows(section["Batches"])
    for size, plural in ((1, ""), (2, "s"), (4, "s")):
        cell = batches[f"{size} image{plural} a run"]
        milliseconds, rate = re.fullmatch(r"([\d.]+) ms, (\d+) images/s", cell).groups()  # type: ignore[union-attr]
        assert float(rate) == pytest.approx(1e3 * size / float(milliseconds), rel=0.05, abs=1)

    (memory,) = rows(section["Memory over 25 frames"])
    assert memory["frames"] == "25"
    assert int(memory["after all"]) > 50
    (loads,) = rows(section["3 loads and closes"])
    assert loads["loads"] == "3"
    assert int(loads["after the last"]) > 50


GPU_TESTS = """
import pytest

@pytest.mark.gpu
def test_good(): pass

@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp16"])
def test_bad(precision): assert precision == "fp32"

@pytest.mark.gpu
def test_absent(): pytest.skip("TensorRT is not installed")

def test_without_a_gpu(): pass
"""


def test_gpu_tests_are_tabulated_with_their_results(
    script: ModuleType, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "test_some.py").write_text(GPU_TESTS)
    (tmp_path / "test" / "test_other.py").write_text("import a_module_that_is_not_there")
    monkeypatch.setattr(script, "ROOT", tmp_path)
    lines, ok = script.run_part(script.gpu_tests, setup(script, tiny_model, "cuda:0", 600))
    assert not ok
    text = "\n".join(lines)
    assert rows(text) == [
        {"test": "`test_good`", "result": "passed"},
        {"test": "`test_bad[fp16]`", "result": "**FAILED**"},
        {"test": "`test_absent`", "result": "skipped"},
    ]
    assert "- test/test_some.py::test_bad[fp16] - AssertionError: assert 'fp16' ==" in text


def test_an_interrupted_test_run_is_reported(script: ModuleType) -> None:
    output = "test/test_some.py::test_good PASSED [ 50%]\ntest/test_some.py::test_slow "
    assert script.summarize_tests(None, output, 85.5) == [
        "| test | result |",
        "| --- | --- |",
        "| `test_good` | passed |",
        "",
        "Stopped after 86 s; tests that are not in the table were not run.",
    ]


def test_pytest_failing_to_start_is_a_failure(script: ModuleType) -> None:
    with pytest.raises(script.FailedError, match=r"\*\*pytest failed\*\*: ERROR: no such option"):
        script.summarize_tests(4, "usage: pytest\nERROR: no such option\n", 85)


def test_a_failing_part_and_warnings_are_reported(script: ModuleType, tiny_model: Path) -> None:
    def fail(_: object) -> list[str]:
        logging.getLogger("bisenet_ros.inference").warning("without a CUDA graph")
        raise RuntimeError("out of memory\nat line 3")

    given = setup(script, tiny_model, "cpu", 600)
    assert script.run_part(fail, given) == (
        ["**Failed**: RuntimeError: out of memory", "", "- Warning: without a CUDA graph"],
        False,
    )
    assert script.run_part(lambda _: ["good"], given) == (["good"], True)


def test_parts_beyond_the_time_limit_are_not_run(script: ModuleType, tiny_model: Path) -> None:
    expected = ["Not run: no time left, increase --minutes."]
    late = setup(script, tiny_model, "cpu", 0)
    assert script.run_part(script.loads_and_closes, late) == (expected, True)
    short = setup(script, tiny_model, "cpu", 10)  # too short to measure one resolution
    engines = partial(script.engines, resolution=(64, 32))
    assert script.run_part(engines, short) == (expected, True)


def test_missing_gpu_is_named(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="device 'cuda:99' not found"):
        script.main(["--device", "cuda:99"])


def test_requirements_match_the_package() -> None:
    def lines(name: str) -> set[str]:
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        return {line.partition("#")[0].strip() for line in text.splitlines()} - {""}

    known = lines("runtime") | lines("wheels")
    assert lines("gpu_report") - known == {"pytest>=7.4,<9"}
    assert "pytest>=7.4,<9" in lines("test")
