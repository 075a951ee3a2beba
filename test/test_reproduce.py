"""``scripts/reproduce.py``: runs of the ablation study and their table."""

import csv
import importlib.util
import json
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from bisenet_ros.training.trainer import Batch, Trainer

SCRIPT = Path(__file__).parents[1] / "scripts" / "reproduce.py"
SETTINGS = {
    "head_channels": "8",
    "resolution": "[64, 64]",
    "crop": "[32, 32]",
    "batch_size": "2",
    "precision": "fp32",
    "workers": "0",
    "iterations": "2",
    "warmup_iterations": "1",
}


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reproduce", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def script() -> ModuleType:
    module = load_script()
    # Three of the eleven runs are enough.
    module.VARIANTS = {name: module.VARIANTS[name] for name in ("BGA + boosters", "sum")}
    module.SEEDS = {"BGA + boosters": (0, 1)}
    return module


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("images", "labels"):
            (root / split / name).mkdir(parents=True)
        for number in range(2):
            labels = rng.integers(0, 2, (64, 64), np.uint8)
            image = (100 + 100 * labels[..., None]).repeat(3, 2).astype(np.uint8)
            assert cv2.imwrite(str(root / split / "images" / f"{number}.png"), image)
            assert cv2.imwrite(str(root / split / "labels" / f"{number}.png"), labels)
    (root / "classes.txt").write_text("0 dark 10 20 30\n1 bright 200 210 220\n")
    return root


@pytest.fixture
def line(data: Path, tmp_path: Path) -> list[str]:
    """Return a command line of the script with the page document.md and the folder runs/."""
    document = tmp_path / "document.md"
    document.write_text("before\n<!-- table -->\nold\n<!-- end of table -->\nafter\n")
    line = ["--data", str(data), "--val", str(data), "--output", str(tmp_path / "runs")]
    line += ["--device", "cpu", "--document", str(document)]
    for name, value in SETTINGS.items():
        line += ["--set", f"{name}={value}"]
    return line


@pytest.mark.usefixtures("one_thread")
def test_runs_and_table(script: ModuleType, line: list[str], data: Path, tmp_path: Path) -> None:
    document, runs = tmp_path / "document.md", tmp_path / "runs"
    assert script.main(line) == 0

    names = ["bga_boosters_0", "bga_boosters_1", "sum_0"]
    assert sorted(path.name for path in runs.iterdir()) == names
    for name in names:
        with (runs / name / "log.csv").open(newline="") as file:
            assert [row[0] for row in csv.reader(file)] == ["iteration", "1", "2"]
    record = json.loads(document.with_suffix(".json").read_text())
    assert (record["images"], record["scored"]) == (2, 2)
    assert record["settings"]["iterations"] == 2
    assert "seed" not in record["settings"]
    assert [run["settings"] for run in record["runs"]] == [{"seed": 0}, {"seed": 1}, {"seed": 0}]
    assert [set(run["iou"]) for run in record["runs"]] == 3 * [{"dark", "bright"}]
    first, second, other = (100 * run["miou"] for run in record["runs"])
    text = document.read_text()
    assert text.startswith("before\n<!-- table -->\n| Variant ")
    assert text.endswith("<!-- end of table -->\nafter\n")
    assert "old" not in text
    rows = {cells[1].strip(): cells[2:] for cells in (r.split("|") for r in text.splitlines()[4:6])}
    spread = abs(first - second)
    assert rows["BGA + boosters"][:2] == [f" {first:.2f} / {second:.2f} ", f" spread {spread:.2f} "]
    points = other - (first + second) / 2
    unsure = "" if abs(points) > spread else ", not resolved"
    assert rows["sum"][:2] == [f" {other:.2f} ", f" {points:+.2f} to BGA + boosters{unsure} "]
    assert "2 training images, 2 iterations of 2 crops of 32x32" in text

    # Finished runs are not repeated, and not reused with other settings or data.
    log = runs / "sum_0" / "log.csv"
    before = log.stat().st_mtime_ns
    assert script.main(line) == 0
    assert document.read_text() == text
    assert log.stat().st_mtime_ns == before
    with pytest.raises(SystemExit, match="has other settings or data: use the same, or another"):
        script.main([*line, "--set", "iterations=3"])
    fewer = Path(shutil.copytree(data, tmp_path / "fewer"))
    for kind in ("images", "labels"):
        (fewer / "val" / kind / "0.png").unlink()
    with pytest.raises(SystemExit, match="has other settings or data"):
        script.main([*line, "--val", str(fewer)])
    with pytest.raises(SystemExit, match="there is no folder /nowhere"):
        script.main([*line, "--data", "/nowhere"])


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("during", [1, 2])  # with 2, only scoring is left
def test_stopped_runs_are_resumed(
    script: ModuleType,
    line: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    during: int,
) -> None:
    step, steps = Trainer.step, []

    def interrupted(self: Trainer, parts: Sequence[Batch]) -> float:
        steps.append(self.iteration)
        if len(steps) == during:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, parts)

    monkeypatch.setattr(Trainer, "step", interrupted)
    assert script.main(line) == 130
    assert capsys.readouterr().err.endswith("\nstopped; repeat the command to continue\n")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["bga_boosters_0"]
    assert not (tmp_path / "runs" / "bga_boosters_0" / "scores.json").exists()
    assert "old" in (tmp_path / "document.md").read_text()
    assert script.main(line) == 0
    assert steps == 3 * [0, 1]  # each iteration of the three runs once
    assert "old" not in (tmp_path / "document.md").read_text()


def test_committed_page_matches_the_stored_scores() -> None:
    script = load_script()
    page = script.DOCUMENT.read_text()
    record = json.loads(script.DOCUMENT.with_suffix(".json").read_text())
    assert len(record["runs"]) == 11
    assert script.START + script.make_table(record) + script.END in page
