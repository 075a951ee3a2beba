"""``bisenet dataset import``: from a labeling tool's export to training."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from refusal import refusal

from bisenet_ros.classes import read_classes
from bisenet_ros.cli import dataset_import
from bisenet_ros.cli.main import main
from bisenet_ros.datasets import open_dataset
from bisenet_ros.datasets.importers import FORMATS

SETTINGS = ["--set", "resolution=[64, 64]", "--set", "crop=[64, 64]", "--set", "scales=[1.0]"]


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Write a Roboflow export of ten pictures: dark left, bright right."""
    root = tmp_path / "export"
    root.mkdir()
    values = np.zeros((64, 64), np.uint8)
    values[:, 32:] = 1
    rng = np.random.default_rng(0)
    for number in range(10):
        image = 40 + 150 * values[..., None] + rng.integers(0, 40, (64, 64, 3), np.uint8)
        assert cv2.imwrite(str(root / f"frame_{number}.jpg"), image)
        assert cv2.imwrite(str(root / f"frame_{number}_mask.png"), values)
    (root / "_classes.csv").write_text("Pixel Value, Class\n0, dark\n1, bright\n")
    return root


def line(export: Path, *more: str) -> list[str]:
    return ["dataset", "import", "--input", str(export), *more]


def test_from_the_export_to_a_trained_model(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my data"
    assert main(line(export, "--output", str(out), "--val", "0.2")) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[:5] == [
        "imported 10 images: train 8, val 2",
        "class      share   images",
        "dark     50.000%       10",
        "bright   50.000%       10",
        "0.00% of all pixels are void: not trained on",
    ]
    assert printed[-1] == f"wrote {out}; next: bisenet dataset check --data '{out}'"
    for split in ("train", "val"):
        check = ["dataset", "check", "--data", str(out), "--split", split, *SETTINGS]
        assert main([*check, "--output", str(tmp_path / "check")]) == 0
        assert "problems: 0" in capsys.readouterr().out
    train = ["train", "--data", str(out), "--output", str(tmp_path / "run"), *SETTINGS]
    train += ["--device", "cpu", "--threads", "1", "--val-data", str(out)]
    for setting in ("iterations=2", "warmup_iterations=1", "batch_size=2", "workers=0"):
        train += ["--set", setting]
    assert main(train) == 0
    assert (tmp_path / "run/model.safetensors").is_file()


def test_the_folder_holds_the_pictures_and_nothing_else(export: Path, tmp_path: Path) -> None:
    assert main(line(export, "--output", str(tmp_path / "new/out"))) == 0
    out = tmp_path / "new/out"
    assert sorted(path.name for path in out.iterdir()) == ["classes.txt", "images", "labels"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    lines = (out / "classes.txt").read_text().splitlines()
    assert [text.split()[:2] for text in lines] == [["0", "dark"], ["1", "bright"], ["255", "void"]]
    dataset = open_dataset(out)
    assert len(dataset) == 10
    for image, _ in dataset.pairs:
        assert image.read_bytes() == (export / image.name).read_bytes()
        assert not image.is_symlink()


def test_links(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(export.parent)
    assert main(line(Path("export"), "--output", "out", "--link")) == 0
    dataset = open_dataset(tmp_path / "out")
    assert all(image.is_symlink() for image, _ in dataset.pairs)
    assert dataset[0][0].shape == (64, 64, 3)


def test_map_and_background(export: Path, tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text("map: {dark: void, bright: lamp}\n")
    options = ["--map", str(tmp_path / "map.yaml"), "--background", "ground"]
    assert main(line(export, "--output", str(tmp_path / "out"), *options)) == 0
    classes = read_classes(tmp_path / "out/classes.txt")
    assert [entry.name for entry in classes] == ["ground", "lamp"]
    labels = open_dataset(tmp_path / "out").read_labels(0)
    assert (labels[:, :32] == 255).all()
    assert (labels[:, 32:] == 1).all()


@pytest.mark.parametrize("there", ["folder", "file", "dangling link"])
def test_what_exists_is_never_written_over(
    export: Path, tmp_path: Path, there: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    if there == "folder":
        out.mkdir()
    elif there == "file":
        out.write_text("mine")
    else:
        out.symlink_to(tmp_path / "nowhere")
    refused = refusal(line(export, "--output", str(out)), capsys)
    assert refused == (1, f"{out} exists; give --output a folder that does not")
    assert not (tmp_path / "nowhere").exists()
    assert not out.is_file() or out.read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--format", "coco"], 1, "has no COCO .json with the lists images, annotations, categor"),
        (["--format", "yolo"], 2, "argument --format: invalid choice: 'yolo'"),
        (["--val", "0"], 2, "argument --val: '0' is not a number from 0.01 to 0.99"),
        (["--val", "1"], 2, "argument --val: '1' is not a number from 0.01 to 0.99"),
        (["--map", "nothing.yaml"], 1, "cannot read nothing.yaml: No such file"),
        (["--classes", "nothing.txt"], 1, "cannot use class file: cannot read nothing.txt"),
        (["--background", "a#b"], 1, "class name 'a#b' has a '#'"),
    ],
)
def test_refused_options(
    export: Path,
    tmp_path: Path,
    options: list[str],
    status: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused = refusal(line(export, "--output", str(tmp_path / "out"), *options), capsys)
    assert refused.status == status
    assert message in refused.message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export"]


def test_splits_of_the_export_are_kept(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "valid"):
        shutil.copytree(export, tmp_path / "split" / split)
    command = line(tmp_path / "split", "--output", str(tmp_path / "out"), "--val", "0.2")
    refused = refusal(command, capsys)
    assert refused == (2, "--val: the export has a val split, which is kept; omit the option")
    shutil.rmtree(tmp_path / "split/valid")
    assert main(command) == 0
    assert [len(open_dataset(tmp_path / "out", split=s)) for s in ("train", "val")] == [8, 2]


def test_formats_are_recognized_or_asked_for(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--output", str(tmp_path / "out")]
    archive = shutil.make_archive(str(tmp_path / "export"), "zip", export)
    refused = refusal(line(Path(archive), *output), capsys)
    assert refused == (1, f"{archive} is an archive; unpack it: unzip {archive} -d {export}")
    (tmp_path / "empty").mkdir()
    refused = refusal(line(tmp_path / "empty", *output), capsys)
    assert "empty' is in no known format (coco: a .json with images" in refused.message
    refused = refusal(line(tmp_path / "none", *output), capsys)
    assert refused == (1, f"there is no {tmp_path}/none; give the folder or file of an export")
    (export / "a.json").write_text('{"images": [], "annotations": [], "categories": []}')
    refused = refusal(line(export, *output), capsys)
    assert refused.message.endswith("may be of format coco or roboflow; choose one with --format")
    assert main(line(export, *output, "--format", "roboflow")) == 0


def test_every_format_is_offered() -> None:
    assert tuple(FORMATS) == dataset_import.FORMATS
