"""Cityscapes: official folders, label ids and train ids, fine and coarse labels."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from cityscapesscripts.helpers.labels import labels as official
from numpy.typing import NDArray

from bisenet_ros.datasets import find_dataset, open_dataset
from bisenet_ros.datasets.cityscapes import LABEL_IDS
from bisenet_ros.errors import ClassesError, DatasetError

FRAMES = ("aachen/aachen_000000_000019", "aachen/aachen_000001_000019", "ulm/ulm_000000_000019")


def write(root: Path, kind: str, split: str, name: str, pixels: NDArray[np.uint8]) -> Path:
    path = root / kind / split / name
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write three frames of two cities; labels have every id in each row, blue is the frame."""
    ids = np.tile(np.uint8([*range(34), 255]), (4, 1))
    for number, frame in enumerate(FRAMES):
        image = np.full((4, 35, 3), (number, 0, 9), np.uint8)
        write(tmp_path, "leftImg8bit", "train", f"{frame}_leftImg8bit.png", image)
        write(tmp_path, "gtFine", "train", f"{frame}_gtFine_labelIds.png", ids)
        # Other files in the official archive.
        write(tmp_path, "gtFine", "train", f"{frame}_gtFine_instanceIds.png", ids)
        write(tmp_path, "gtFine", "train", f"{frame}_gtFine_color.png", image)
    return tmp_path


def test_ids_are_those_of_the_official_scripts(root: Path) -> None:
    dataset = open_dataset(root)
    labels = dataset[1][1]
    for entry in official:
        if entry.id >= 0:
            assert (labels[:, entry.id] == entry.trainId).all(), entry.name
    assert (labels[:, 34] == 255).all()  # -1, the license plate, in 8 bits
    assert dataset[1][0][0, 0].tolist() == [9, 0, 1]
    trained = sorted((e.trainId, e.name, e.color) for e in official if 0 <= e.trainId < 255)
    assert [(e.id, e.name, e.color) for e in dataset.classes] == trained


def test_exactly_the_official_ids_are_defined() -> None:
    known = {entry.id for entry in official if entry.id >= 0} | {255}
    assert set(np.flatnonzero(LABEL_IDS.table >= 0)) == known


def test_cities_are_walked_in_order(root: Path) -> None:
    dataset = open_dataset(root, "cityscapes", "train")
    names = [image.name.removesuffix("_leftImg8bit.png") for image, _ in dataset.pairs]
    assert names == [frame.split("/")[1] for frame in FRAMES]
    assert all(label.name.endswith("_labelIds.png") for _, label in dataset.pairs)


def test_cities_may_be_symlinks(root: Path) -> None:
    before = len(open_dataset(root))
    for kind in ("leftImg8bit", "gtFine"):
        city = root / kind / "train" / "ulm"
        city.rename(root / f"{kind}_ulm")
        city.symlink_to(root / f"{kind}_ulm")
    assert len(open_dataset(root)) == before == 3


def test_train_ids_are_used_if_there_are_no_label_ids(root: Path) -> None:
    for frame in FRAMES:
        path = root / "gtFine" / "train" / f"{frame}_gtFine_labelIds.png"
        path.unlink()
        ids = np.tile(np.uint8([*range(19), *[255] * 16]), (4, 1))
        write(root, "gtFine", "train", f"{frame}_gtFine_labelTrainIds.png", ids)
    np.testing.assert_array_equal(open_dataset(root).read_labels(0), ids)
    ids[0, 0] = 19
    write(root, "gtFine", "train", f"{FRAMES[0]}_gtFine_labelTrainIds.png", ids)
    with pytest.raises(DatasetError, match=r"labelTrainIds.png has label 19 \(1 pixels\); the tr"):
        open_dataset(root).read_labels(0)


def test_coarse_labels(root: Path) -> None:
    road, car = np.full((4, 35), 7, np.uint8), np.full((4, 35), 26, np.uint8)
    extra = "bonn/bonn_000000_000019"
    for frame in FRAMES:
        write(root, "gtCoarse", "train", f"{frame}_gtCoarse_labelIds.png", road)
    write(root, "gtCoarse", "train_extra", f"{extra}_gtCoarse_labelIds.png", car)
    image = np.zeros((4, 35, 3), np.uint8)
    write(root, "leftImg8bit", "train_extra", f"{extra}_leftImg8bit.png", image)

    coarse = open_dataset(root, "cityscapes-coarse", "train+train_extra")
    assert [int(coarse.read_labels(i).max()) for i in range(4)] == [0, 0, 0, 13]
    assert len(np.unique(open_dataset(root, split="train").read_labels(0))) == 20
    both = open_dataset(root, split="train+train_extra")
    assert len(np.unique(both.read_labels(0))) == 20
    assert (both.read_labels(3) == 13).all()


