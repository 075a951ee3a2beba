"""Image files: truncated, oversized, hidden or of the wrong format."""

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from bisenet_ros.errors import ImageFileError
from bisenet_ros.images.bit_depth import BitDepth
from bisenet_ros.images.encoded import decode_image
from bisenet_ros.images.files import files_below, header_size, is_image_file, read_image
from bisenet_ros.images.label_images import read_label_image
from bisenet_ros.images.render import write_picture

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)


@pytest.fixture
def jpeg(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    assert cv2.imwrite(str(path), PICTURE)
    return path


def test_a_truncated_jpeg_is_refused(jpeg: Path) -> None:
    assert read_image(jpeg).shape == PICTURE.shape
    whole = jpeg.read_bytes()
    jpeg.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageFileError, match=r"a\.jpg is truncated"):
        read_image(jpeg)


def test_data_after_the_end_of_a_jpeg_is_ignored(jpeg: Path) -> None:
    before = read_image(jpeg)
    jpeg.write_bytes(jpeg.read_bytes() + b"more of a camera")
    np.testing.assert_array_equal(read_image(jpeg), before)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".ppm"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_each_16_bit_value_is_scaled_by_the_depth(tmp_path: Path, suffix: str, bits: int) -> None:
    gray = np.arange(2**bits, dtype=np.uint16).reshape(-1, 32)
    color = np.stack([gray, np.flip(gray), gray[::-1]], -1)
    expected = np.rint(color * 255.0 / (2**bits - 1))
    path = tmp_path / f"a{suffix}"
    assert cv2.imwrite(str(path), color[..., ::-1])
    np.testing.assert_array_equal(read_image(path, BitDepth(bits)), expected)
    path = tmp_path / f"gray{'.pgm' if suffix == '.ppm' else suffix}"
    assert cv2.imwrite(str(path), gray)
    np.testing.assert_array_equal(read_image(path, BitDepth(bits)), expected[..., [0, 0, 0]])


def test_a_file_is_scaled_as_its_message_is(tmp_path: Path) -> None:
    """The file of a compressed message, which Pillow and OpenCV decode, gives the same pixels."""
    for suffix, channels in ((".png", 1), (".png", 3), (".pgm", 1)):
        deep = np.random.default_rng(channels).integers(0, 4096, (32, 48, channels), np.uint16)
        path = tmp_path / f"a{channels}{suffix}"
        assert cv2.imwrite(str(path), deep)
        decoded = decode_image(path.read_bytes())
        assert decoded.dtype == np.uint16
        rgb = BitDepth(12).scale(decoded.reshape(32, 48, -1))
        read = read_image(path, BitDepth(12))
        np.testing.assert_array_equal(read, np.broadcast_to(rgb.reshape(32, 48, -1), read.shape))


@pytest.mark.parametrize("maximum", [100, 1023, 4095])
def test_the_maximum_in_a_netpbm_header_is_white(tmp_path: Path, maximum: int) -> None:
    deep = np.arange(maximum + 1).astype(">u2" if maximum > 255 else "u1")
    path = tmp_path / "a.pgm"
    head = f"P5\n# a camera's\n{len(deep)} 1\n{maximum}\n".encode()
    path.write_bytes(head + deep.tobytes())
    expected = np.rint(np.arange(maximum + 1) * 255 / maximum)
    for bits in (10, 16):
        np.testing.assert_array_equal(read_image(path, BitDepth(bits))[0, :, 1], expected)
    decoded = decode_image(path.read_bytes())
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded[0], expected)
    misnamed = path.rename(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(misnamed)[0, :, 1], expected)
    head = f"P7\nWIDTH {len(deep)}\nHEIGHT 1\nDEPTH 1\nMAXVAL {maximum}\n"
    path.write_bytes(f"{head}TUPLTYPE GRAYSCALE\nENDHDR\n".encode() + deep.tobytes())
    np.testing.assert_array_equal(read_image(path)[0, :, 1], expected)


