"""``bisenet benchmark --node``: camera, node and viewer over DDS, table and JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from refusal import refusal

pytest.importorskip("rclpy")

BISENET = (
    sys.executable,
    "-c",
    "import sys; from bisenet_ros.cli.main import main; sys.exit(main())",
)
TIMEOUT_S = 300.0


def run_benchmark(*arguments: object) -> "subprocess.CompletedProcess[str]":
    # A process of its own, since the transport's profile is read once.
    return subprocess.run(
        [*BISENET, "benchmark", "--node", "--allow-busy", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def test_table_and_json(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "node.json"
    done = run_benchmark(
        *("--model", tiny_model, "--backend", "torch", "--precision", "fp32", "--device", "cpu"),
        *("--threads", 1, "--resolution", "64x32", "--input-size", "160x90"),
        *("--engine-cache", tmp_path, "--seconds", 1, "--json", file),
    )
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert first == "tiny at 64x32 on torch, cpu, fp32, image 160x90"
    assert len(lines) == 14
    document: dict[str, Any] = json.loads(file.read_text())
    assert document["engine"] == "tiny at 64x32 on torch, cpu, fp32"
    assert document["input_size"] == [160, 90]
    assert 0 <= document["others_cpu_share"] <= 1
    node = document["node"]
    assert node["camera_rates_hz"].keys() == {"front", "rear", "left", "right"}
    assert all(rate > 0 for rate in node["camera_rates_hz"].values())
    assert 0 < node["age_p50_ms"] <= node["age_p99_ms"]
    ages = node["age_p50_first_ms"], node["age_p50_last_ms"]
    assert min(ages) > 0
    assert node["age_growth"] == pytest.approx(ages[1] / ages[0] - 1)
    assert node["outside_p50_ms"] > 0
    assert node["rate_ratio"] == pytest.approx(1e-3 * node["rate_hz"] * node["inference_ms"])
    assert node["first_label_frame"] >= 1
    assert node["start_rss_mb"] > 50


def test_the_nodes_error_is_shown(tmp_path: Path) -> None:
    done = run_benchmark("--model", tmp_path / "no.safetensors")
    assert done.returncode == 1
    assert "last lines of the node's log:\n" in done.stderr
    assert "bisenet benchmark: the node cannot configure: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--rounds", "3"], "--rounds has no meaning with --node: omit one of them"),
        (["--plot", "x.png"], "--plot has no meaning with --node"),
        (["--no-memory"], "--no-memory has no meaning with --node"),
        (["--batch-size", "2"], "--batch-size has no meaning with --node"),
        (["--against", "torch:bf16"], "--against has no meaning with --node"),
        (["--random-weights", "bisenetv2_paper/19"], "--random-weights has no meaning with"),
        (["--backend", "torch", "openvino"], "--backend has 2 values, and a node one: give one"),
        (["--resolution", "all"], "--resolution has 5 values, and a node one"),
    ],
)
def test_arguments_of_engines_are_refused(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = refusal(["benchmark", "--node", *arguments], capsys)
    assert refused.status == 2
    assert reason in refused.message
