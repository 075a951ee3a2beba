"""COCO-Stuff: the .mat files of the 10K release, and pixel maps."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from bisenet_ros.datasets import find_dataset, open_dataset
from bisenet_ros.datasets.cocostuff import read_labels
from bisenet_ros.datasets.dataset import read_list
from bisenet_ros.errors import DatasetError, ImageFileError

# github.com/nightrome/cocostuff, Label Names & Indices: things without annotations.
WITHOUT_ANNOTATIONS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}


def lists(root: Path, **splits: list[str]) -> None:
    (root / "imageLists").mkdir()
    for split, names in splits.items():
        (root / "imageLists" / f"{split}.txt").write_text("".join(f"{n}\n" for n in names))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write three images in train and two in test; labels have every official id."""
    names = [f"COCO_train2014_{number:012}" for number in range(5)]
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    for name in names:
        image = np.zeros((2, 183, 3), np.uint8)
        assert cv2.imwrite(str(tmp_path / "images" / f"{name}.jpg"), image)
        ids = np.tile(np.arange(183, dtype=np.uint16), (2, 1))
        # names is a cell array, as in the release.
        stored = {"S": ids, "names": np.full((182, 1), "name", object), "captions": "c"}
        savemat(tmp_path / "annotations" / f"{name}.mat", stored)
    lists(tmp_path, train=names[:3], test=names[3:], all=names)
    return tmp_path


def test_171_of_the_182_ids_count(root: Path) -> None:
    labels = open_dataset(root)[0][1][1]
    assert set(np.flatnonzero(labels == 255)) == {0} | WITHOUT_ANNOTATIONS
    counted = labels[labels != 255]
    np.testing.assert_array_equal(counted, np.arange(171))
    names = [entry.name for entry in open_dataset(root).classes]
    assert len(names) == 171
    # Entries of nightrome/cocostuff's labels.txt on both sides of the gaps.
    official = {1: "person", 11: "fire hydrant", 13: "stop sign", 27: "backpack", 90: "toothbrush"}
    official |= {92: "banner", 149: "road", 182: "wood"}
    assert {id_: names[labels[id_]] for id_ in official} == official


def test_pixel_maps_have_ids_lower_by_one(root: Path) -> None:
    expected = open_dataset(root).read_labels(0)
    for path in (root / "annotations").iterdir():
        path.unlink()
        ids = np.tile(np.uint8([255, *range(182)]), (2, 1))
        assert cv2.imwrite(str(path.with_suffix(".png")), ids)
    np.testing.assert_array_equal(open_dataset(root).read_labels(0), expected)
    ids[0, 0] = 182
    assert cv2.imwrite(str(path.with_suffix(".png")), ids)
    with pytest.raises(DatasetError, match=r"has label 182 \(1 pixels\); the ids of the pixel map"):
        dataset = open_dataset(root, split="all")
        [dataset.read_labels(index) for index in range(5)]


def test_lists_are_the_splits(root: Path) -> None:
    names = {
        s: [p.stem[-1] for p, _ in open_dataset(root, split=s).pairs] for s in ("train", "val")
    }
    assert names == {"train": ["0", "1", "2"], "val": ["3", "4"]}
    assert open_dataset(root, split="test").pairs == open_dataset(root, split="val").pairs
    with pytest.raises(DatasetError, match=r"no .*imageLists/dev.txt; .* has all, test, train"):
        open_dataset(root, "cocostuff", "dev")


def test_missing_files_are_named(root: Path) -> None:
    (root / "images" / "COCO_train2014_000000000001.jpg").unlink()
    (root / "annotations" / "COCO_train2014_000000000002.mat").unlink()
    with (root / "imageLists" / "train.txt").open("a") as file:
        file.write("COCO_train2014_000000000077\n")
    faults = [fault.replace(f"{root}/", "") for fault in find_dataset(root).problems]
    assert faults == [
        "imageLists/train.txt lists 'COCO_train2014_000000000077', which has no image and no "
        "labels",
        "images/COCO_train2014_000000000002.jpg has no labels",
        "annotations/COCO_train2014_000000000001.mat has no image",
    ]


