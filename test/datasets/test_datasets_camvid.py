"""CamVid: the original release, the 11-class version, and color labels in folders by split."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bisenet_ros.datasets import find_dataset, open_dataset, recognize
from bisenet_ros.datasets.camvid import MERGED, READER, segnet_split
from bisenet_ros.errors import DatasetError

# Each class with the entries of the release's label_colors.txt that it merges.
RELEASE = """\
sky         128 128 128 Sky
building    128 0 0 Building, 192 0 128 Archway, 0 128 64 Bridge, 64 0 64 Tunnel, 64 192 0 Wall
pole        192 192 128 Column_Pole, 0 0 64 TrafficCone
road        128 64 128 Road, 128 0 192 LaneMkgsDriv, 192 0 64 LaneMkgsNonDriv
pavement    0 0 192 Sidewalk, 64 192 128 ParkingBlock, 128 128 192 RoadShoulder
tree        128 128 0 Tree, 192 192 0 VegetationMisc
sign_symbol 192 128 128 SignSymbol, 128 128 64 Misc_Text, 0 64 64 TrafficLight
fence       64 64 128 Fence
car         64 0 128 Car, 64 128 192 SUVPickupTruck, 192 128 192 Truck_Bus, 192 64 128 Train, \
128 64 64 OtherMoving
pedestrian  64 64 0 Pedestrian, 192 128 64 Child, 64 0 192 CartLuggagePram, 64 128 64 Animal
bicyclist   0 128 192 Bicyclist, 192 0 192 MotorcycleScooter
void        0 0 0 Void
"""

# One frame of each drive, and the first and last frames around the borders of the splits.
TRAIN = ("0001TP_006690", "0001TP_008520", "0006R0_f00930", "0016E5_00390", "0016E5_08160")
VAL = ("0016E5_07959", "0016E5_08159")
TEST = ("0001TP_008550", "Seq05VD_f00000")


def write(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)


@pytest.fixture
def palette() -> NDArray[np.uint8]:
    """Return a label image [1,32,3] with each color of the release once."""
    return np.uint8([[color for merged in MERGED.values() for color in merged.values()]])


@pytest.fixture
def original(tmp_path: Path, palette: NDArray[np.uint8]) -> Path:
    for name in (*TRAIN, *VAL, *TEST):
        write(tmp_path / "701_StillsRaw_full" / f"{name}.png", np.zeros((1, 32, 3), np.uint8))
        write(tmp_path / "LabeledApproved_full" / f"{name}_L.png", palette)
    return tmp_path


def stems(root: Path, split: str) -> tuple[str, ...]:
    return tuple(image.stem for image, _ in open_dataset(root, split=split).pairs)


def test_32_colors_become_11_classes(original: Path) -> None:
    dataset = open_dataset(original)
    assert dataset[0][1][0].tolist() == [id_ for id_, merged in MERGED.items() for _ in merged]
    names = {entry.id: entry.name for entry in dataset.classes} | {255: "void"}
    lines = [
        f"{names[id_]} " + ", ".join(f"{r} {g} {b} {n}" for n, (r, g, b) in merged.items())
        for id_, merged in MERGED.items()
    ]
    assert lines == [" ".join(line.split()) for line in RELEASE.strip().splitlines()]
    assert len(dict(READER.colors)) == 32


def test_segnets_split(original: Path) -> None:
    assert stems(original, "train") == TRAIN
    assert stems(original, "val") == VAL
    assert stems(original, "test") == TEST
    assert stems(original, "train+val") == (*TRAIN, *VAL)
    with pytest.raises(DatasetError, match=r"no split 'extra': create a list .*extra.txt"):
        open_dataset(original, split="extra")


def test_the_counts_of_two_drives_by_split() -> None:
    # The frames in the release: every 30th of 0001TP, and the 15 Hz part of 0016E5.
    names = [f"0001TP_{frame:06}" for frame in range(6690, 10381, 30)]
    names += [f"0016E5_{frame:05}" for frame in range(7959, 8160, 2)]
    assert Counter(map(segnet_split, names)) == {"train": 62, "test": 62, "val": 101}


def test_lists_make_other_splits(original: Path) -> None:
    (original / "mine.txt").write_text("/x/train/0006R0_f00930.png /y/0006R0.png\n\n0016E5_07959\n")
    assert stems(original, "mine") == ("0006R0_f00930", "0016E5_07959")
    (original / "mine.txt").write_text("0006R0_f00930\n0006R0_f00931\n")
    text = r"mine.txt lists '0006R0_f00931', which has no image and no labels"
    with pytest.raises(DatasetError, match=text):
        open_dataset(original, split="mine")


def test_missing_labels_are_named(original: Path) -> None:
    (original / "LabeledApproved_full" / f"{TRAIN[1]}_L.png").unlink()
    (original / "701_StillsRaw_full" / f"{TRAIN[2]}.png").unlink()
    assert [fault.rpartition("/")[2] for fault in find_dataset(original).problems] == [
        f"{TRAIN[1]}.png has no labels",
        f"{TRAIN[2]}_L.png has no image",
    ]
    assert stems(original, "val") == VAL
    for path in (original / "LabeledApproved_full").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"LabeledApproved_full has no files \*_L{"):
        open_dataset(original)


def test_files_in_subfolders_are_named(original: Path) -> None:
    folder = original / "701_StillsRaw_full"
    (folder / "more").mkdir()
    for name in ("1.png", "2.png"):
        write(folder / "more" / name, np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"_full/more has 2 files that are not read; move them"):
        open_dataset(original)


def test_foreign_colors_are_named(original: Path, palette: NDArray[np.uint8]) -> None:
    palette[0, 3:5] = 1, 2, 3
    write(original / "LabeledApproved_full" / f"{TRAIN[0]}_L.png", palette)
    text = rf"{TRAIN[0]}_L.png has color \(1, 2, 3\) \(2 pixels\); the colors of CamVid are"
    with pytest.raises(DatasetError, match=text):
        open_dataset(original).read_labels(0)


def test_the_11_class_form(tmp_path: Path) -> None:
    ids = np.uint8([[*range(12), 255]])
    for split in ("train", "val"):
        write(tmp_path / split / "a.png", np.zeros((1, 13, 3), np.uint8))
        write(tmp_path / f"{split}annot" / "a.png", ids)
    dataset = open_dataset(tmp_path, split="train+val")
    assert len(dataset) == 2
    assert dataset[1][1][0].tolist() == [*range(11), 255, 255]
    write(tmp_path / "valannot" / "a.png", ids + 1)
    with pytest.raises(DatasetError, match=r"valannot/a.png has label 12 \(1 pixels\); the ids of"):
        open_dataset(tmp_path, "camvid", "val").read_labels(0)
    with pytest.raises(DatasetError, match=r"there is no folder .*/test"):
        open_dataset(tmp_path, "camvid", "test")


def test_folders_with_a_class_file_are_not_taken_for_camvid(tmp_path: Path) -> None:
    for name in ("train", "trainannot"):
        (tmp_path / name).mkdir()
    assert recognize(tmp_path, "train") == "camvid"
    (tmp_path / "classes.txt").write_text("0 mine 1 2 3\n1 other 4 5 6\n")
    assert recognize(tmp_path, "train") is None


def test_colors_in_folders_by_split(tmp_path: Path, palette: NDArray[np.uint8]) -> None:
    write(tmp_path / "train" / "0016E5_00390.png", np.zeros((1, 32, 3), np.uint8))
    write(tmp_path / "train_labels" / "0016E5_00390_L.png", palette)
    assert open_dataset(tmp_path)[0][1][0, -3:].tolist() == [10, 10, 255]


def test_own_classes_count(tmp_path: Path) -> None:
    """The layout has to be named: many folders of other data are called like these."""
    ids = np.uint8([[0, 1, 2, 255]])
    write(tmp_path / "train" / "a.png", np.zeros((1, 4, 3), np.uint8))
    write(tmp_path / "trainannot" / "a.png", ids)
    (tmp_path / "classes.txt").write_text("0 mine 1 2 3\n1 other 4 5 6\n2 third 7 8 9\n")
    dataset = open_dataset(tmp_path, "camvid")
    assert [entry.name for entry in dataset.classes] == ["mine", "other", "third"]
    np.testing.assert_array_equal(dataset.read_labels(0), ids)
    write(tmp_path / "trainannot" / "a.png", np.uint8([[3, 0, 0, 0]]))
    with pytest.raises(DatasetError, match=r"has label 3 .*; labels are 0 to 2 and 255"):
        dataset.read_labels(0)


def test_palettes_of_optimized_label_images_are_read_by_color(tmp_path: Path) -> None:
    """Optimizers save images of few colors with a palette: here sky would have been building."""
    write(tmp_path / "train" / "a.png", np.zeros((1, 3, 3), np.uint8))
    (tmp_path / "train_labels").mkdir()
    image = Image.fromarray(np.uint8([[0, 1, 2]]), mode="P")
    image.putpalette([0, 0, 0, 128, 128, 128, 128, 0, 192])
    image.save(tmp_path / "train_labels" / "a_L.png")
    assert open_dataset(tmp_path).read_labels(0).tolist() == [[255, 0, 3]]
