"""``bisenet segment``: names and contents of its output files."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from refusal import refusal

from bisenet_ros.classes import read_classes
from bisenet_ros.cli.main import main
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.segmenter import Segmenter
from bisenet_ros.model import file as model_file

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("left.png", "right.png", "right.jpg"):
        pixels = np.random.default_rng(len(name)).integers(0, 256, (60, 90, 3), np.uint8)
        cv2.imwrite(str(folder / name), pixels)
    return folder


def test_labels_of_a_folder(
    images: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    line = ["--model", str(tiny_model), "--backend", "torch", "--precision", "fp32"]
    line += ["--input", str(images), "--output", str(out), "--alpha", "0"]
    assert main(["segment", *line]) == 0
    names = ["left", "right", "right_000002"]
    assert sorted(path.stem for path in (out / "labels").iterdir()) == names
    assert sorted(path.name for path in (out / "overlay").iterdir()) == [f"{n}.jpg" for n in names]

    model = model_file.load(tiny_model)
    assert read_classes(out / "classes.txt") == model.metadata.classes
    image = cv2.cvtColor(cv2.imread(str(images / "left.png")), cv2.COLOR_BGR2RGB)
    expected = Segmenter(
        model, EngineOptions(backend="torch", device="cpu", precision="fp32")
    ).segment(image)
    labels = cv2.imread(str(out / "labels" / "left.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels, expected.labels)
    assert len(np.unique(labels)) > 1
    # With alpha 0 the overlay is the image itself, and JPEG preserves its mean.
    shown = cv2.imread(str(out / "overlay" / "left.jpg"))
    assert np.abs(shown.mean((0, 1)) - image[..., ::-1].mean((0, 1))).max() < 3
    assert capsys.readouterr().out.startswith(f"segmented 3 frames of {images} with tiny at 128x64")


def test_12_bit_pictures_are_labelled_like_their_8_bits(
    images: Path, tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picture = cv2.imread(str(images / "left.png"))
    for path in images.iterdir():
        path.unlink()
    assert cv2.imwrite(str(images / "eight.png"), picture)
    deep = np.rint(picture * (4095 / 255)).astype(np.uint16)
    assert cv2.imwrite(str(images / "png.png"), deep)
    assert cv2.imwrite(str(images / "tiff.tiff"), deep)
    line = ["segment", "--model", str(tiny_model), "--input", str(images), "--output"]
    assert main([*line, str(tmp_path / "12"), "--bit-depth", "12"]) == 0
    files = {path.read_bytes() for path in (tmp_path / "12" / "labels").iterdir()}
    assert len(files) == 1
    assert "is dark" not in caplog.text

    assert main([*line, str(tmp_path / "16")]) == 0
    assert {path.read_bytes() for path in (tmp_path / "16" / "labels").iterdir()} > files
    dark = [text for text in caplog.messages if "is dark" in text]
    assert len(dark) == 1 and dark[0].startswith(f"{images}/png.png is dark")
    assert dark[0].endswith("If its camera has 12 bits, pass --bit-depth 12")


def test_frames_without_names_are_numbered(tiny_model: Path, tmp_path: Path) -> None:
    line = ["--model", str(tiny_model), "--input", "synthetic", "--frames", "2"]
    assert main(["segment", *line, "--output", str(tmp_path)]) == 0
    assert sorted(p.name for p in (tmp_path / "labels").iterdir()) == ["000000.png", "000001.png"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--input", "nowhere"], 1, "nowhere does not exist: give an image"),
        (["--input", "a", "--alpha", "2"], 2, "argument --alpha: '2' is not a number from 0 to 1"),
        (["--input", "a", "--frames", "0"], 2, "argument --frames: '0' is not a whole number of"),
    ],
)
def test_invalid_arguments(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = refusal(["segment", *arguments], capsys)
    assert refused.status == status
    assert refused.message.startswith(message)


def test_existing_labels_are_not_overwritten(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["segment", "--input", "synthetic", "--frames", "1", "--model", str(tiny_model)]
    line += ["--output", str(tmp_path / "out")]
    assert main(line) == 0
    before = sorted((tmp_path / "out").rglob("*"))
    assert main(line) == 1
    assert "labels already contains files: remove them, or use" in capsys.readouterr().err
    assert sorted((tmp_path / "out").rglob("*")) == before
