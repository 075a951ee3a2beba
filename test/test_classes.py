"""Class files: both formats, every error, and the palette."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bisenet_ros.classes import (
    SemanticClass,
    check_classes,
    palette,
    read_classes,
    read_unlabeled_colors,
)
from bisenet_ros.errors import ClassesError

CONFIG = Path(__file__).parents[1] / "config" / "classes"
SKY = SemanticClass(0, "sky", (128, 128, 128))
ROAD = SemanticClass(1, "road", (128, 64, 127))


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_text_form(tmp_path: Path) -> None:
    text = "# of a test\n1 road 128 64 127  # gray\n\n0 sky 128 128 128\n"
    assert read_classes(written(tmp_path / "classes.txt", text)) == (SKY, ROAD)


def test_yaml_form(tmp_path: Path) -> None:
    text = (
        "classes:\n"
        "  - {id: 1, name: road, color: [128, 64, 127]}\n"
        "  - {id: 0, name: sky, color: [128, 128, 128]}\n"
    )
    assert read_classes(written(tmp_path / "classes.yaml", text)) == (SKY, ROAD)


def test_names_of_several_words(tmp_path: Path) -> None:
    """Cityscapes has such names, and ``bisenet segment`` writes them to classes.txt."""
    text = "0 sky 1 2 3\n1 traffic light 4 5 6\n"
    assert read_classes(written(tmp_path / "c.txt", text))[1].name == "traffic light"


def test_shipped_cityscapes() -> None:
    classes = read_classes(CONFIG / "cityscapes.yaml")
    assert len(classes) == 19
    assert classes[0] == SemanticClass(0, "road", (128, 64, 128))
    assert classes[6] == SemanticClass(6, "traffic light", (250, 170, 30))
    assert classes[18] == SemanticClass(18, "bicycle", (119, 11, 32))
    assert len({c.color for c in classes}) == 19


def test_shipped_camvid_is_that_of_the_data() -> None:
    classes = read_classes(CONFIG / "camvid.yaml")
    assert len(classes) == 11
    assert classes[10] == SemanticClass(10, "bicyclist", (0, 128, 192))
    if "BISENET_DATA" not in os.environ:
        pytest.skip("BISENET_DATA is not set, so there is no data to compare with")
    assert classes == read_classes(Path(os.environ["BISENET_DATA"]) / "camvid" / "classes.txt")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.txt", "0 sky 1 2\n", "line 1 is '0 sky 1 2', not 'id name r g b'"),
        ("c.txt", "0 sky 1 2 3\n1 4 5 6\n", "class 1: name '' is empty"),
        ("c.txt", "zero sky 1 2 3\n", "line 1"),
        ("c.txt", "0 sky 1 2 3.5\n", "line 1"),
        ("c.txt", "", "0 classes; there must be 2 to 255"),
        ("c.txt", "0 sky 1 2 3\n", "1 classes"),
        ("c.txt", "\n".join(f"{i} c{i} 0 0 0" for i in range(257)), "256 classes"),
        ("c.txt", "0 sky 1 2 3\n2 road 1 2 3\n", "1 is missing"),
        ("c.txt", "0 sky 1 2 3\n0 road 1 2 3\n", "another id is given twice"),
        ("c.txt", "1 sky 1 2 3\n2 road 1 2 3\n", "0 is missing"),
        ("c.txt", "0 sky 1 2 3\n1 sky 1 2 3\n", "class 1: name 'sky' is empty or given twice"),
        ("c.txt", "0 sky 1 2 256\n1 road 1 2 3\n", r"'sky': color \(1, 2, 256\) must be three"),
        ("c.txt", "0 sky 1 2 3\n1 road -1 2 3\n", "'road': color"),
        ("c.txt", f"0 {'a' * 101} 1 2 3\n1 b 1 2 3\n", "class 0: name 'aaa.*at most 100 printable"),
        ("c.txt", "0 a\x1b[31m 1 2 3\n1 b 1 2 3\n", r"class 0: name 'a\\x1b\[31m' must be at most"),
        ("c.yaml", "classes: [", "not YAML"),
        ("c.yaml", "classes: &a [*a]", "line 1 has an alias"),
        ("c.yaml", "[" * 10000, "nested deeper than 20 levels"),
        (
            "c.yaml",
            f"classes: [{{id: 0, name: a, color: [0b{'1' * 90}, 2, 3]}}, "
            "{id: 1, name: b, color: [1, 2, 3]}]",
            "class 0 'a': color",
        ),
        ("c.yaml", "0 sky 1 2 3", "needs a list 'classes:'"),
        ("c.yaml", "classes: {sky: 0}", "needs a list 'classes:'"),
        ("c.yaml", "classes: [sky, road]", "entry 'sky' is not of the form"),
        ("c.yaml", "classes: [{id: 0, name: sky}]", "is not of the form"),
        ("c.yaml", "classes: [{id: 0, name: sky, color: [1, 2]}]", "is not of the form"),
        ("c.yaml", "classes: [{id: 0, name: sky, color: red}, 1]", "'sky': color|not of the form"),
        (
            "c.yaml",
            "classes: [{id: 0, name: off, color: [1, 2, 3]}, {id: 1, name: b, color: [1, 2, 3]}]",
            "class 0 False: the id must be a whole number and the name text",
        ),
        (
            "c.yaml",
            "classes: [{id: 0.0, name: a, color: [1, 2, 3]}, {id: 1, name: b, color: [1, 2, 3]}]",
            "class 0.0 'a': the id must be a whole number",
        ),
        (
            "c.yaml",
            "classes: [{id: 0, name: a, color: [1, 2, 0.5]}, {id: 1, name: b, color: [1, 2, 3]}]",
            r"color \(1, 2, 0.5\)",
        ),
    ],
)
def test_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path / name, text)
    with pytest.raises(ClassesError, match=message) as caught:
        read_classes(path)
    assert str(caught.value).startswith(f"class file {path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClassesError, match=r"cannot use class file: .*none\.txt: No such file"):
        read_classes(tmp_path / "none.txt")
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ClassesError, match=r"cannot use class file: .*x\.yaml is not UTF-8"):
        read_classes(tmp_path / "x.yaml")


@pytest.mark.parametrize("name", ["large.txt", "fifo.txt", "/dev/zero", ""])
def test_what_is_no_small_regular_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "large.txt").write_text("0 a 1 2 3\n" * 20_000)
    os.mkfifo(tmp_path / "fifo.txt")
    refused = "larger than 128 KiB|not a regular file|Is a directory"
    with pytest.raises(ClassesError, match=f"^cannot use class file: .*({refused}).*; give a .txt"):
        read_classes(tmp_path / name)


def test_the_longest_name(tmp_path: Path) -> None:
    name = "straße " * 14 + "ab"
    path = written(tmp_path / "c.txt", f"0 {name} 1 2 3\n1 b 1 2 3\n")
    assert read_classes(path)[0].name == name
    assert len(name) == 100


def test_palette() -> None:
    table = palette(check_classes([ROAD, SKY]))
    assert table.shape == (256, 3)
    assert table.dtype == np.uint8
    assert table[:2].tolist() == [[128, 128, 128], [128, 64, 127]]
    assert not table[2:].any()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.txt", "0 a 1 2 3\n255 void 0 0 0\n1 b 4 5 6\n255 egg 9 9 9\n"),
        (
            "c.yaml",
            "classes: [{id: 0, name: a, color: [1, 2, 3]}, {id: 255, name: void, color: [0, 0, 0]},"
            " {id: 1, name: b, color: [4, 5, 6]}, {id: 255, name: egg, color: [9, 9, 9]}]",
        ),
    ],
)
def test_id_255_defines_colors_of_unlabeled_pixels(name: str, text: str, tmp_path: Path) -> None:
    path = written(tmp_path / name, text)
    assert [entry.name for entry in read_classes(path)] == ["a", "b"]
    assert read_unlabeled_colors(path) == ((0, 0, 0), (9, 9, 9))
