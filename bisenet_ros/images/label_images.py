"""Readers of label images: class ids, palettes and masks.

Values are returned as they are stored, so files with an orientation of their own are refused. TIFF
labels are turned like TIFF images.
"""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import IGNORE_ID
from bisenet_ros.errors import ImageFileError
from bisenet_ros.images.files import (
    PNG_START,
    RIFF_START,
    check_regular,
    check_single,
    decode_file,
    exif_orientation,
    file_start,
    is_tiff,
)
from bisenet_ros.images.jpeg import SOI
from bisenet_ros.images.tiff import TIFF_STARTS

Color = tuple[int, int, int]

LABEL_STARTS = (*TIFF_STARTS, RIFF_START, PNG_START, b"BM", b"P")
"""First bytes of label files: TIFF, WebP, PNG, BMP and Netpbm."""

_GRAY = 0
"""PNG color type of gray images, whose transparent value OpenCV ignores."""

_PALETTE = 3
"""PNG color type of indexed images, whose indices OpenCV replaces by colors."""

_GRAY_ALPHA = 4
"""PNG color type of gray images with alpha, which OpenCV reads as four channels."""

_IGNORE_16_BIT = 65535
"""The value -1 in 16 bits, which means no class like 255."""

_SHOWN = 5
"""Maximum number of values that an error message lists."""


def read_label_image(path: str | Path) -> NDArray[np.uint8]:
    """Read a label image as stored in the file.

    A palette (PASCAL VOC, most labeling tools) gives its indices. Values of 1, 2 and 4-bit
    PNGs are not scaled to 0..255. 16-bit ids are read if they fit, 65535 as 255. Alpha is dropped
    where the image is opaque.

    Returns:
        Class ids uint8 [H,W], or class colors uint8 [H,W,3] RGB.

    Raises:
        ImageFileError: not a regular file that can be read, a JPEG, neither one channel of ids up
            to 255 nor three of 8 bits, transparent, or turned by EXIF.
    """
    return read_label_image_and_palette(path)[0]


def read_label_image_and_palette(path: str | Path) -> tuple[NDArray[np.uint8], list[Color]]:
    """Read a label image as ``read_label_image`` does, and its palette.

    Returns:
        Class ids uint8 [H,W], or class colors uint8 [H,W,3] RGB; and the (r, g, b) of each index
        of a file with a palette, empty for other files.

    Raises:
        ImageFileError: as ``read_label_image``.
    """
    path = Path(path)
    check_regular(path)
    bits, color_type = _png_header(path)
    # OpenCV turns TIFF labels like TIFF images.
    orientation = 1 if is_tiff(path) else exif_orientation(path)
    if orientation != 1:
        raise ImageFileError(
            f"{path} is turned by its EXIF orientation {orientation} in viewers, but labels are "
            "read as stored: turn it, or if it fits its picture as it is stored, remove the "
            "orientation ('exiftool -Orientation= FILE')"
        )
    mode = "P" if color_type == _PALETTE else _mode_of_label_file(path)
    if mode == "P":
        return _read_indices(path)
    if mode == "1" and color_type < 0:
        raise ImageFileError(
            f"{path} has 1 bit a pixel, and in its format white may be 0 or 1: save it as PNG"
        )
    lossy = _lossy_format(path)
    if lossy:
        raise ImageFileError(f"{path} is {lossy}, which blurs labels: save them as PNG")
    values = decode_file(path, cv2.IMREAD_UNCHANGED)
    if values is None:
        raise ImageFileError(f"{path} is not a readable label image")
    check_single(path)
    if values.dtype in (np.uint8, np.uint16) and values.ndim == 3 and values.shape[2] == 4:
        values = _opaque(values, color_type == _GRAY_ALPHA, path)
    if values.dtype == np.uint16 and values.ndim == 2:
        values = _ids_of_16_bits(values, path)
    if values.dtype != np.uint8 or (values.ndim == 3 and values.shape[2] != 3):
        channels = 1 if values.ndim == 2 else values.shape[2]
        raise ImageFileError(
            f"{path} has {channels} channels of {values.dtype}: save class ids in one channel of "
            "8 or 16 bits, or class colors in three channels of 8 bits"
        )
    if values.ndim == 3:
        values = cv2.cvtColor(values, cv2.COLOR_BGR2RGB)
    else:
        if bits < 8:
            values = values // (255 // (2**bits - 1))  # undo OpenCV's scaling to 0..255
        if color_type == _GRAY:
            clear = _transparent_gray(path, 2**bits - 1)
            if clear is not None and (values == clear).any():
                raise _transparent(path)
    return values.astype(np.uint8, copy=False), []


def _mode_of_label_file(path: Path) -> str:
    """Return Pillow's mode of a label file, such as P for one with a palette.

    It is empty if only OpenCV can read the file.

    Raises:
        ImageFileError: the file is not in a format of labels, whatever its suffix.
    """
    from PIL import Image

    start = file_start(path)
    if not start.startswith((*LABEL_STARTS, SOI)):
        raise ImageFileError(
            f"{path} is not a readable label image: save it as PNG (TIFF, BMP, PGM, PPM and "
            "lossless WebP are read, too)"
        )
    try:
        with Image.open(path) as image:
            return image.mode
    except Exception:  # on damaged files Pillow raises almost anything; OpenCV refuses them
        return ""