def test_missing_parts_are_named(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"no folder .*leftImg8bit/val; .*leftImg8bit has train"):
        open_dataset(root, split="val")
    with pytest.raises(DatasetError, match=r"gtCoarse/train; .*gtCoarse is missing or empty"):
        open_dataset(root, "cityscapes-coarse")
    for frame in FRAMES[1:]:
        (root / "gtFine" / "train" / f"{frame}_gtFine_labelIds.png").unlink()
    (root / "leftImg8bit" / "train" / f"{FRAMES[0]}_leftImg8bit.png").unlink()
    faults = find_dataset(root).problems
    assert [fault.split("/train/")[1] for fault in faults] == [
        f"{FRAMES[1]}_leftImg8bit.png has no labels",
        f"{FRAMES[2]}_leftImg8bit.png has no labels",
        f"{FRAMES[0]}_gtFine_labelIds.png has no image",
    ]
    (root / "gtFine" / "train" / f"{FRAMES[0]}_gtFine_labelIds.png").unlink()
    with pytest.raises(DatasetError, match=r"gtFine/train has no files \*_gtFine_labelIds{.png}"):
        open_dataset(root)


def test_bad_labels_are_named(root: Path) -> None:
    name = f"{FRAMES[0]}_gtFine_labelIds.png"
    write(root, "gtFine", "train", name, np.uint8([[7, 34, 34, 99]]))
    text = r"labelIds.png has labels 34 \(2 pixels\), 99 \(1 pixels\); the ids of Cityscapes are 0"
    with pytest.raises(DatasetError, match=text):
        open_dataset(root).read_labels(0)
    write(root, "gtFine", "train", name, np.zeros((4, 35, 3), np.uint8))
    text = r"labelIds.png has color \(0, 0, 0\) .*; labels of Cityscapes have one channel of ids"
    with pytest.raises(DatasetError, match=text):
        open_dataset(root).read_labels(0)


def test_own_classes_count(root: Path) -> None:
    """The ids of the label files are then those of classes.txt, as in the other layouts."""
    (root / "classes.txt").write_text("0 other 9 9 9\n1 road 128 64 128\n255 void 0 0 0\n")
    ids = np.tile(np.uint8([0, 1, 1, 255, 0]), (4, 7))
    for frame in FRAMES:
        write(root, "gtFine", "train", f"{frame}_gtFine_labelIds.png", ids)
    dataset = open_dataset(root)
    assert [(e.name, e.color) for e in dataset.classes] == [
        ("other", (9, 9, 9)),
        ("road", (128, 64, 128)),
    ]
    np.testing.assert_array_equal(dataset[0][1], ids)
    colors = np.uint8([[9, 9, 9], [128, 64, 128]])[np.minimum(ids, 1)]
    colors[ids == 255] = 0
    name = f"{FRAMES[0]}_gtFine_labelIds.png"
    write(root, "gtFine", "train", name, colors[..., ::-1])
    np.testing.assert_array_equal(dataset.read_labels(0), ids)
    write(root, "gtFine", "train", name, ids * 7)
    with pytest.raises(DatasetError, match=r"has labels 7 .*; labels are 0 to 1 and 255"):
        dataset.read_labels(0)


def test_own_classes_prefer_train_ids(root: Path) -> None:
    """Whoever defines own classes keeps the raw ids in labelIds, which may have gaps."""
    (root / "classes.txt").write_text("0 other 9 9 9\n1 road 128 64 128\n")
    for frame in FRAMES:
        write(root, "gtFine", "train", f"{frame}_gtFine_labelTrainIds.png", np.eye(4, 35))
    dataset = open_dataset(root)
    assert {label.name.rpartition("_")[2] for _, label in dataset.pairs} == {"labelTrainIds.png"}
    np.testing.assert_array_equal(dataset.read_labels(0), np.eye(4, 35))


def test_own_colors_of_the_official_classes_leave_the_ids_official(root: Path) -> None:
    before = open_dataset(root)
    lines = [f"{e.id} {e.name.replace(' ', '_')} {e.id} 1 2\n" for e in before.classes]
    (root / "classes.txt").write_text("".join(lines))
    dataset = open_dataset(root)
    assert dataset.classes[13].color == (13, 1, 2)
    np.testing.assert_array_equal(dataset.read_labels(0), before.read_labels(0))
    (root / "classes.txt").write_text("".join(lines[:-1]))
    with pytest.raises(
        DatasetError, match=r"has labels 18 .*; labels are 0 to 17 and 255 .*; remove it"
    ):
        open_dataset(root).read_labels(0)


def test_malformed_own_classes_are_refused(root: Path) -> None:
    (root / "classes.txt").write_text("0 other 9 9\n")
    with pytest.raises(ClassesError, match="line 1"):
        open_dataset(root)