def test_bad_annotations_are_named(root: Path) -> None:
    path = root / "annotations" / "COCO_train2014_000000000000.mat"
    dataset = open_dataset(root)
    for stored, text in (
        ({"S": np.full((2, 183), 183, np.uint16)}, r"000.mat has label 183 \(366 pixels\)"),
        ({"S": np.full((2, 183), 300, np.uint16)}, r"labels that are not 8-bit ids; the ids of"),
        ({"S": np.full((2, 183), 1.5)}, r"labels that are not 8-bit ids"),
        ({"S": np.full((2, 183), np.nan)}, r"labels that are not 8-bit ids"),
        (
            {"S": np.ones((2, 183)), "names": np.full((1, 172), "name", object)},
            r"000.mat has 172 class names instead of 182: it is of version 1.0",
        ),
        ({"T": np.zeros((2, 183))}, r"000.mat has no label map S"),
    ):
        savemat(path, stored)
        with pytest.raises(DatasetError, match=text):
            dataset.read_labels(0)
    savemat(path, {"S": np.full((2, 183), 2.0)})  # MATLAB's default type
    assert (dataset.read_labels(0) == 1).all()
    for content in (b"", b"no mat file" * 30, path.read_bytes()[:150]):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"000.mat is not a readable .mat file: .+"):
            dataset.read_labels(0)


@pytest.mark.parametrize("maps", ["annotations", "stuffthingmaps"])
def test_pixel_maps_of_coco_2017(tmp_path: Path, maps: str) -> None:
    for split, kind in (("train2017", 0), ("val2017", 1)):
        for folder, suffix in (("images", ".jpg"), (maps, ".png")):
            (tmp_path / folder / split).mkdir(parents=True)
            pixels = np.full((2, 2), kind, np.uint8)
            assert cv2.imwrite(str(tmp_path / folder / split / f"000000000009{suffix}"), pixels)
    assert (open_dataset(tmp_path, split="train").read_labels(0) == 0).all()
    assert (open_dataset(tmp_path, split="val").read_labels(0) == 1).all()
    assert len(open_dataset(tmp_path, split="train+val")) == 2
    with pytest.raises(DatasetError, match=r"no folder .*images/test2017"):
        open_dataset(tmp_path, "cocostuff", "test")


def test_own_classes_count_for_pixel_maps_alone(root: Path) -> None:
    (root / "classes.txt").write_text("0 mine 1 2 3\n1 other 4 5 6\n")
    with pytest.raises(DatasetError, match=r"classes.txt has other classes than COCO-Stuff, "):
        open_dataset(root)
    for path in (root / "annotations").iterdir():
        path.unlink()
        assert cv2.imwrite(str(path.with_suffix(".png")), np.eye(2, 183))
    dataset = open_dataset(root)
    assert [entry.name for entry in dataset.classes] == ["mine", "other"]
    np.testing.assert_array_equal(dataset.read_labels(0), np.eye(2, 183))


def test_a_label_file_that_is_a_fifo_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mat")
    with pytest.raises(ImageFileError, match=r"a\.mat is not a regular file: remove it"):
        read_labels(tmp_path / "a.mat")


@pytest.mark.parametrize("content", [b"\xff\xfe", None], ids=["binary", "fifo"])
def test_a_list_that_is_no_text_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "train.txt"
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"cannot use a split's list: .*train\.txt is not"):
        read_list(path, ())


def test_names_in_lists_may_have_spaces_and_dots(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes(b"my 1.png\r\nmy 2\r\n2026.05\r\n/a/my.png /b/my_L.png\r\nmissing one\r\n")
    known = {"my", "my_L", "my 1", "my 2", "2026.05", "2026"}
    assert read_list(path, known) == {"my", "my 1", "my 2", "2026.05", "missing"}
