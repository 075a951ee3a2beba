"""Readers of image and label files.

Images are turned by their EXIF orientation, as viewers and labelling tools do; label values are
returned as they are stored, so label files with an orientation of their own are refused. TIFF
labels are turned like TIFF images.
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

from bisenet_ros.classes import IGNORE_ID
from bisenet_ros.errors import ImageError, ImageFileError
from bisenet_ros.images.bit_depth import FULL_RANGE, BitDepth, scale_to_8_bits
from bisenet_ros.images.encoded import netpbm_maximum
from bisenet_ros.images.jpeg import SOI, JpegLayout
from bisenet_ros.images.tiff import TIFF_STARTS, decode_quarter_turned

Color = tuple[int, int, int]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")

OTHER_SUFFIXES = (
    *(".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl", ".pnm", ".tga"),
    *(".arw", ".cr2", ".cr3", ".dng", ".nef"),
)
"""Suffixes of pictures that are not read."""

_PNG = b"\x89PNG\r\n\x1a\n"
_RIFF = b"RIFF"

STACK_STARTS = (*TIFF_STARTS, _RIFF, _PNG, b"GIF8")
"""First bytes of files that can have several pictures, of which OpenCV reads the first."""

LABEL_STARTS = (*TIFF_STARTS, _RIFF, _PNG, b"BM", b"P")
"""First bytes of label files: TIFF, WebP, PNG, BMP and Netpbm."""

JPEG_SUFFIXES = (".jpg", ".jpeg")
NETPBM_HEADER = 4096
"""Bytes in which the header of a Netpbm file ends, unless its comments are longer."""

_GRAY = 0
"""PNG color type of gray images, whose transparent value OpenCV ignores."""

_PALETTE = 3
"""PNG color type of indexed images, whose indices OpenCV replaces by colors."""

_GRAY_ALPHA = 4
"""PNG color type of gray images with alpha, which OpenCV reads as four channels."""

_IGNORE_16_BIT = 65535
"""The value -1 in 16 bits, which means no class like 255."""

_EXIF_ORIENTATION = 0x0112

_SHOWN = 5
"""Maximum number of values that an error message lists."""


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
        ImageFileError: not a regular file, not one that OpenCV can read, truncated, several
            pictures in one file, or with values of other types than 8 or 16 bits or beyond
            ``depth``.
    """
    path = Path(path)
    check_regular(path)
    image = _read(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image is None:
        raise ImageFileError(f"{path} is not an image that OpenCV can read: repair or remove it")
    _check_jpeg(path)
    _check_single(path)
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
    stated = netpbm_maximum(_start(path, NETPBM_HEADER))
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

    try:
        with Image.open(path) as image:
            if image.format == "TIFF":  # its size is turned or not by the version of Pillow
                return None
            width, height = image.size
    except Exception:  # on damaged files Pillow raises almost anything
        return None
    return (width, height) if exif_orientation(path) <= 4 else (height, width)


def read_label_image(path: str | Path) -> NDArray[np.uint8]:
    """Read a label image as stored in the file.

    A palette (PASCAL VOC, most labelling tools) gives its indices. Values of 1, 2 and 4-bit
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
    values = _read(path, cv2.IMREAD_UNCHANGED)
    if values is None:
        raise ImageFileError(f"{path} is not a readable label image")
    _check_single(path)
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
        ImageFileError: its format is none of those of labels, whatever its name states.
    """
    from PIL import Image

    start = _start(path)
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

    with path.open("rb") as file:
        start = file.read(12)
        if start.startswith(SOI):
            return "a JPEG"
        if start.startswith(b"RIFF") and start.endswith(b"WEBP"):
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
        ImageFileError: a pixel is not opaque, unless it is unlabelled anyway.
    """
    transparent = values[..., 3] < np.iinfo(values.dtype).max
    if gray:
        transparent &= values[..., 0] != IGNORE_ID
    if transparent.any():
        raise _transparent(path)
    return values[..., 0] if gray else np.ascontiguousarray(values[..., :3])


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
    """Read an image as bool [H,W], True where it is not black.

    Raises:
        ImageFileError: not a regular file that OpenCV can read.
    """
    return np.asarray(read_image(path).any(axis=2))


def _read(path: Path, flags: int) -> NDArray[Any] | None:
    """Return the pixels that OpenCV decodes, or None if it cannot."""
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
    """Return whether a file is a TIFF, by its first bytes."""
    return _start(path).startswith(TIFF_STARTS)


def _start(path: Path, count: int = 16) -> bytes:
    """Return the first bytes of a file."""
    with path.open("rb") as file:
        return file.read(count)


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


def _check_single(path: Path) -> None:
    """Raise ImageFileError if ``path`` has several pictures; smaller ones are thumbnails."""
    if not _start(path).startswith(STACK_STARTS):
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


def _png_header(path: Path) -> tuple[int, int]:
    """Return bit depth and color type of a PNG; (8, -1) for other files."""
    try:
        with path.open("rb") as file:
            header = file.read(26)
    except OSError as error:
        raise ImageFileError(f"cannot read {path}: {error.strerror}") from None
    png = header.startswith(_PNG) and len(header) == 26
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
    if _read(path, cv2.IMREAD_UNCHANGED) is None:
        raise ImageFileError(f"{path} is not a readable label image")
    # The alpha of each index, or the only transparent index.
    clear = {alpha} if isinstance(alpha, int) else {i for i, a in enumerate(alpha) if a < 255}
    if any((indices == index).any() for index in clear - {IGNORE_ID}):
        raise _transparent(path)
    return indices, colors
