"""Readers of image and label files.

Images are rotated by their EXIF orientation, as viewers and labelling tools do; label values are
returned as they are stored.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.errors import ImageError, ImageFileError
from bisenet_ros.images.bit_depth import FULL_RANGE, BitDepth, scale_to_8_bits
from bisenet_ros.images.encoded import netpbm_maximum

Color = tuple[int, int, int]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")

JPEG_SUFFIXES = (".jpg", ".jpeg")
NETPBM_SUFFIXES = (".ppm", ".pgm")
NETPBM_HEADER = 4096
"""Bytes in which the header of a Netpbm file ends, unless its comments are longer."""

_PALETTE = 3
"""PNG color type of indexed images, whose indices OpenCV replaces by colors."""


def is_image_file(path: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> bool:
    """Return whether ``path`` has one of ``suffixes``, in any case, and is not hidden.

    Archives made on macOS have a hidden ``._a.png``, which is not an image, next to ``a.png``.
    """
    return path.suffix.lower() in suffixes and not path.name.startswith(".")


def files_below(folder: Path) -> list[Path]:
    """Return all files in ``folder`` and its subfolders, following symlinks, sorted by path.

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
        folders.sort()
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
        ImageFileError: not a regular file, not one that OpenCV can read, truncated, or with values
            of other types than 8 or 16 bits or beyond ``depth``.
    """
    path = Path(path)
    check_regular(path)
    image = _read(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image is None:
        raise ImageFileError(f"{path} is not an image that OpenCV can read: repair or remove it")
    if path.suffix.lower() in JPEG_SUFFIXES and _is_truncated(path):
        raise ImageFileError(f"{path} is truncated: download it again or remove it")
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
    if path.suffix.lower() in NETPBM_SUFFIXES:  # OpenCV ignores the maximum in their header
        with path.open("rb") as file:
            stated = netpbm_maximum(file.read(NETPBM_HEADER))
        if stated is not None and stated < maximum:
            return scale_to_8_bits(image, stated)
    if image.dtype == np.uint8:
        return image
    try:
        depth.check(image, str(path))
    except ImageError as error:
        raise ImageFileError(f"{path} {error}") from error
    return depth.scale(image)


def read_label_image(path: str | Path) -> NDArray[np.uint8]:
    """Read a label image as stored in the file.

    An indexed PNG (PASCAL VOC, most labelling tools) gives its indices. Values of 1, 2 and 4-bit
    PNGs are not scaled to 0..255.

    Returns:
        Class ids uint8 [H,W], or class colors uint8 [H,W,3] RGB.

    Raises:
        ImageFileError: not a regular file that can be read, a JPEG, or without one or three
            channels of up to 8 bits.
    """
    return read_label_image_and_palette(path)[0]


def read_label_image_and_palette(path: str | Path) -> tuple[NDArray[np.uint8], list[Color]]:
    """Read a label image as ``read_label_image`` does, and its palette.

    Returns:
        Class ids uint8 [H,W], or class colors uint8 [H,W,3] RGB; and the (r, g, b) of each index
        of an indexed PNG, empty for other files.

    Raises:
        ImageFileError: as ``read_label_image``.
    """
    path = Path(path)
    check_regular(path)
    bits, color_type = _png_header(path)
    if color_type == _PALETTE:
        return _read_indices(path)
    if path.suffix.lower() in JPEG_SUFFIXES:
        raise ImageFileError(f"{path} is a JPEG, which blurs labels: save them as PNG")
    values = _read(path, cv2.IMREAD_UNCHANGED)
    if values is None:
        raise ImageFileError(f"{path} is not a readable label image")
    if values.dtype != np.uint8 or (values.ndim == 3 and values.shape[2] != 3):
        channels = 1 if values.ndim == 2 else values.shape[2]
        raise ImageFileError(
            f"{path} has {channels} channels of {values.dtype}; a label image has 8 bits and one "
            "channel of class ids, or three of class colors"
        )
    if values.ndim == 3:
        values = cv2.cvtColor(values, cv2.COLOR_BGR2RGB)
    elif bits < 8:
        values = values // (255 // (2**bits - 1))  # undo OpenCV's scaling to 0..255
    return values.astype(np.uint8, copy=False), []


def _read(path: Path, flags: int) -> NDArray[Any] | None:
    """Return the pixels that OpenCV decodes, or None if it cannot."""
    try:
        return cv2.imread(str(path), flags)
    except cv2.error:  # the header declares more pixels than OpenCV accepts
        return None


def _is_truncated(path: Path) -> bool:
    """Return whether a JPEG is truncated; OpenCV fills the missing part with gray."""
    with path.open("rb") as file:
        file.seek(-2, os.SEEK_END)
        if file.read() == b"\xff\xd9":
            return False
    from PIL import Image

    try:  # some cameras append data after the image
        with Image.open(path) as image:
            image.load()
    except OSError:
        return True
    return False


def _png_header(path: Path) -> tuple[int, int]:
    """Return bit depth and color type of a PNG; (8, 0) for other files."""
    try:
        with path.open("rb") as file:
            header = file.read(26)
    except OSError as error:
        raise ImageFileError(f"cannot read {path}: {error.strerror}") from None
    png = header.startswith(b"\x89PNG\r\n\x1a\n") and len(header) == 26
    return (header[24], header[25]) if png else (8, 0)


def _read_indices(path: Path) -> tuple[NDArray[np.uint8], list[Color]]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            values = image.getpalette("RGB") or []
            colors = list(zip(values[::3], values[1::3], values[2::3], strict=True))
            return np.asarray(image, np.uint8), colors
    except OSError:  # Pillow also raises it for truncated and unidentified files
        raise ImageFileError(f"{path} is not a readable label image") from None
