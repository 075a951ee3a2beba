"""Dataset reports: statistics, a sentence for every problem, and the sheet of samples."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from bisenet_ros.datasets import find_dataset
from bisenet_ros.datasets.report import check_dataset, propose_resolution
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
    assert lines[4] == "70.00% of all pixels are unlabeled"
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
        f"images/003.png is 64x64 and its labels {two_tone}/labels/003.png 8x8; they must have "
        "the same size",
        "labels/002.png has label 7",
        f"all pixels of {two_tone} are 'dark' or unlabeled, so there is nothing to learn",
    ]
    assert [image.name for image, _ in report.usable.pairs] == ["004.png"]
    assert report.usable.problems == ()
    assert set(report.details) == set(report.problems)
    assert "classes in no image, which cannot be learned: bright" in str(report)
    assert str(report).splitlines()[-1] == f"  {report.problems[-1]}"


def test_undefined_values_are_summed_up(two_tone: Path) -> None:
    colors = np.full((64, 64, 3), (10, 20, 30), np.uint8)
    colors[:8] = 152, 251, 152
    for number in range(5):
        colors[8:10] = 1 if number == 3 else (10, 20, 30)
        write_labels(two_tone, number, colors[..., ::-1])
    report = check_dataset(find_dataset(two_tone))
    rule = f"add the color to {two_tone}/classes.txt, as '255 void r g b' if it means no class"
    assert report.problems == (
        "color (152, 251, 152) is no class's: 5 files (labels/000.png, labels/001.png, "
        f"labels/002.png and 2 more), 12.50% of all pixels: {rule}",
        f"color (1, 1, 1) is no class's: 1 file (labels/003.png), 0.62% of all pixels: {rule}",
    )
    assert len(report.details) == 5
    assert report.details[3] == (
        f"{two_tone}/labels/003.png has colors (152, 251, 152) (512 pixels), (1, 1, 1) (128 "
        f"pixels); {rule}"
    )


def test_shares_are_those_of_all_pixels(two_tone: Path) -> None:
    for number in (1, 2):
        write_labels(two_tone, number, np.full((64, 64), 7, np.uint8))
    assert check_dataset(find_dataset(two_tone)).problems == (
        "label 7 is no class's: 2 files (labels/001.png, labels/002.png), 40.00% of all pixels: "
        "labels are 0 to 1 and 255 for no class",
    )


@pytest.mark.parametrize(("colors", "more"), [(12, "2"), (100, "290")])
def test_further_undefined_values_are_counted(two_tone: Path, colors: int, more: str) -> None:
    """There are at most 255 classes: more colors come from interpolation."""
    for number in range(3):
        labels = np.full((64, 64, 3), (0, 0, number if colors == 100 else 7), np.uint8)
        labels.reshape(-1, 3)[:, 1] = np.arange(64 * 64) % colors
        write_labels(two_tone, number, labels)
    *most, last = check_dataset(find_dataset(two_tone)).problems
    assert len(most) == 10
    assert all(problem.startswith("color (") for problem in most)
    blurred = ": were the labels resized with interpolation, or saved as JPEG?"
    assert last.startswith(f"{more} more values are no class's" + blurred * (colors == 100))
    assert ("JPEG" in last) == (colors == 100)


def test_problems_in_the_working_folder_are_summed_up(
    two_tone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(two_tone)
    for number, size in enumerate((8, 8, 9)):
        write_labels(two_tone, number, np.zeros((size, size), np.uint8))
    problems = check_dataset(find_dataset(Path())).problems
    assert problems == (
        "2 files: images/000.png is 64x64 and its labels labels/000.png 8x8; they must have the "
        "same size; likewise images/001.png",
        "images/002.png is 64x64 and its labels labels/002.png 9x9; they must have the same size",
    )


def test_equal_problems_of_files_are_summed_up(two_tone: Path) -> None:
    for number in range(4):
        write_labels(two_tone, number, np.zeros((8, 8), np.uint8))
    write_labels(two_tone, 4, np.zeros((8, 9), np.uint8))
    for number in range(7):
        (two_tone / "images" / f"a b{number}.JPG").touch()
    report = check_dataset(find_dataset(two_tone))
    assert report.problems == (
        f"7 files: {two_tone}/images/a b0.JPG has no labels; likewise images/a b1.JPG, images/a "
        "b2.JPG, images/a b3.JPG and 3 more",
        f"4 files: {two_tone}/images/000.png is 64x64 and its labels {two_tone}/labels/000.png "
        "8x8; they must have the same size; likewise images/001.png, images/002.png, "
        "images/003.png",
        f"{two_tone}/images/004.png is 64x64 and its labels {two_tone}/labels/004.png 9x8; they "
        "must have the same size",
    )
    assert len(report.details) == 12
    assert str(report).splitlines()[-4] == "problems: 3"


@pytest.mark.parametrize(
    ("size", "warns"), [((64, 64), True), ((64, 120), False), ((64, 128), False), ((64, 161), True)]
)
def test_a_resolution_of_another_aspect_is_warned_of(
    two_tone: Path, size: tuple[int, int], warns: bool
) -> None:
    """The pictures are 64x32; 1.25 times as wide or high is no matter."""
    for kind in ("images", "labels"):
        for path in (two_tone / kind).iterdir():
            pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert cv2.imwrite(str(path), pixels[:32])
    height, width = size
    report = check_dataset(find_dataset(two_tone), resolution=(width, height))
    assert report.problems == ()
    assert len(report.warnings) == warns
    assert check_dataset(find_dataset(two_tone)).warnings == ()


@pytest.mark.parametrize(
    ("picture", "resolution", "proposal"),
    [
        ((1242, 375), (480, 360), (736, 224)),  # KITTI
        ((375, 1242), (360, 480), (224, 736)),
        ((1920, 1080), (480, 360), (576, 320)),
        ((640, 480), (1024, 512), (864, 640)),
        ((4000, 100), (64, 64), (1280, 32)),
        ((100, 4000), (64, 64), (32, 1280)),
    ],
)
def test_proposed_resolutions_have_the_aspect_and_about_the_area(
    picture: tuple[int, int], resolution: tuple[int, int], proposal: tuple[int, int]
) -> None:
    aspect = picture[0] / picture[1]
    assert propose_resolution(aspect, resolution[0] * resolution[1]) == proposal


def test_pictures_turned_without_a_sign_in_their_size_are_warned_of(two_tone: Path) -> None:
    exif = Image.Exif()
    for number, orientation, height in ((1, 3, 32), (2, 6, 64), (3, 1, 64), (4, 6, 32)):
        image = np.zeros((height, 64, 3), np.uint8)
        exif[0x0112] = orientation
        Image.fromarray(image).save(two_tone / "images" / f"{number:03}.png", exif=exif)
        write_labels(two_tone, number, np.eye(height, 64, dtype=np.uint8))
    write_labels(two_tone, 4, np.eye(64, 32, dtype=np.uint8))  # fits after turning alone
    report = check_dataset(find_dataset(two_tone))
    assert report.problems == ()
    assert report.warnings == (
        "2 pictures turned by EXIF (images/001.png, images/002.png), with labels whose size fits "
        "before and after: they are taken to belong to the turned picture, which labeling tools "
        "show",
    )
    assert str(report).splitlines()[-2] == f"warning: {report.warnings[0]}"


def test_labels_without_any_class_are_a_fault(two_tone: Path) -> None:
    for number in range(5):
        write_labels(two_tone, number, np.full((64, 64), 255, np.uint8))
    assert check_dataset(find_dataset(two_tone)).problems == (
        f"all pixels of {two_tone} are unlabeled, so there is nothing to learn",
    )


def test_a_mask_of_0_and_255_is_a_fault(two_tone: Path) -> None:
    """Binary masks mean 255 as the second class, but here it is read as unlabeled."""
    for number in range(5):
        write_labels(two_tone, number, np.eye(64, dtype=np.uint8) * 255)
    assert check_dataset(find_dataset(two_tone)).problems == (
        f"all pixels of {two_tone} are 'dark' or unlabeled, so there is nothing to learn; if 255 "
        "is a class, as in masks of 0 and 255, save its id instead",
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