@pytest.mark.parametrize(("largest", "bits"), [(255, 8), (1023, 10), (4095, 12), (16383, 14)])
def test_a_dark_16_bit_file_is_warned_of_once(tmp_path: Path, largest: int, bits: int) -> None:
    warned: list[str] = []
    depth = BitDepth(warn=warned.append)
    for name, value in (("black", 0), ("bright", 16384), ("a", largest), ("b", largest)):
        path = tmp_path / f"{name}.png"
        assert cv2.imwrite(str(path), np.full((8, 8, 3), value, np.uint16))
        read_image(path, depth)
    assert warned == [
        f"{tmp_path}/a.png is dark: its largest value is {largest} of 65535. If its camera has "
        f"{bits} bits, pass --bit-depth {bits}"
    ]
    assert (read_image(tmp_path / "a.png", BitDepth(bits)) == 255).all()


def test_values_beyond_the_depth_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    assert cv2.imwrite(str(path), np.full((8, 8), 1024, np.uint16))
    with pytest.raises(
        ImageFileError, match=r"a\.tiff has the value 1024, but 10 bits end at 1023"
    ):
        read_image(path, BitDepth(10))
    with pytest.raises(ImageFileError, match="pass --bit-depth 12"):
        read_image(path, BitDepth(10))


def test_a_tiff_of_signed_values_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    assert cv2.imwrite(str(path), np.full((8, 8), 1024, np.int16))
    with pytest.raises(ImageFileError, match="has pixels of type int16: save it with 8 or 16 bits"):
        read_image(path)


def test_a_header_with_too_many_pixels_is_refused(tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    path = tmp_path / "huge.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + header
        + struct.pack(">I", zlib.crc32(header))
    )
    with pytest.raises(ImageFileError, match=r"huge\.png is not an image"):
        read_image(path)
    with pytest.raises(ImageFileError, match=r"huge\.png is not a readable label image"):
        read_label_image(path)


def test_jpeg_labels_are_refused(jpeg: Path) -> None:
    with pytest.raises(ImageFileError, match="a JPEG, which blurs labels: save them as PNG"):
        read_label_image(jpeg)


@pytest.mark.parametrize(
    ("suffix", "options", "cause"),
    [
        (".png", {"format": "JPEG"}, "is a JPEG, which blurs"),
        (".webp", {"quality": 95}, "is a lossy WebP, which blurs"),
        (".webp", {"quality": 95, "icc_profile": bytes(9001)}, "is a lossy WebP, which blurs"),
        (".tif", {"compression": "jpeg"}, "is a TIFF with JPEG compression, which blurs"),
        (".webp", {"lossless": True, "icc_profile": bytes(9001)}, ""),
        (".tif", {"compression": "tiff_lzw"}, ""),
        (".jpg", {"format": "PNG"}, ""),
    ],
)
def test_lossy_labels_are_refused_whatever_their_name(
    tmp_path: Path, suffix: str, options: dict[str, Any], cause: str
) -> None:
    """Blurred ids are valid ids of other classes."""
    labels = np.zeros((48, 64, 3), np.uint8)
    labels[10:30, 7:50] = 128, 64, 128
    path = tmp_path / f"a{suffix}"
    Image.fromarray(labels).save(path, **options)
    if cause:
        with pytest.raises(ImageFileError, match=cause):
            read_label_image(path)
    else:
        np.testing.assert_array_equal(read_label_image(path), labels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".tif", ".png", ".webp"])
