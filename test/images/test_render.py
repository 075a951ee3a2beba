"""Rendering: exact colors and blends, layout of legends and contact sheets, error messages."""

import resource
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bisenet_ros.classes import SemanticClass, palette
from bisenet_ros.images.render import (
    BACKGROUND,
    GAP,
    colorize,
    contact_sheet,
    legend,
    overlay,
    write_picture,
)

CLASSES = (
    SemanticClass(0, "road", (200, 100, 0)),
    SemanticClass(1, "sky", (10, 20, 30)),
    SemanticClass(2, "traffic sign", (255, 0, 255)),
)
PALETTE = palette(CLASSES)
LABELS = np.array([[0, 1], [2, 255], [0, 7]], np.uint8)


def gray(value: int, height: int = 3, width: int = 2) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


def test_colorize_looks_up_every_label_value() -> None:
    table = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)
    labels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    np.testing.assert_array_equal(colorize(labels, table), table[labels])


def test_colorize_is_rgb_and_black_without_a_class() -> None:
    expected = [
        [(200, 100, 0), (10, 20, 30)],
        [(255, 0, 255), (0, 0, 0)],
        [(200, 100, 0), (0, 0, 0)],
    ]
    np.testing.assert_array_equal(colorize(LABELS, PALETTE), np.array(expected, np.uint8))


@pytest.mark.parametrize("shape", [(1, 1), (97, 161), (720, 1280)])
def test_any_size_and_any_strides(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, (shape[0], 2 * shape[1]), np.uint8)[:, ::2]
    image = rng.integers(0, 256, (*shape, 4), np.uint8)[..., :3]
    np.testing.assert_array_equal(colorize(labels, PALETTE), PALETTE[labels])
    np.testing.assert_array_equal(overlay(image, labels, PALETTE, 1.0), PALETTE[labels])
    np.testing.assert_array_equal(overlay(image, labels, PALETTE, 0.0), image)


def test_overlay_blends_by_alpha() -> None:
    mixed = overlay(gray(100), LABELS, PALETTE, 0.25)
    assert mixed[0, 0].tolist() == [125, 100, 75]  # 0.75 * 100 + 0.25 * (200, 100, 0)
    assert mixed[0, 1].tolist() == [78, 80, 82]  # 77.5 and 82.5 round to even
    assert mixed[1, 0].tolist() == [139, 75, 139]  # 138.75


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_overlay_leaves_unlabeled_pixels_unchanged(alpha: float) -> None:
    image = np.random.default_rng(2).integers(0, 256, (40, 50, 3), np.uint8)
    labels = np.full((40, 50), 255, np.uint8)
    np.testing.assert_array_equal(overlay(image, labels, PALETTE, alpha), image)


def test_overlay_does_not_change_its_arguments() -> None:
    image, labels = gray(100), LABELS.copy()
    overlay(image, labels, PALETTE, 0.5)
    np.testing.assert_array_equal(image, gray(100))
    np.testing.assert_array_equal(labels, LABELS)


def test_errors_name_the_values() -> None:
    with pytest.raises(ValueError, match=r"image is 4x3 and its labels are 2x3"):
        overlay(gray(0, 3, 4), LABELS, PALETTE, 0.5)
    for alpha in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=f"alpha is {alpha}"):
            overlay(gray(0), LABELS, PALETTE, alpha)
    with pytest.raises(ValueError, match=r"labels are int64 \(3, 2\)"):
        colorize(LABELS.astype(np.int64), PALETTE)
    with pytest.raises(ValueError, match=r"palette is uint8 \(3, 3\)"):
        colorize(LABELS, PALETTE[:3])
    with pytest.raises(ValueError, match=r"image is uint8 \(3, 2\)"):
        overlay(LABELS, LABELS, PALETTE, 0.5)


def test_legend_has_each_color_and_a_name_beside_it() -> None:
    picture = legend(CLASSES, width=900, row=28)
    assert picture.shape == (28, 900, 3)
    for entry in CLASSES:
        rows, columns = np.nonzero((picture == entry.color).all(-1))
        assert len(rows) >= 150  # the swatch is filled
        beside = picture[:, columns.max() + 3 : columns.max() + 43]
        assert beside.max() > 200  # the name is drawn


