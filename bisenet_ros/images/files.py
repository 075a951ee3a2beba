"""Image files: photographs, and labels as they are in their files.

Photographs are turned as their EXIF data says, as viewers and labelling tools show them.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.errors import ImageFileError

Color = tuple[int, int, int]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")

JPEG_SUFFIXES = (".jpg", ".jpeg")

_PALETTE = 3
"""The color type whose indices OpenCV would turn into colors."""


def is_image_file(path: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> bool:
    """Whether its name says so. macOS puts a ._a.png, which is none, beside a.png in archives."""
    return path.suffix.lower() in suffixes and not path.name.startswith(".")


def files_below(folder: Path) -> list[Path]:
    """All files in ``folder`` and in folders below it, behind links too, by their path."""
    found = os.walk(folder, followlinks=True)
    return sorted(Path(parent, name) for parent, _, names in found for name in names)


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """A photograph as uint8 [H,W,3] RGB.

    Raises:
        ImageFileError: the file is not an image that OpenCV reads, or cut off.
    """
    path = Path(path)
    image = _read(path, cv2.IMREAD_COLOR)
    if image is None:
        raise ImageFileError(f"{path} is not an image that OpenCV can read: mend or remove it")
    if path.suffix.lower() in JPEG_SUFFIXES and _is_cut_off(path):
        raise ImageFileError(f"{path} is cut off: fetch it again or remove it")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def read_label_image(path: str | Path) -> NDArray[np.uint8]:
    """A label image as it is in the file: ids uint8 [H,W], or colors uint8 [H,W,3] RGB.

    A PNG with a palette, as PASCAL VOC and most labelling tools write it, gives its indices, and
    one of less than 8 bits, as masks are saved, the ids from 0 that are in it.

    Raises:
        ImageFileError: not an image of up to 8 bits and one or three channels, a JPEG, or not
            readable.
    """
    return read_label_image_and_palette(path)[0]


def read_label_image_and_palette(path: str | Path) -> tuple[NDArray[np.uint8], list[Color]]:
    """As ``read_label_image``, and the colors of the indices; none for other files."""
    path = Path(path)
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
        values = values // (255 // (2**bits - 1))  # OpenCV stretches them to 0..255
    return values.astype(np.uint8, copy=False), []


def _read(path: Path, flags: int) -> NDArray[Any] | None:
    """What OpenCV makes of the file, None if nothing."""
    try:
        return cv2.imread(str(path), flags)
    except cv2.error:  # a header that claims more pixels than OpenCV takes
        return None


def _is_cut_off(path: Path) -> bool:
    """Whether a JPEG ends before its picture does, which OpenCV fills with gray."""
    with path.open("rb") as file:
        file.seek(-2, os.SEEK_END)
        if file.read() == b"\xff\xd9":
            return False
    from PIL import Image

    try:  # cameras write other things behind the picture, too
        with Image.open(path) as image:
            image.load()
    except OSError:
        return True
    return False


def _png_header(path: Path) -> tuple[int, int]:
    """Bits a sample and color type of a PNG; 8 and 0 for other files."""
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
    except OSError:  # also what Pillow raises for a truncated or unknown file
        raise ImageFileError(f"{path} is not a readable label image") from None
