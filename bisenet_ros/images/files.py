"""Image files: which files are images, and reading them.

Images are turned by their EXIF orientation, as viewers and labeling tools do.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from shlex import quote
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.errors import ImageError, ImageFileError
from bisenet_ros.images.bit_depth import FULL_RANGE, BitDepth, scale_to_8_bits
from bisenet_ros.images.encoded import netpbm_maximum
from bisenet_ros.images.jpeg import SOI, JpegLayout
from bisenet_ros.images.tiff import TIFF_STARTS, decode_quarter_turned

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")

OTHER_SUFFIXES = (
    *(".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl", ".pnm", ".tga"),
    *(".arw", ".cr2", ".cr3", ".dng", ".nef"),
)
"""Suffixes of pictures that are not read."""

PNG_START = b"\x89PNG\r\n\x1a\n"
RIFF_START = b"RIFF"

STACK_STARTS = (*TIFF_STARTS, RIFF_START, PNG_START, b"GIF8")
"""First bytes of files that can have several pictures, of which OpenCV reads the first."""

JPEG_SUFFIXES = (".jpg", ".jpeg")
NETPBM_HEADER = 4096
"""Bytes in which the header of a Netpbm file ends, unless its comments are longer."""

_EXIF_ORIENTATION = 0x0112


def is_image_file(path: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> bool:
    """Return whether ``path`` has one of ``suffixes``, in any case, and is not hidden.

    Archives made on macOS have a hidden ``._a.png``, which is not an image, next to ``a.png``.
    """
    return path.suffix.lower() in suffixes and not path.name.startswith(".")


def unread_pictures(folder: Path, paths: Iterable[Path]) -> list[str]:
    """Return a sentence on those of ``paths``, in ``folder``, that are pictures of other types."""
    found = sorted(path for path in paths if is_image_file(path, OTHER_SUFFIXES))
    if not found:
        return []
    types = ", ".join(sorted({path.suffix.lower() for path in found}))
    return [
        f"{folder} has pictures of types that are not read ({types}): {len(found)}, such as "
        f"{found[0].name}; convert them to PNG or JPEG, or move them elsewhere"
    ]


def files_below(folder: Path) -> list[Path]:
    """Return all files in ``folder`` and its subfolders, following symlinks, sorted by path.

    Hidden subfolders, such as ``.ipynb_checkpoints``, are left out.

    A folder that several paths lead to is entered once: links to folders above them have no end,
    and chains of links have exponentially many paths.
    """
    found: list[Path] = []
    entered: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent, name) for name in names]
    return sorted(found)


def check_regular(path: Path) -> None:
    """Raise ImageFileError unless ``path`` is a regular file or a link to one.

    Libraries that are given a FIFO wait for its writer, and not even Ctrl-C ends them.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ImageFileError(f"cannot read {path}: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise ImageFileError(f"{path} is not a regular file: remove it")


def read_image(path: str | Path, depth: BitDepth = FULL_RANGE) -> NDArray[np.uint8]:
    """Read an image as uint8 [H,W,3] RGB.

    Args:
        path: of the image.
        depth: number of bits of the values in 16-bit images, which are scaled to 8 bits.

    Raises:
        ImageFileError: not a regular file that can be read, not an image that OpenCV can read,
            truncated, several pictures in one file, or with values of other types than 8 or 16
            bits or beyond ``depth``.
    """
    path = Path(path)
    check_regular(path)
    image = decode_file(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image is None:
        raise ImageFileError(f"{path} is not an image that OpenCV can read: repair or remove it")
    _check_jpeg(path)
    check_single(path)
    rgb: NDArray[Any] = cv2.cvtColor(_to_8_bits(image, path, depth), cv2.COLOR_BGR2RGB)
    return rgb.astype(np.uint8, copy=False)


def _to_8_bits(image: NDArray[Any], path: Path, depth: BitDepth) -> NDArray[np.uint8]:
    """Scale the pixels that OpenCV read from ``path`` to 8 bits.

    Raises:
        ImageFileError: their type is neither uint8 nor uint16, or a value is beyond ``depth``.
    """
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageFileError(
            f"{path} has pixels of type {image.dtype}: save it with 8 or 16 bits without sign"
        )
    maximum = np.iinfo(image.dtype).max
    # OpenCV ignores the maximum in the header of Netpbm files.
    stated = netpbm_maximum(file_start(path, NETPBM_HEADER))
    if stated is not None and stated < maximum:
        return scale_to_8_bits(image, stated)
    if image.dtype == np.uint8:
        return image
    try:
        depth.check(image, str(path))
    except ImageError as error:
        raise ImageFileError(f"{path} {error}") from error
    return depth.scale(image)


def exif_orientation(path: Path) -> int:
    """Return the EXIF orientation of an image file, 1 (upright) to 8; 1 if it has none."""
    from PIL import Image

    if not path.is_file():  # a FIFO would never open
        return 1
    try:
        with Image.open(path) as image:
            # Asking for EXIF decodes PNG files that have none.
            has_exif = "exif" in image.info or image.format == "TIFF"
            found = image.getexif().get(_EXIF_ORIENTATION) if has_exif else 1
    except Exception:  # on damaged files Pillow raises almost anything; their readers name them
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def header_size(path: Path) -> tuple[int, int] | None:
    """Return the (width, height) that ``read_image`` gives, by the header; None if that is unsure.

    That is so for what Pillow cannot open, and for TIFF files.
    """
    from PIL import Image

    if not path.is_file():  # a FIFO would never open
        return None
    try:
        with Image.open(path) as image:
            if image.format == "TIFF":  # its size is turned or not by the version of Pillow
                return None
            width, height = image.size
    except Exception:  # on damaged files Pillow raises almost anything
        return None
    return (width, height) if exif_orientation(path) <= 4 else (height, width)


def decode_file(path: Path, flags: int) -> NDArray[Any] | None:
    """Return the pixels that OpenCV decodes, or None if it cannot.

    Raises:
        ImageFileError: the file cannot be read.
    """
    try:
        turned = decode_quarter_turned(path.read_bytes(), flags) if is_tiff(path) else None
        if turned is not None:
            return turned
        # OpenCV crashes on a str that is not UTF-8.
        name = os.fsencode(path)
        pixels: NDArray[Any] | None = cv2.imread(name, flags)  # type: ignore[call-overload]
    except cv2.error:  # the header declares more pixels than OpenCV accepts
        return None
    return pixels


def is_tiff(path: Path) -> bool:
    """Return whether a file is a TIFF, by its first bytes.

    Raises:
        ImageFileError: it cannot be read.
    """
    return file_start(path).startswith(TIFF_STARTS)


def file_start(path: Path, count: int = 16) -> bytes:
    """Return the first bytes of a file.

    Raises:
        ImageFileError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise ImageFileError(f"cannot read {path}: {error.strerror}") from error


def _check_jpeg(path: Path) -> None:
    """Raise ImageFileError if ``path`` is a JPEG that is truncated, or several in one file.

    OpenCV fills the missing part with gray, and reads only the first of several.
    """
    with path.open("rb") as file:
        if file.read(len(SOI)) != SOI:
            return
        layout = JpegLayout(SOI + file.read())
    if layout.is_stream:
        raise ImageFileError(
            f"{path} has several pictures, like an MJPEG stream: split it with `ffmpeg -f mjpeg "
            f"-i {quote(str(path))} -c copy frame_%06d.jpg`"
        )
    if layout.is_truncated():
        raise ImageFileError(f"{path} is truncated: download it again or remove it")


def check_single(path: Path) -> None:
    """Raise ImageFileError if ``path`` has several pictures; smaller ones are thumbnails."""
    if not file_start(path).startswith(STACK_STARTS):
        return
    from PIL import Image, ImageSequence

    try:
        with Image.open(path) as image:
            sizes = [page.size for page in ImageSequence.Iterator(image)]
    except Exception:  # Pillow raises almost anything for what only OpenCV reads
        return
    if len(sizes) > 1 and sizes[0] in sizes[1:]:
        raise ImageFileError(
            f"{path} has {len(sizes)} pictures: save each in a file of its own, for example with "
            f"`magick {quote(str(path))} frame_%06d.png`"
        )
