import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from bisenet_ros.inference.backend import EngineOptions

BISENET = (
    sys.executable,
    "-c",
    "import sys; from bisenet_ros.cli.main import main; sys.exit(main())",
)
ENVIRON = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
TIMEOUT_S = 90.0


def start_demo(*arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*BISENET, "demo", *map(str, arguments)],
        env={**ENVIRON, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_demo(*arguments: object) -> tuple[int, str, str]:
    process = start_demo(*arguments)
    try:
        out, err = process.communicate(timeout=TIMEOUT_S)
        assert nodes_of(process) == []
    finally:
        kill(process)
    return process.returncode, out, err


def kill(demo: "subprocess.Popen[str]") -> None:
    """Kill the processes that a failed test leaves behind."""
    demo.kill()
    for node in nodes_of(demo):
        os.kill(node, signal.SIGKILL)


def nodes_of(demo: "subprocess.Popen[str]") -> list[int]:
    """Return the process ids of running nodes that this demo started."""
    namespace = f"__ns:=/bisenet_demo_{demo.pid}".encode()
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if namespace in _content(path).split(b"\0")
    ]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has ended meanwhile
        return b""


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """Create images/ with noise blocks, and labels/ that the model predicts for them.

    Odd images have their labels as colors.
    """
    import torch

    from bisenet_ros.classes import palette
    from bisenet_ros.inference.segmenter import Segmenter
    from bisenet_ros.model import file as model_file

    root = tmp_path_factory.mktemp("labeled")
    (root / "images").mkdir()
    (root / "labels").mkdir()
    torch.set_num_threads(1)
    model = model_file.load(tiny_model)
    colors = palette(model.metadata.classes)
    segmenter = Segmenter(model, EngineOptions(device="cpu", precision="fp32"))
    rng = np.random.default_rng(0)
    before = None
    for number in range(6):
        blocks = rng.integers(0, 256, (6, 10, 3), np.uint8)
        image = cv2.resize(blocks, (160, 96), interpolation=cv2.INTER_NEAREST)
        labels = segmenter.segment(image).labels.copy()
        # Make sure that labels of a wrong frame would be noticed.
        assert before is None or np.mean(labels != before) > 0.2
        before = labels
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        assert cv2.imwrite(str(root / "images" / f"{number}.png"), bgr)
        stored = colors[labels][..., ::-1] if number % 2 else labels
        assert cv2.imwrite(str(root / "labels" / f"{number}_mask.png"), stored)
    segmenter.close()
    return root


def test_folder_with_labels_is_scored_frame_by_frame(
    tmp_path: Path, labeled: Path, tiny_model: Path
) -> None:
    output, result = tmp_path / "out", tmp_path / "demo.json"
    (output / "overlay").mkdir(parents=True)
    (output / "overlay" / "000042.jpg").write_bytes(b"from an earlier run")
    status, out, err = run_demo(
        *("--input", labeled / "images", "--labels", labeled / "labels"),
        *("--output", output, "--json", result, "--model", tiny_model),
        *("--device", "cpu", "--precision", "fp32"),
    )
    assert status == 0, err

    found = json.loads(result.read_text())
    assert found.keys() == {"sent", "received", "dropped", "fps", "latency_ms", "miou"}
    assert (found["sent"], found["received"], found["dropped"]) == (6, 6, 0)
    assert found["miou"] == pytest.approx(1.0, abs=1e-3)
    latency = found["latency_ms"]
    assert latency.keys() == {"p50", "p95", "p99"}
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    # Closed loop: each frame is sent after the previous labels, so 6 latencies fit into the run.
    assert 0 < found["fps"] <= 6 / (5 * latency["p50"] / 2e3)

    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (lines["sent"], lines["received"], lines["dropped"]) == ("6", "6", "0")
    assert lines["mIoU"] == "100.0%"
    pictures = sorted((output / "overlay").iterdir())
    assert [path.name for path in pictures] == [f"{number:06d}.jpg" for number in range(6)]
    for number, path in enumerate(pictures):
        overlay = cv2.imread(str(path)).astype(int)
        image = cv2.imread(str(labeled / "images" / f"{number}.png")).astype(int)
        # An overlay is half its own frame, so it correlates with no other frame as much.
        assert overlay.shape == image.shape == (96, 160, 3)
        assert np.corrcoef(overlay.ravel(), image.ravel())[0, 1] > 0.5
    sheet = cv2.imread(str(output / "contact_sheet.png"))
    assert sheet.shape[0] >= 2 * 96
    assert sheet.shape[1] >= 4 * 160