def _lossy_format(path: Path) -> str:
    """Return the format of a file whose pixels are not those that were saved, else nothing.

    Its name may state another one, and blurred ids are other valid ids.
    """
    from PIL import Image

    start = file_start(path, 12)
    if start.startswith(SOI):
        return "a JPEG"
    if start.startswith(RIFF_START) and start.endswith(b"WEBP"):
        with path.open("rb") as file:
            file.seek(len(start))
            while len(header := file.read(8)) == 8 and not header.startswith(b"VP8L"):
                if header.startswith(b"VP8 "):
                    return "a lossy WebP"
                size = int.from_bytes(header[4:], "little")
                file.seek(size + size % 2, os.SEEK_CUR)
    if start.startswith(TIFF_STARTS):
        try:
            with Image.open(path) as image:
                return "a TIFF with JPEG compression" * ("jpeg" in image.info["compression"])
        except Exception:  # on damaged files Pillow raises almost anything; OpenCV refuses them
            return ""
    return ""


def _opaque(values: NDArray[Any], gray: bool, path: Path) -> NDArray[Any]:
    """Return ``values`` [H,W,4] without alpha: [H,W,3], or [H,W] if they are ``gray``.

    Raises:
        ImageFileError: a pixel is not opaque, unless it is unlabeled anyway.
    """
    transparent = _is_clear(values)
    if gray:
        transparent &= values[..., 0] != IGNORE_ID
    if transparent.any():
        raise _transparent(path)
    return values[..., 0] if gray else np.ascontiguousarray(values[..., :3])


def _is_clear(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where pixels [H,W,4] are not opaque, bool [H,W]."""
    return np.asarray(values[..., 3] < np.iinfo(values.dtype).max)


def _transparent_gray(path: Path, largest: int) -> int | None:
    """Return the transparent value of a gray PNG, which OpenCV ignores; None if it has none."""
    from PIL import Image

    with Image.open(path) as image:
        value = image.info.get("transparency")
    if not isinstance(value, int):
        return None
    value = min(value, largest)  # Pillow scales that of 1-bit files to 255
    return None if value == IGNORE_ID else value


def _transparent(path: Path) -> ImageFileError:
    return ImageFileError(
        f"{path} has transparent pixels, which may have a class or none: save it without "
        f"transparency, with {IGNORE_ID} or a color of no class where pixels have no class"
    )


def _ids_of_16_bits(values: NDArray[np.uint16], path: Path) -> NDArray[np.uint8]:
    ids = np.where(values == _IGNORE_16_BIT, IGNORE_ID, values)
    large = np.unique(ids[ids > IGNORE_ID]).tolist()
    if large:
        named = ", ".join(map(str, large[:_SHOWN]))
        more = f" and {len(large) - _SHOWN} more" if len(large) > _SHOWN else ""
        remedy = (
            "divide them by 257, they look like 8-bit ids scaled to 16 bits"
            if not (values % 257).any()
            else "save class ids, not ids of instances"
        )
        raise ImageFileError(
            f"{path} has the 16-bit value{'s' * (len(large) > 1)} {named}{more}; class ids are at "
            f"most 254, and 255 or {_IGNORE_16_BIT} for no class: {remedy}"
        )
    return ids.astype(np.uint8)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask as bool [H,W], True where it is not black.

    Raises:
        ImageFileError: not a regular file that OpenCV can read with 8 or 16 bits; lossy, since
            blurred black is not black; with transparency, which may be the mask; or black
            everywhere or nowhere.
    """
    check_regular(path)
    lossy = _lossy_format(path)
    if lossy:
        raise ImageFileError(f"{path} is {lossy}, which blurs a mask: save it as PNG")
    stored = decode_file(path, cv2.IMREAD_UNCHANGED)
    pixels = decode_file(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if stored is None or pixels is None or stored.dtype not in (np.uint8, np.uint16):
        raise ImageFileError(f"{path} is not an image of 8 or 16 bits: save it as PNG")
    check_single(path)
    mask = np.asarray(pixels.any(axis=2))
    problem = ""
    if stored.ndim == 3 and stored.shape[2] == 4 and _is_clear(stored).any():
        problem = "has transparent pixels"
    if mask.all() or not mask.any():
        problem = problem or f"is {'not black anywhere' if mask.any() else 'black everywhere'}"
    if problem:
        raise ImageFileError(
            f"{path} {problem}: paint white what it covers, and black all else, opaque"
        )
    return mask


def _png_header(path: Path) -> tuple[int, int]:
    """Return bit depth and color type of a PNG; (8, -1) for other files."""
    header = file_start(path, 26)
    png = header.startswith(PNG_START) and len(header) == 26
    return (header[24], header[25]) if png else (8, -1)


def _read_indices(path: Path) -> tuple[NDArray[np.uint8], list[Color]]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            values = image.getpalette("RGB") or []
            colors = list(zip(values[::3], values[1::3], values[2::3], strict=True))
            indices = np.asarray(image, np.uint8)
            alpha = image.info.get("transparency", b"")
    except Exception:  # on damaged files Pillow raises almost anything
        raise ImageFileError(f"{path} is not a readable label image") from None
    # Pillow fills the rows that a PNG lacks with 0.
    if decode_file(path, cv2.IMREAD_UNCHANGED) is None:
        raise ImageFileError(f"{path} is not a readable label image")
    # The alpha of each index, or the only transparent index.
    clear = {alpha} if isinstance(alpha, int) else {i for i, a in enumerate(alpha) if a < 255}
    if any((indices == index).any() for index in clear - {IGNORE_ID}):
        raise _transparent(path)
    return indices, colors
