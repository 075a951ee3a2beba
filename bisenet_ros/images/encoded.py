"""Encoded images from outside, decoded within a limit on their number of pixels."""

import re
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.errors import ImageError, first_line
from bisenet_ros.images.bit_depth import scale_to_8_bits
from bisenet_ros.images.jpeg import EOI, JpegLayout

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

MAX_IMAGE_PIXELS = 64 * 1024**2
"""Default limit: 8192x8192."""

MAX_JPEG_SCANS = 100
"""A progressive JPEG of a camera has about ten; each costs a pass over all pixels."""

_START_OF_SCAN = b"\xff\xda"
_PNG_DEPTH = 24
"""Offset of the bit depth in a PNG."""

WHITE = 65535
"""Maximum of 16 bits."""

_SIXTEEN_BITS = ("I", "I;16", "I;16B")  # Pillow's modes; older versions have only "I"


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise ImageError if an image of this size has more than ``max_pixels`` pixels."""
    if width * height > max_pixels:
        raise ImageError(
            f"has {width}x{height} pixels, more than max_image_pixels = {max_pixels}: let the "
            "camera driver publish smaller images, or raise that parameter of the node"
        )


def decode_image(
    data: bytes, max_pixels: int = MAX_IMAGE_PIXELS
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the pixels of an encoded image, of a GIF's frames the first.

    Pillow decodes, not OpenCV (but for PNGs with 16 bits a color, of which Pillow keeps 8): it
    reads the size first, from the same header as the pixels; it raises for data that is cut off,
    where OpenCV returns gray rows; and unlike OpenCV's libpng and libjpeg it prints nothing for a
    damaged image. (libtiff does, and its tiles can be larger than their image: so TIFF, which no
    color camera sends, is refused.)

    Args:
        data: JPEG, PNG, WebP, GIF, BMP or PNM. The end mark of a JPEG may be missing.
        max_pixels: limit on width x height.

    Returns:
        uint8 [H,W,3] RGB without alpha or uint8 [H,W] gray; uint16 for a PNG or PGM of 16 bits,
        except a PGM whose header states another maximum than 65535, which is scaled to uint8. The
        orientation in EXIF is ignored.

    Raises:
        ImageError: ``data`` is of another format, damaged, cut off, too large or several JPEGs.
            The message is a predicate: what the image is or has.
    """
    try:
        with _open(data) as image:
            check_pixels(*image.size, max_pixels)
            if image.format != "JPEG":
                return _pixels(image, data)
        if data.count(_START_OF_SCAN) > MAX_JPEG_SCANS:
            raise ImageError(f"has more than {MAX_JPEG_SCANS} scans, which no camera makes")
        layout = JpegLayout(data)
        if layout.is_stream:
            raise ImageError("has several pictures: let the driver publish one in each message")
        if layout.is_truncated():
            raise ImageError("is damaged or cut off (it ends within the picture)")
        with _open(data if layout.end else data + EOI) as image:
            return _pixels(image, data)
    except ImageError:
        raise
    except Exception as error:  # Pillow's parsers raise almost anything for damaged data
        raise ImageError(f"is damaged or cut off ({first_line(error)})") from error


def _open(data: bytes) -> "ImageFile":
    """Read the header alone.

    The plugin is chosen here because PIL.Image.open has a limit of its own, which is a global
    variable, and tries formats that no camera sends.
    """
    from PIL import (
        BmpImagePlugin,
        GifImagePlugin,
        JpegImagePlugin,
        PngImagePlugin,
        PpmImagePlugin,
        WebPImagePlugin,
    )

    plugins: dict[bytes, type[ImageFile]] = {
        b"\xff\xd8": JpegImagePlugin.JpegImageFile,
        b"\x89PNG": PngImagePlugin.PngImageFile,
        b"RIFF": WebPImagePlugin.WebPImageFile,
        b"GIF8": GifImagePlugin.GifImageFile,
        b"BM": BmpImagePlugin.BmpImageFile,
        b"P": PpmImagePlugin.PpmImageFile,
    }
    for start, plugin in plugins.items():
        if data.startswith(start):
            return plugin(BytesIO(data))
    raise ImageError("is no picture in a known format: let the driver publish JPEG or PNG")


def netpbm_maximum(head: bytes) -> int | None:
    """Return the value of white that the header of a PGM, PPM or PAM states; None in others."""
    gap = rb"(?:\s|#[^\n]*\n)+"
    found = re.match(rb"P[2356]" + 2 * (gap + rb"\d+") + gap + rb"(\d+)", head)
    found = found or re.match(rb"P7\n(?:[^\n]*\n)*?MAXVAL\s+(\d+)", head)
    return int(found[1]) or None if found else None


def _pixels(image: "ImageFile", data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if image.format == "PNG" and data[_PNG_DEPTH] == 16 and image.mode not in _SIXTEEN_BITS:
        import cv2  # what describes the node's parameters imports this file without OpenCV

        image.load()  # raises for data that is cut off
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
        decoded: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint16)
    # A copy of Pillow's memory: PyTorch warns of arrays that cannot be written to.
    if image.mode in ("L", "RGB"):
        return np.array(image, np.uint8)
    if image.mode in _SIXTEEN_BITS:
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > WHITE:
            raise ImageError("has more than 16 bits a pixel: let the driver publish 8 bits")
        if image.format == "PPM" and netpbm_maximum(data) != WHITE:
            # Pillow has scaled the header's maximum to this one.
            return scale_to_8_bits(deep.astype(np.uint16), WHITE)
        return deep.astype(np.uint16)
    return np.array(image.convert("RGB"), np.uint8)
