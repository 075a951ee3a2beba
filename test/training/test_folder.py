"""The dataset folder: what it reads, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bisenet_ros.classes import ClassesError
from bisenet_ros.training.folder import DatasetError, open_folder


def test_pairs_are_sorted_and_rgb(
    write_folder: Callable[[list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]], Path],
) -> None:
    rng = np.random.default_rng(1)
    samples = [
        (rng.integers(0, 256, (6, 8, 3), np.uint8), rng.choice(np.uint8([0, 1, 255]), (6, 8)))
        for _ in range(11)
    ]
    folder = open_folder(write_folder(samples))
    assert len(folder) == 11
    assert [entry.name for entry in folder.classes] == ["dark", "bright"]
    for index, (image, labels) in enumerate(samples):
        read_image, read_labels = folder[index]
        np.testing.assert_array_equal(read_image, image)
        np.testing.assert_array_equal(read_labels, labels)
        np.testing.assert_array_equal(folder.read_labels(index), labels)


def test_classes_may_lie_in_the_folder_above(two_tone: Path) -> None:
    (two_tone / "classes.txt").rename(two_tone.parent / "classes.txt")
    assert len(open_folder(two_tone).classes) == 2


def test_grey_images_become_rgb_and_suffixes_may_differ(two_tone: Path) -> None:
    grey = np.full((64, 64), 77, np.uint8)
    (two_tone / "images" / "000.png").unlink()
    assert cv2.imwrite(str(two_tone / "images" / "000.bmp"), grey)
    assert (open_folder(two_tone)[0][0] == 77).all()
    assert open_folder(two_tone)[0][0].shape == (64, 64, 3)


def test_missing_and_empty_folders(two_tone: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no folder .*nowhere/images"):
        open_folder(tmp_path / "nowhere")
    for path in (two_tone / "labels").iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(DatasetError, match=r"labels holds no images \(.png"):
        open_folder(two_tone)


def test_files_without_a_partner_are_named(two_tone: Path) -> None:
    (two_tone / "labels" / "003.png").unlink()
    (two_tone / "images" / "001.png").unlink()
    with pytest.raises(DatasetError, match=r"'001' is in only one .*\(2 such names\)"):
        open_folder(two_tone)


def test_two_files_of_one_name_are_refused(two_tone: Path) -> None:
    (two_tone / "images" / "002.jpg").write_bytes((two_tone / "images" / "002.png").read_bytes())
    with pytest.raises(DatasetError, match=r"002.jpg and 002.png have one name"):
        open_folder(two_tone)


def test_missing_and_malformed_classes(two_tone: Path) -> None:
    (two_tone / "classes.txt").write_text("0 dark 1 2\n")
    with pytest.raises(ClassesError, match="line 1"):
        open_folder(two_tone)
    (two_tone / "classes.txt").unlink()
    with pytest.raises(DatasetError, match=r"no classes.txt in .* or in the folder above"):
        open_folder(two_tone)


def test_sizes_that_differ_are_named(two_tone: Path) -> None:
    assert cv2.imwrite(str(two_tone / "labels" / "001.png"), np.zeros((32, 48), np.uint8))
    with pytest.raises(DatasetError, match=r"001.png is 64x64 and its labels .*001.png 48x32"):
        open_folder(two_tone)[1]


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (np.full((64, 64), 2, np.uint8), "has label 2; labels are 0 to 1 and 255"),
        (np.full((64, 64), 254, np.uint8), "has label 254"),
        (np.zeros((64, 64), np.uint16), "not an 8-bit single-channel label image"),
        (np.zeros((64, 64, 3), np.uint8), "not an 8-bit single-channel label image"),
    ],
)
def test_bad_label_images_are_named(two_tone: Path, labels: NDArray, text: str) -> None:
    assert cv2.imwrite(str(two_tone / "labels" / "004.png"), labels)
    with pytest.raises(DatasetError, match=f"004.png.*{text}"):
        open_folder(two_tone)[4]


def test_a_broken_image_is_named(two_tone: Path) -> None:
    (two_tone / "images" / "000.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"000.png is not a readable image"):
        open_folder(two_tone)[0]
