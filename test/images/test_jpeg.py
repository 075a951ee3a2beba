"""JPEGs without an end mark, cut off, with a trailer, or several in one file."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from bisenet_ros.errors import ImageError, ImageFileError
from bisenet_ros.images.encoded import decode_image
from bisenet_ros.images.files import read_image
from bisenet_ros.images.jpeg import EOI, SOI, JpegLayout

VARIANTS = {
    "baseline": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restart intervals": [cv2.IMWRITE_JPEG_RST_INTERVAL, 2],
    "optimized": [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
    "no subsampling": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111],
}


def encoded(options: list[int] | None = None, seed: int = 0) -> bytes:
    """A JPEG of 50x40 pixels, half of them noise and half flat."""
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
    pixels[20:] = 128
    ok, data = cv2.imencode(".jpg", pixels, options or [])
    assert ok
    return data.tobytes()


def segment(code: int, body: bytes) -> bytes:
    return bytes([0xFF, code]) + (len(body) + 2).to_bytes(2, "big") + body


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a b.jpg"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("padding", [b"", b"\xff", bytes(512)], ids=["cut", "half", "zeros"])
def test_a_missing_end_mark_alone_is_no_damage(variant: str, padding: bytes, path: Path) -> None:
    whole = encoded(VARIANTS[variant])
    path.write_bytes(whole)
    from_file, from_message = read_image(path), decode_image(whole)
    unmarked = whole.removesuffix(EOI) + padding
    assert JpegLayout(unmarked).end is None
    path.write_bytes(unmarked)
    np.testing.assert_array_equal(read_image(path), from_file)
    np.testing.assert_array_equal(decode_image(unmarked), from_message)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("padding", [b"", bytes(4096)], ids=["cut", "zeros"])
def test_no_truncated_picture_passes_for_a_whole_one(variant: str, padding: bytes) -> None:
    whole = encoded(VARIANTS[variant])
    true = decode_image(whole)
    for end in range(4, len(whole) - 2, 7):
        cut = whole[:end] + padding
        if not JpegLayout(cut).is_truncated():
            np.testing.assert_array_equal(decode_image(cut), true)  # only padding was lost
            assert end > 0.9 * len(whole)


def test_a_truncated_file_or_message_is_refused(path: Path) -> None:
    for variant in VARIANTS.values():
        whole = encoded(variant)
        for kept in (0.3, 0.8):
            cut = whole[: int(kept * len(whole))]
            path.write_bytes(cut)
            with pytest.raises(ImageFileError, match=r"a b\.jpg is (truncated|not an image)"):
                read_image(path)
            with pytest.raises(ImageError, match="is damaged or cut off"):
                decode_image(cut)


@pytest.mark.parametrize("between", [b"", bytes(100), b"\r\n"])
@pytest.mark.parametrize("marked", [True, False], ids=["marked", "unmarked"])
def test_several_pictures_are_refused(between: bytes, marked: bool, path: Path) -> None:
    first = encoded() if marked else encoded().removesuffix(EOI)
    glued = first + between + encoded(seed=1)
    path.write_bytes(glued)
    with pytest.raises(ImageFileError) as refused:
        read_image(path)
    assert str(refused.value) == (
        f"{path} has several pictures, like an MJPEG stream: split it with `ffmpeg -f mjpeg -i "
        f"'{path}' -c copy frame_%06d.jpg`"
    )
    with pytest.raises(ImageError, match="has several pictures: let the driver publish one"):
        decode_image(glued)


TRAILERS = {
    "text": b"more of a camera",
    "motion photo": b"\0\0\0\x18ftypmp42" + bytes(50) + SOI + b"\xff",
    "Samsung": b"\0\0\x01\n\x0e\0\0\0Image_UTC_Data16" + encoded(seed=1) + b"SEFT",
}


@pytest.mark.parametrize("name", TRAILERS)
def test_the_trailer_of_a_camera_is_ignored(name: str, path: Path) -> None:
    whole = encoded()
    path.write_bytes(whole)
    before = read_image(path)
    path.write_bytes(whole + TRAILERS[name])
    np.testing.assert_array_equal(read_image(path), before)
    np.testing.assert_array_equal(decode_image(whole + TRAILERS[name]), decode_image(whole))


@pytest.mark.parametrize(
    "announcement",
    [
        segment(0xE2, b"MPF\0II*\0"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<Container:Directory>"),
    ],
    ids=["Multi-Picture Format", "XMP container"],
)
def test_announced_pictures_are_ignored(announcement: bytes, path: Path) -> None:
    """Gain maps, depth maps and previews of phones."""
    whole = SOI + announcement + encoded()[2:]
    path.write_bytes(whole + encoded(seed=1))
    np.testing.assert_array_equal(decode_image(path.read_bytes()), decode_image(encoded()))
    assert read_image(path).shape == (40, 50, 3)


def test_a_thumbnail_in_the_header_is_no_second_picture(path: Path) -> None:
    path.write_bytes(SOI + segment(0xE1, b"Exif\0\0" + encoded(seed=1)) + encoded()[2:])
    np.testing.assert_array_equal(decode_image(path.read_bytes()), decode_image(encoded()))
    assert read_image(path).shape == (40, 50, 3)


def test_a_jpeg_of_another_name_is_checked_too(path: Path) -> None:
    named = path.with_suffix(".png")
    named.write_bytes(encoded() + encoded(seed=1))
    with pytest.raises(ImageFileError, match="has several pictures"):
        read_image(named)


def test_damaged_segments_are_left_to_the_decoder() -> None:
    rng = np.random.default_rng(0)
    whole = np.frombuffer(encoded(VARIANTS["progressive"]), np.uint8)
    for _ in range(300):
        damaged = whole.copy()
        damaged[rng.integers(2, whole.size, 10)] = rng.integers(0, 256, 10)
        data = damaged[: rng.integers(3, whole.size)].tobytes()
        layout = JpegLayout(data)
        assert layout.end is None or layout.end <= len(data)
        layout.is_truncated()


@pytest.mark.parametrize(
    "hostile",
    [
        b"\xff" * 10**7,
        b"\xff\x01" * 10**6,
        segment(0xC0, bytes(6) + bytes(range(255)) * 3) * 10**4,
        b"\xff\xd9" + b"\xff" * 10**7,
    ],
    ids=["fill", "markers", "frames", "filled trailer"],
)
def test_hostile_data_takes_no_time(hostile: bytes) -> None:
    """Quadratic or even linear work in Python would take minutes."""
    layout = JpegLayout(SOI + hostile)
    assert not layout.is_stream
    assert layout.is_truncated() == (layout.end is None)