def test_legend_wraps_and_cuts_off() -> None:
    assert legend(CLASSES, width=200, row=28).shape == (84, 200, 3)
    assert legend(CLASSES, width=30, row=28).shape == (84, 30, 3)


def test_contact_sheet_is_a_grid_in_reading_order() -> None:
    sheet = contact_sheet([gray(v, 6, 8) for v in (10, 20, 30, 40, 50)], columns=3)
    assert sheet.shape == (6 + GAP + 6, 3 * 8 + 2 * GAP, 3)
    for place, value in enumerate((10, 20, 30, 40, 50)):
        top, left = place // 3 * (6 + GAP), place % 3 * (8 + GAP)
        assert (sheet[top : top + 6, left : left + 8] == value).all()
    assert (sheet[6 + GAP :, 2 * (8 + GAP) :] == BACKGROUND).all()  # the grid has no sixth image
    assert (sheet[6 : 6 + GAP] == BACKGROUND).all()
    assert contact_sheet([gray(1, 6, 8)], columns=3).shape == (6, 8, 3)


def test_contact_sheet_scales_to_the_first_and_keeps_aspects() -> None:
    sheet = contact_sheet([gray(10, 6, 8), gray(20, 12, 16), gray(30, 3, 8)], columns=1)
    assert sheet.shape == (3 * 6 + 2 * GAP, 8, 3)
    assert (sheet[6 + GAP : 12 + GAP] == 20).all()
    third = sheet[12 + 2 * GAP :, 0, 0].tolist()
    assert third == [32, 30, 30, 30, 32, 32]  # 8x3 in 8x6: bars above and below


def test_contact_sheet_puts_the_legend_below() -> None:
    sheet = contact_sheet([gray(10, 6, 8)], legend=gray(99, 5, 4))
    assert sheet.shape == (6 + GAP + 5, 8, 3)
    assert (sheet[6 + GAP :, :4] == 99).all()
    assert (sheet[6 + GAP :, 4:] == BACKGROUND).all()
    wide = contact_sheet([gray(10, 6, 8)], legend=gray(99, 10, 16))
    assert wide.shape == (6 + GAP + 5, 8, 3)
    assert (wide[6 + GAP :] == 99).all()


def test_contact_sheet_errors() -> None:
    with pytest.raises(ValueError, match="0 images in 3 columns"):
        contact_sheet([])
    with pytest.raises(ValueError, match="1 images in 0 columns"):
        contact_sheet([gray(1)], columns=0)
    with pytest.raises(ValueError, match=r"image is float64"):
        contact_sheet([gray(1), gray(1).astype(float)])


def test_written_files_have_the_colors_of_the_image(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = np.zeros((16, 24, 3), np.uint8)
    image[:8] = (200, 100, 0)
    write_picture(tmp_path / "colors.png", image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "colors.png"))[..., ::-1], image)
    write_picture(tmp_path / "labels.png", image[..., 0])
    np.testing.assert_array_equal(
        cv2.imread(str(tmp_path / "labels.png"), cv2.IMREAD_UNCHANGED), image[..., 0]
    )
    for quality in (20, 95):
        write_picture(tmp_path / f"{quality}.jpg", image, quality)
    assert (tmp_path / "20.jpg").stat().st_size < (tmp_path / "95.jpg").stat().st_size
    assert capfd.readouterr().err == ""
    with pytest.raises(OSError, match=r"cannot write .*no/such\.png: No such file or directory"):
        write_picture(tmp_path / "no" / "such.png", image)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_that_is_cut_off_is_an_error(tmp_path: Path, suffix: str) -> None:
    """OpenCV does not notice it where its buffer takes the whole file, as of most labels."""
    labels = np.zeros((64, 96), np.uint8)
    path = tmp_path / f"a{suffix}"
    write_picture(path, labels)
    size = path.stat().st_size
    assert size < 4096
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, before[1]))
    try:
        with pytest.raises(OSError, match=rf"cannot write {path}: File too large"):
            write_picture(path, labels)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not path.exists()


def test_a_picture_beyond_its_format_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    with pytest.raises(OSError, match=rf"cannot write {path}: OpenCV cannot encode 70000x1 pixels"):
        write_picture(path, np.zeros((1, 70000), np.uint8))
    assert not path.exists()
