"""Dataset reports: statistics, a sentence for every problem, and the sheet of samples."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from bisenet_ros.datasets import find_dataset
from bisenet_ros.datasets.report import check_dataset
from bisenet_ros.training.settings import Settings
from bisenet_ros.training.train_dataset import TrainDataset, sample_sheet


def write_labels(root: Path, number: int, labels: np.ndarray) -> None:
    assert cv2.imwrite(str(root / "labels" / f"{number:03}.png"), labels)


def test_figures_of_a_sound_dataset(two_tone: Path) -> None:
    labels = np.zeros((64, 64), np.uint8)
    write_labels(two_tone, 0, labels)
    labels[:16] = 1
    labels[32:] = 255
    write_labels(two_tone, 1, labels)
    for number in (2, 3, 4):
        write_labels(two_tone, number, np.full((64, 64), 255, np.uint8))
    seen: list[int] = []
    report = check_dataset(find_dataset(two_tone), lambda: seen.append(1))
    assert report.problems == ()
    assert report.sizes == {(64, 64): 5}
    assert report.pixels.tolist() == [64 * (64 + 16), 64 * 16, 64 * (32 + 3 * 64)]
    assert report.images_with.tolist() == [2, 1]
    assert len(report.usable) == len(seen) == 5
    lines = str(report).splitlines()
    assert lines[0] == "5 pairs can be used: 5 of 64x64"
    assert lines[2].split() == ["dark", "83.333%", "2"]
    assert lines[3].split() == ["bright", "16.667%", "1"]
    assert lines[4] == "70.00% of all pixels are unlabelled"
    assert lines[-1] == "problems: 0"


def test_every_fault_is_named(two_tone: Path) -> None:
    (two_tone / "images" / "000.png").unlink()
    (two_tone / "images" / "001.png").write_bytes(b"no image")
    write_labels(two_tone, 2, np.full((64, 64), 7, np.uint8))
    write_labels(two_tone, 3, np.zeros((8, 8), np.uint8))
    write_labels(two_tone, 4, np.zeros((64, 64), np.uint8))
    report = check_dataset(find_dataset(two_tone))
    assert [text.removeprefix(f"{two_tone}/").split(" (")[0] for text in report.problems] == [
        "labels/000.png has no image",
        "images/001.png is not an image that OpenCV can read: repair or remove it",
        "labels/002.png has label 7",
        f"images/003.png is 64x64 and its labels {two_tone}/labels/003.png 8x8; they must have "
        "the same size",
        f"all pixels of {two_tone} are 'dark' or unlabelled, so there is nothing to learn",
    ]
    assert [image.name for image, _ in report.usable.pairs] == ["004.png"]
    assert report.usable.problems == ()
    assert "classes in no image, which cannot be learned: bright" in str(report)
    assert str(report).splitlines()[-1] == f"  {report.problems[-1]}"


def test_labels_without_any_class_are_a_fault(two_tone: Path) -> None:
    for number in range(5):
        write_labels(two_tone, number, np.full((64, 64), 255, np.uint8))
    assert check_dataset(find_dataset(two_tone)).problems == (
        f"all pixels of {two_tone} are unlabelled, so there is nothing to learn",
    )


def test_a_mask_of_0_and_255_is_a_fault(two_tone: Path) -> None:
    """Binary masks mean 255 as the second class, but here it is read as unlabelled."""
    for number in range(5):
        write_labels(two_tone, number, np.eye(64, dtype=np.uint8) * 255)
    assert check_dataset(find_dataset(two_tone)).problems == (
        f"all pixels of {two_tone} are 'dark' or unlabelled, so there is nothing to learn",
    )


def test_only_the_most_common_sizes_are_listed(two_tone: Path) -> None:
    for number in range(5):
        size = 8 + 8 * number
        pixels = np.zeros((size, size), np.uint8)
        for kind in ("images", "labels"):
            assert cv2.imwrite(str(two_tone / kind / f"{number:03}.png"), pixels)
            assert cv2.imwrite(str(two_tone / kind / f"{number:03}b.png"), pixels[:, :4])
    first = str(check_dataset(find_dataset(two_tone))).splitlines()[0]
    assert first.startswith("10 pairs can be used: 1 of 8x8, 1 of 4x8, ")
    assert first.endswith(", others of 5 more sizes")


@pytest.mark.parametrize(("crop", "width"), [((64, 64), 64), ((960, 64), 480)])
def test_sheet_shows_samples_as_training_sees_them(
    two_tone: Path, crop: tuple[int, int], width: int
) -> None:
    settings = Settings(crop=crop, resolution=crop, scales=(1.0,), batch_size=2, iterations=1)
    samples = TrainDataset(find_dataset(two_tone), settings)
    sheet = sample_sheet(samples)
    assert sheet.shape[1] == 2 * (width + 4) - 4  # both samples in one row
    if width == 64:
        image, labels = (value.numpy() for value in samples[1])
        colors = np.float32([[10, 20, 30], [200, 210, 220]])[labels]
        expected = (np.moveaxis(image, 0, 2) + colors) / 2
        assert np.abs(sheet[:64, 68:132] - expected).max() <= 1
