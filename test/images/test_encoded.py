"""Encoded images: every format against OpenCV, and files that claim more than they hold."""

import random
import struct

import cv2
import numpy as np
import pytest
from encoded_images import bmp, huge_gif, png

from bisenet_ros.errors import ImageError
from bisenet_ros.images.encoded import MAX_JPEG_SCANS, decode_image


def picture() -> np.ndarray:
    """Smooth colors that survive JPEG, uint8 [H,W,3] RGB."""
    x, y = np.meshgrid(np.linspace(0, 255, 64), np.linspace(0, 255, 48))
    return np.stack([x, y, np.full_like(x, 40)], -1).astype(np.uint8)


def encoded(suffix: str, pixels: np.ndarray, *options: int) -> bytes:
    written, data = cv2.imencode(suffix, pixels, options)
    assert written
    return data.tobytes()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".ppm", ".webp"])
def test_pixels_are_those_of_opencv(suffix: str) -> None:
    data = encoded(suffix, picture()[..., ::-1])
    rgb = decode_image(data)
    assert rgb.dtype == np.uint8
    assert rgb.flags.writeable
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(rgb, bgr[..., ::-1])


def test_alpha_is_dropped_and_gray_stays_gray() -> None:
    gray = picture()[..., 0]
    np.testing.assert_array_equal(decode_image(encoded(".png", gray)), gray)
    with_alpha = np.dstack([picture()[..., ::-1], gray])
    np.testing.assert_array_equal(decode_image(encoded(".png", with_alpha)), picture())


@pytest.mark.parametrize("suffix", [".png", ".pgm"])
def test_sixteen_bits_of_gray_are_kept(suffix: str) -> None:
    deep = picture()[..., 0].astype(np.uint16) * 257 + np.arange(64, dtype=np.uint16)
    result = decode_image(encoded(suffix, deep))
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result, deep)


def test_a_jpeg_of_a_webcam_has_no_huffman_tables() -> None:
    data = encoded(".jpg", picture())
    plain = data
    while (at := plain.find(b"\xff\xc4")) >= 0:
        (length,) = struct.unpack(">H", plain[at + 2 : at + 4])
        plain = plain[:at] + plain[at + 2 + length :]
    assert len(plain) < len(data)
    np.testing.assert_array_equal(decode_image(plain), decode_image(data))


@pytest.mark.parametrize(
    "data",
    [
        huge_gif(),
        png(60000, 60000),
        bmp(30000, -30000),
        b"P6 100000 100000 255\n",
        # A size in the header of a JPEG or WebP that its data does not have.
        encoded(".jpg", picture()).replace(struct.pack(">HH", 48, 64), b"\xff\xdc\xff\xdc"),
        encoded(".webp", picture()).replace(
            struct.pack("<I", 63 | 47 << 14), struct.pack("<I", 8999 | 8999 << 14)
        ),
    ],
    ids=["gif", "png", "bmp", "ppm", "jpeg", "webp"],
)
def test_an_image_above_the_limit_is_refused_by_its_header(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"has \d{4,}x\d{4,} pixels, more than max_image_pixels"):
        decode_image(data)


def test_a_frame_of_a_gif_cannot_be_larger_than_the_limit_either() -> None:
    with pytest.raises(ImageError, match=r"30000x30000|900000000"):
        decode_image(huge_gif(screen=1, frame=30000))
    with pytest.raises(ImageError, match="8200x8200 pixels, more than"):
        decode_image(huge_gif(screen=1, frame=8200))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_limit_is_included(suffix: str) -> None:
    data = encoded(suffix, picture())
    assert decode_image(data, 64 * 48).shape == (48, 64, 3)
    with pytest.raises(ImageError, match="has 64x48 pixels, more than max_image_pixels = 3071"):
        decode_image(data, 64 * 48 - 1)


def test_an_interlaced_png_without_pixels_is_damaged() -> None:
    with pytest.raises(ImageError, match="is damaged or cut off"):
        decode_image(png(512, 512, b"\0" * 100, interlaced=True))


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    progressive = encoded(".jpg", picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert decode_image(progressive).shape == (48, 64, 3)
    last = progressive[progressive.rindex(b"\xff\xda") : -2]
    with pytest.raises(ImageError, match="has more than 100 scans"):
        decode_image(progressive[:-2] + last * MAX_JPEG_SCANS + b"\xff\xd9")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".gif"])
def test_data_that_is_cut_off_or_of_another_format_is_refused(suffix: str) -> None:
    data = encoded(suffix, picture())
    with pytest.raises(ImageError, match="is damaged or cut off"):
        decode_image(data[: len(data) // 2])
    with pytest.raises(ImageError, match="no picture in a known format"):
        decode_image(b"\0" + data)


def test_damaged_data_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(0)
    sources = [encoded(s, picture()) for s in (".jpg", ".png", ".webp", ".gif", ".bmp", ".ppm")]
    lost = 0
    for _ in range(600):
        data = bytearray(rng.choice(sources))
        for _ in range(rng.randrange(1, 20)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            assert decode_image(bytes(data), 1024**2).size <= 3 * 1024**2
        except ImageError:
            lost += 1
    assert 100 < lost < 600
    assert capfd.readouterr() == ("", "")
