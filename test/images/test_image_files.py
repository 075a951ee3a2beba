"""Image files: truncated, oversized, hidden or of the wrong format."""

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from bisenet_ros.errors import ImageFileError
from bisenet_ros.images.files import files_below, is_image_file, read_image, read_label_image
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


def test_hidden_files_are_not_images() -> None:
    assert is_image_file(Path("a/b.PNG"))
    assert not is_image_file(Path("a/._b.png"))
    assert not is_image_file(Path("a/b.txt"))


def test_a_fifo_is_refused(tmp_path: Path) -> None:
    for suffix in ("png", "jpg"):
        path = tmp_path / f"a.{suffix}"
        os.mkfifo(path)
        for read in (read_image, read_label_image):
            with pytest.raises(ImageFileError, match=rf"a\.{suffix} is not a regular file: remove"):
                read(path)


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
