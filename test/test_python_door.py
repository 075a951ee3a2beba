"""Public Python interface: documented examples run, and imports are lazy."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import bisenet_ros
from bisenet_ros.classes import palette
from bisenet_ros.images.files import read_image
from bisenet_ros.images.render import overlay
from bisenet_ros.resources import share_directory

ROOT = share_directory()
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SIZE = (240, 180)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Path:
    """Create the files that the examples name, and change into their folder."""
    picture = cv2.imread(str(ROOT / "docs" / "images" / "overlay.jpg"))
    assert cv2.imwrite(str(tmp_path / "drive.jpg"), cv2.resize(picture, SIZE))
    classes = bisenet_ros.load_model().metadata.classes
    for folder in ("images", "labels"):
        (tmp_path / "my_data" / "val" / folder).mkdir(parents=True)
    shutil.copy(tmp_path / "drive.jpg", tmp_path / "my_data" / "val" / "images" / "a.jpg")
    truth = np.full(SIZE[::-1], 3, np.uint8)
    assert cv2.imwrite(str(tmp_path / "my_data" / "val" / "labels" / "a.png"), truth)
    lines = (f"{entry.id} {entry.name} {' '.join(map(str, entry.color))}\n" for entry in classes)
    (tmp_path / "my_data" / "classes.txt").write_text("".join(lines))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(page: Path) -> dict[str, Any]:
    """Run the page's examples in order and return the names that they define."""
    names: dict[str, Any] = {}
    examples = EXAMPLE.findall(page.read_text(encoding="utf-8"))
    assert examples
    for example in examples:
        exec(compile(example, str(page), "exec"), names)
    return names


def test_example_in_the_readme_labels_a_picture(workplace: Path) -> None:
    labels = run(ROOT / "README.md")["labels"]
    expected = bisenet_ros.Segmenter(bisenet_ros.load_model()).segment(read_image("drive.jpg"))
    assert (labels.dtype, labels.shape) == (np.uint8, SIZE[::-1])
    np.testing.assert_array_equal(labels, expected.labels)
    assert len(np.unique(labels)) > 3


def test_examples_in_the_guide_run(workplace: Path) -> None:
    names = run(ROOT / "docs" / "python.md")
    image, result, model = names["image"], names["result"], names["model"]
    assert (result.labels.shape, result.confidence.shape) == (SIZE[::-1], SIZE[::-1])
    assert names["segmenter"].resolution == model.metadata.resolution
    assert names["road"].mean() == (result.labels == 3).mean() > 0
    drawn = overlay(image, result.labels, palette(model.metadata.classes), 0.5)
    np.testing.assert_array_equal(read_image("overlay.png"), drawn)
    assert names["logits"].shape == (2, len(model.metadata.classes), 256, 512)
    assert names["scores"].pixel_accuracy == pytest.approx(names["road"].mean(), abs=0.02)
    assert Path("model.onnx").stat().st_size > 1e6


def test_load_model_accepts_names_and_paths(tiny_model: Path) -> None:
    shipped = bisenet_ros.load_model()
    assert bisenet_ros.load_model("bisenetv2_camvid").metadata == shipped.metadata
    by_text, by_path = bisenet_ros.load_model(str(tiny_model)), bisenet_ros.load_model(tiny_model)
    assert by_text.metadata == by_path.metadata != shipped.metadata
    renamed = bisenet_ros.load_model(classes=ROOT / "config" / "classes" / "camvid.yaml")
    assert renamed.metadata.classes[3].name == "road"


def test_public_names_are_imported_lazily() -> None:
    program = (
        "import sys, bisenet_ros; before = 'numpy' in sys.modules; bisenet_ros.load_model; "
        "print(before, 'numpy' in sys.modules, bisenet_ros.__all__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False True ['EngineOptions', 'Segmenter', 'load_model']\n"
    assert set(bisenet_ros.__all__) <= set(dir(bisenet_ros))
    with pytest.raises(AttributeError, match="no attribute 'segmenter'"):
        _ = bisenet_ros.segmenter