def test_images_are_turned_exactly(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    for stored in (PICTURE, PICTURE[..., 0], np.uint16(PICTURE[..., 0]) * 257):
        if stored.dtype == np.uint16 and suffix == ".webp":
            continue
        Image.fromarray(stored).save(path, exif=exif, lossless=True)
        upright = np.asarray(ImageOps.exif_transpose(_with_orientation(stored, orientation)))
        gray = upright if upright.dtype == np.uint8 else upright // 257
        expected = gray if gray.ndim == 3 else gray[..., np.newaxis]
        read = read_image(path)
        np.testing.assert_array_equal(read, np.broadcast_to(expected, read.shape))


def _with_orientation(pixels: np.ndarray, orientation: int) -> Image.Image:
    """Return an image that ``ImageOps.exif_transpose`` turns."""
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    return image


@pytest.mark.parametrize(
    ("mode", "start"), [("I;16", b"II*\0"), ("I;16B", b"MM\0*"), ("L", b"II+\0")]
)
def test_labels_in_turned_tiffs_are_turned_like_images(
    tmp_path: Path, mode: str, start: bytes
) -> None:
    """The orientation is found in TIFF of either byte order, and in BigTIFF."""
    labels = np.arange(12).reshape(3, 4).astype({"I;16": "<u2", "I;16B": ">u2", "L": "u1"}[mode])
    image = Image.frombytes(mode, (4, 3), labels.tobytes())
    path = tmp_path / "a.tif"
    image.save(path, tiffinfo={0x0112: 6}, big_tiff=b"+" in start)
    assert path.read_bytes().startswith(start)
    np.testing.assert_array_equal(read_label_image(path), np.rot90(labels, -1))


def test_hidden_files_are_not_images() -> None:
    assert is_image_file(Path("a/b.PNG"))
    assert not is_image_file(Path("a/._b.png"))
    assert not is_image_file(Path("a/b.txt"))


def test_a_fifo_is_refused(tmp_path: Path) -> None:
    for suffix in ("png", "jpg"):
        path = tmp_path / f"a.{suffix}"
        os.mkfifo(path)
        assert header_size(path) is None
        for read in (read_image, read_label_image):
            with pytest.raises(ImageFileError, match=rf"a\.{suffix} is not a regular file: remove"):
                read(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_in_the_header_is_that_of_the_image(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.jpg", "a.png", "a.webp"):
        Image.new("RGB", (40, 24)).save(tmp_path / name, exif=exif)
        height, width = read_image(tmp_path / name).shape[:2]
        assert header_size(tmp_path / name) == (width, height)


def test_links_without_end_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.png").touch()
    for name in ("first", "second"):
        (tmp_path / "a" / name).symlink_to(tmp_path)
    assert files_below(tmp_path) == [tmp_path / "a" / "b" / "c.png"]


def test_hidden_folders_are_left_out(tmp_path: Path) -> None:
    for name in (".ipynb_checkpoints", "day.1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
    assert files_below(tmp_path) == [tmp_path / "day.1" / "a.png"]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "2026-05-01T12:30:00",
            "img_%04d",
            "100%",
            "-front",
            "a b [c]",
            "b\\c",
            "k\xf6ln",
            "\u65e5",
        ),
        os.fsdecode(b"latin-1 \xe4"),
    ],
)
def test_any_file_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    path = Path(f"{name}.png")
    write_picture(path, pixels)
    assert list(Path().iterdir()) == [path]
    np.testing.assert_array_equal(read_image(path), pixels)
    np.testing.assert_array_equal(read_label_image(path), pixels)


@pytest.mark.parametrize("suffix", [".tif", ".webp", ".png", ".gif"])
@pytest.mark.parametrize("name", ["own", "other"])
def test_files_of_several_pictures_are_refused_unless_others_are_thumbnails(
    tmp_path: Path, suffix: str, name: str
) -> None:
    pages = [Image.fromarray(np.full((48, 64, 3), value, np.uint8)) for value in (0, 100, 200)]
    path = tmp_path / f"a{suffix}"
    pages[0].save(path, save_all=True, append_images=pages[1:], lossless=True)
    path = path.rename(tmp_path / "b.bmp") if name == "other" else path
    for read in (read_image, read_label_image):
        if suffix == ".gif" and read is read_label_image:
            continue
        with pytest.raises(ImageFileError, match="has 3 pictures: save each in a file of its own"):
            read(path)
    if suffix == ".tif":
        pages[1].save(path, "TIFF", save_all=True, append_images=[pages[0].resize((16, 12))])
        np.testing.assert_array_equal(read_image(path), np.asarray(pages[1]))