def test_synthetic_street_at_a_rate_with_other_classes_is_not_scored(
    tmp_path: Path, tiny_model: Path
) -> None:
    result = tmp_path / "demo.json"
    status, out, err = run_demo(
        *("--frames", 8, "--rate", 200, "--output", tmp_path / "out"),
        *("--json", result, "--model", tiny_model),
        *("--resolution", "64x32", "--engine-cache", tmp_path / "cache"),
    )
    assert status == 0, err
    assert "per 64x32 frame: " in (tmp_path / "out" / "node.log").read_text()
    assert list((tmp_path / "cache" / "engines").iterdir())
    found = json.loads(result.read_text())
    assert found["sent"] == 8
    assert found["received"] >= 1  # at least the last one, which no newer frame replaces
    assert found["received"] + found["dropped"] == 8
    assert found["miou"] is None
    assert "mIoU         unknown: the labels have other classes than the model" in out
    pictures = list((tmp_path / "out" / "overlay").iterdir())
    assert len(pictures) == found["received"]
    assert tmp_path / "out" / "overlay" / "000007.jpg" in pictures


def test_error_of_the_node_is_reported(tmp_path: Path) -> None:
    status, out, err = run_demo("--model", tmp_path / "none.safetensors", "--output", tmp_path)
    assert status == 1
    last = err.splitlines()[-1]
    assert last.startswith("bisenet demo: the node cannot configure: ")
    assert str(tmp_path / "none.safetensors") in last
    assert str(tmp_path / "node.log") in last
    assert "cannot configure" in (tmp_path / "node.log").read_text()
    assert "received" not in out


def test_a_bad_frame_is_left_out(tmp_path: Path, labeled: Path, tiny_model: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(labeled / "images", images)
    (images / "2.png").write_bytes(b"\x89PNG")
    line = ("--input", images, "--output", tmp_path / "out", "--model", tiny_model)
    line = (*line, "--device", "cpu", "--precision", "fp32")
    status, out, err = run_demo(*line)
    assert status == 1
    assert f"left out frame 2: {images}/2.png is not an image" in err
    assert f"bisenet demo: 1 frames of {images} could not be read" in err
    assert dict(text.split(maxsplit=1) for text in out.splitlines())["received"] == "5"

    status, out, err = run_demo(*line, "--strict")
    assert status == 1
    assert "left out" not in err
    assert f"{images}/2.png is not an image" in err


def test_labels_of_a_cut_video_are_rejected(tmp_path: Path) -> None:
    video = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (160, 96))
    for _ in range(5):
        video.write(np.zeros((96, 160, 3), np.uint8))
    video.release()
    content = (tmp_path / "v.avi").read_bytes()
    (tmp_path / "v.avi").write_bytes(content[: (content.index(b"movi") + len(content)) // 2])
    (tmp_path / "labels").mkdir()
    for number in range(5):
        labels = np.zeros((96, 160), np.uint8)
        assert cv2.imwrite(str(tmp_path / "labels" / f"{number}.png"), labels)
    status, _, err = run_demo("--input", tmp_path / "v.avi", "--labels", tmp_path / "labels")
    assert status == 1
    assert re.search(r"labels contains 5 label images, but .*v\.avi has \d frames \(5 by its", err)


def test_labels_with_unknown_ids_are_rejected(
    tmp_path: Path, labeled: Path, tiny_model: Path
) -> None:
    (tmp_path / "labels").mkdir()
    assert cv2.imwrite(str(tmp_path / "labels" / "0.png"), np.full((96, 160), 7, np.uint8))
    status, _, err = run_demo(
        *("--input", labeled / "images" / "0.png", "--labels", tmp_path / "labels"),
        *("--output", tmp_path / "out", "--model", tiny_model),
    )
    assert status == 1
    assert "labels/0.png has label 7 (15360 pixels); labels are 0 to 4" in err.splitlines()[-1]


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_signal_ends_demo_and_node_and_keeps_the_results(
    tmp_path: Path, tiny_model: Path, name: str
) -> None:
    result = tmp_path / "demo.json"
    demo = start_demo(
        *("--frames", 100_000, "--output", tmp_path, "--json", result, "--model", tiny_model)
    )
    try:
        wait_until(
            lambda: (tmp_path / "overlay" / "000002.jpg").exists() or demo.poll() is not None
        )
        assert len(nodes_of(demo)) == 1
        demo.send_signal(getattr(signal, name))
        out, err = demo.communicate(timeout=TIMEOUT_S)
        assert demo.returncode == 130, err
        assert nodes_of(demo) == []
    finally:
        kill(demo)
    assert "interrupted" in err
    assert "Traceback" not in err
    found = json.loads(result.read_text())
    assert 3 <= found["received"] <= found["sent"] < 100_000
    assert f"received     {found['received']}" in out
    assert (tmp_path / "contact_sheet.png").exists()


def test_the_output_folder_is_checked_first(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    status, _, err = run_demo("--input", tmp_path / "none.mp4", "--output", tmp_path / "out")
    assert status == 1
    assert err.endswith("out is a file; give a folder\n")


def test_input_is_checked_before_the_node_starts(tmp_path: Path) -> None:
    status, out, err = run_demo("--input", tmp_path / "none.mp4", "--output", tmp_path / "out")
    assert status == 1
    assert "none.mp4 does not exist: give an image" in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert not (tmp_path / "out").exists()
