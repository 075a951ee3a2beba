"""Label images with alpha, 16 bits, other types or an EXIF orientation."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from encoded_images import label_png
from PIL import Image, features

from bisenet_ros.errors import ImageFileError
from bisenet_ros.images.files import exif_orientation, read_image
from bisenet_ros.images.label_images import (
    read_label_image,
    read_label_image_and_palette,
    read_mask,
)

COLORS = [[128, 64, 128], [70, 130, 180], [0, 0, 0]]
TRANSPARENT = (
    r"label\.png has transparent pixels, which may have a class or none: save it without "
    "transparency, with 255 or a color of no class where pixels have no class"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "label.png"


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_opaque_alpha_is_dropped_and_other_alpha_refused(path: Path, mode: str) -> None:
    values = np.uint8([COLORS]) if mode == "RGBA" else np.uint8([[[0], [2], [255]]])
    opacity = np.full((1, 3, 1), 255, np.uint8)
    Image.fromarray(np.concatenate([values, opacity], axis=2), mode=mode).save(path)
    np.testing.assert_array_equal(
        read_label_image(path), values if mode == "RGBA" else values[..., 0]
    )
    opacity[0, 1] = 254
    Image.fromarray(np.concatenate([values, opacity], axis=2), mode=mode).save(path)
    with pytest.raises(ImageFileError, match=TRANSPARENT):
        read_label_image(path)


def test_unlabeled_pixels_may_be_transparent(path: Path) -> None:
    Image.fromarray(np.uint8([[[1, 255], [255, 0]]]), mode="LA").save(path)
    assert read_label_image(path).tolist() == [[1, 255]]
    path.write_bytes(label_png(np.uint8([[1, 255]]), tRNS=b"\0\xff"))
    assert read_label_image(path).tolist() == [[1, 255]]
    palette = dict(PLTE=bytes(range(256)) * 3, tRNS=b"\xff" * 255 + b"\0")
    path.write_bytes(label_png(np.uint8([[1, 255]]), 3, **palette))
    assert read_label_image(path).tolist() == [[1, 255]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("color_type", [0, 3])
def test_transparent_values_are_refused(path: Path, color_type: int, bits: int) -> None:
    """The class 1 may be transparent to be seen through, or because it is none."""
    clear = {"tRNS": b"\0\1"} if color_type == 0 else {"PLTE": bytes(6), "tRNS": b"\xff\0"}
    path.write_bytes(label_png(np.uint8([[0, 1, 0]]), color_type, bits, **clear))
    with pytest.raises(ImageFileError, match=TRANSPARENT):
        read_label_image(path)
    path.write_bytes(label_png(np.uint8([[0, 0, 0]]), color_type, bits, **clear))
    assert read_label_image(path).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_16_bit_ids_are_read(path: Path, suffix: str) -> None:
    path = path.with_suffix(suffix)
    assert cv2.imwrite(str(path), np.uint16([[0, 2, 1, 254, 255, 65535]]))
    labels = read_label_image(path)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[0, 2, 1, 254, 255, 255]]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([0, 256], r"value 256; class ids are at most 254, and 255 or 65535 for no class: save"),
        ([7, *range(26000, 26008)], r"values 26000, .*26004 and 3 more; .*: save class ids, not"),
        ([0, 257, 514], r"values 257, 514; .*: divide them by 257, they look like 8-bit ids"),
    ],
)
def test_larger_16_bit_values_are_named(path: Path, values: list[int], reason: str) -> None:
    assert cv2.imwrite(str(path), np.uint16([values]))
    with pytest.raises(ImageFileError, match=rf"label\.png has the 16-bit {reason}"):
        read_label_image(path)


@pytest.mark.parametrize(
    ("dtype", "channels"), [(np.int32, 1), (np.float32, 1), (np.float32, 4), (np.uint16, 3)]
)
def test_other_types_are_refused(path: Path, dtype: type, channels: int) -> None:
    path = path.with_suffix(".tif")
    assert cv2.imwrite(str(path), np.zeros((2, 2, channels), dtype))
    text = f"has {channels} channels of {np.dtype(dtype)}: save class ids in one channel of 8 or 16"
    with pytest.raises(ImageFileError, match=text):
        read_label_image(path)


def test_palettes_of_too_many_pixels_are_refused(path: Path) -> None:
    data = bytearray(label_png(np.uint8([[0]]), 3, PLTE=bytes(3)))
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    with pytest.raises(ImageFileError, match=r"label\.png is not a readable label image"):
        read_label_image(path)


def test_labels_turned_by_exif_are_refused(path: Path) -> None:
    exif = Image.Exif()
    for orientation in (1, 3):
        exif[0x0112] = orientation
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(path, exif=exif)
        assert exif_orientation(path) == orientation
        if orientation == 1:
            assert read_label_image(path).max() == 0
    text = "turned by its EXIF orientation 3 in viewers, but labels are read as stored: turn it, or"
    with pytest.raises(ImageFileError, match=text):
        read_label_image(path)


def test_orientations_that_mean_nothing_are_ignored(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path.with_suffix(".jpg"), exif=exif)
    assert exif_orientation(path.with_suffix(".jpg")) == 1
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
    assert exif_orientation(path) == 1
    path.write_bytes(b"no image")
    assert exif_orientation(path) == 1


@pytest.mark.parametrize("suffix", [".bmp", ".tif"])
def test_palettes_of_other_formats_give_indices_too(tmp_path: Path, suffix: str) -> None:
    """OpenCV gives their colors, and of gray palettes one channel, as if it were ids."""
    path = tmp_path / f"a{suffix}"
    image = Image.fromarray(np.uint8([[0, 1, 2]]), mode="P")
    for palette in ([(9 * k, 9 * k, 9 * k) for k in range(3)], [(0, 0, 9), (9, 0, 0), (0, 9, 0)]):
        image.putpalette([value for color in palette for value in color])
        image.save(path)
        labels, colors = read_label_image_and_palette(path)
        assert labels.tolist() == [[0, 1, 2]]
        assert colors[:3] == palette


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".pgm"])
def test_labels_of_1_bit_are_refused_where_white_may_be_0(tmp_path: Path, suffix: str) -> None:
    """OpenCV gives 255 for white, which is no class."""
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.array([[False, True]])).save(path, "PPM" if suffix == ".pgm" else None)
    with pytest.raises(ImageFileError, match="has 1 bit a pixel, and in its format white may be"):
        read_label_image(path)


@pytest.mark.parametrize("format_", ["JPEG2000", "GIF", "AVIF"])
def test_labels_of_other_formats_are_refused_whatever_their_name(path: Path, format_: str) -> None:
    """OpenCV reads them, but most blur."""
    if format_ == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow was built without AVIF")
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(path, format_)
    assert read_image(path).shape == (48, 64, 3)
    with pytest.raises(ImageFileError, match="is not a readable label image: save it as PNG"):
        read_label_image(path)


@pytest.mark.parametrize("color_type", [0, 3])
def test_a_png_that_lacks_rows_is_refused(path: Path, color_type: int) -> None:
    """Pillow would fill them with class 0."""
    whole = label_png(np.ones((8, 8), np.uint8), color_type, **{"PLTE": bytes(768)})
    path.write_bytes(whole)
    assert (read_label_image(path) == 1).all()
    head = whole.index(b"IHDR") + 8
    path.write_bytes(_with_height(whole, head, 16))
    with pytest.raises(ImageFileError, match="is not a readable label image"):
        read_label_image(path)


def _with_height(png: bytes, at: int, height: int) -> bytes:
    """Return a PNG whose header, of which ``at`` is the height, states another height."""
    start = at - 8
    header = png[start:at] + struct.pack(">I", height) + png[at + 4 : at + 9]
    return png[:start] + header + struct.pack(">I", zlib.crc32(header)) + png[at + 13 :]


def test_a_damaged_bmp_with_a_palette_is_refused(tmp_path: Path) -> None:
    """Pillow raises a ValueError."""
    body = bytes([0, 2, 5, 3, 4, 7, 0, 1])  # a delta, then the end
    palette = bytes(1024)
    header = struct.pack("<IiiHHIIiiII", 40, 32, 24, 1, 8, 1, len(body), 0, 0, 256, 0)
    path = tmp_path / "a.bmp"
    offset = 14 + 40 + len(palette)
    start = b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset)
    path.write_bytes(start + header + palette + body)
    with pytest.raises(ImageFileError, match="is not a readable label image"):
        read_label_image(path)


@pytest.mark.parametrize("read", [read_image, read_label_image, read_mask])
def test_a_file_that_cannot_be_read_is_named_with_the_reason(read: Callable[[Path], Any]) -> None:
    """As one without permission, which root would read."""
    with pytest.raises(ImageFileError, match=r"^cannot read /proc/self/mem: Input/output error$"):
        read(Path("/proc/self/mem"))


def half(value: Any, other: Any, dtype: type = np.uint8) -> np.ndarray:
    """Return pixels with ``value`` in the upper half and ``other`` in the lower one."""
    return np.array([[value] * 6] * 2 + [[other] * 6] * 2, dtype)


@pytest.mark.parametrize(
    "pixels",
    [
        half(1, 0),
        half(255, 0),
        half(1, 0, np.uint16),
        half((0, 0, 1), (0, 0, 0)),
        half((0, 255, 0, 255), (0, 0, 0, 255)),
    ],
    ids=["small", "gray", "16 bits", "color", "opaque"],
)
def test_a_mask_is_what_is_not_black(tmp_path: Path, pixels: np.ndarray) -> None:
    path = tmp_path / "mask.png"
    assert cv2.imwrite(str(path), pixels)
    np.testing.assert_array_equal(read_mask(path), half(True, False, np.bool_))


@pytest.mark.parametrize(
    ("name", "pixels", "reason"),
    [
        ("a.png", half((255, 255, 255, 255), (0, 0, 0, 0)), "has transparent pixels: paint white"),
        ("a.png", half((0, 0, 0, 255), (0, 0, 0, 0)), "has transparent pixels: paint white"),
        ("a.png", half(0, 0), "is black everywhere: paint white what it covers"),
        ("a.png", half(1, 2), "is not black anywhere: paint white what it covers"),
        ("a.jpg", half(255, 0), "is a JPEG, which blurs a mask: save it as PNG"),
        ("a.tif", half(1.0, 0.0, np.float32), "is not an image of 8 or 16 bits: save it as PNG"),
    ],
)
def test_a_mask_of_doubtful_meaning_is_refused(
    tmp_path: Path, name: str, pixels: np.ndarray, reason: str
) -> None:
    assert cv2.imwrite(str(tmp_path / name), pixels)
    with pytest.raises(ImageFileError, match=rf"{name} {reason}"):
        read_mask(tmp_path / name)
