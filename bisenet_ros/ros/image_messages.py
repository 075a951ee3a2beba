"""Convert sensor_msgs images to RGB arrays and back.

Encodings are those of ``sensor_msgs/image_encodings.hpp``; ``step``, ``is_bigendian`` and ``data``
are as ``sensor_msgs/msg/Image`` defines them.
"""

import array
import logging
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from bisenet_ros.errors import ImageError, first_line, quoted
from bisenet_ros.images.bit_depth import FULL_DEPTH, FULL_RANGE, BitDepth
from bisenet_ros.images.encoded import MAX_IMAGE_PIXELS, check_pixels, decode_image


class Logger(Protocol):
    """The part of rclpy's and Python's loggers that ``ImageDecoder`` uses."""

    def warning(self, message: str, /) -> Any:
        """Log one line."""


class _Layout(NamedTuple):
    """Memory layout of an encoding, and the OpenCV code that converts it to RGB."""

    channels: int
    to_rgb: int | None  # None: the channels are R, G, B already
    dtype: type[np.number[Any]] = np.uint8
    blocks: tuple[int, int] = (1, 1)  # pixels that share chroma; the size must be a multiple
    lines: float = 1.0  # rows in memory per row of pixels
    smallest: int = 1
    cv_bridge: bool = False  # converted by cv_bridge where that works


_LAYOUTS = {
    "rgb8": _Layout(3, None),
    "bgr8": _Layout(3, cv2.COLOR_BGR2RGB),
    "rgba8": _Layout(4, cv2.COLOR_RGBA2RGB),
    "bgra8": _Layout(4, cv2.COLOR_BGRA2RGB),
    "mono8": _Layout(1, cv2.COLOR_GRAY2RGB),
    "8UC1": _Layout(1, cv2.COLOR_GRAY2RGB),
    "mono16": _Layout(1, cv2.COLOR_GRAY2RGB, np.uint16, cv_bridge=True),
    "rgb16": _Layout(3, None, np.uint16, cv_bridge=True),
    "bgr16": _Layout(3, cv2.COLOR_BGR2RGB, np.uint16, cv_bridge=True),
    "rgba16": _Layout(4, cv2.COLOR_RGBA2RGB, np.uint16, cv_bridge=True),
    "bgra16": _Layout(4, cv2.COLOR_BGRA2RGB, np.uint16, cv_bridge=True),
    "uyvy": _Layout(2, cv2.COLOR_YUV2RGB_UYVY, blocks=(2, 1)),
    "yuv422": _Layout(2, cv2.COLOR_YUV2RGB_UYVY, blocks=(2, 1), cv_bridge=True),
    "yuyv": _Layout(2, cv2.COLOR_YUV2RGB_YUY2, blocks=(2, 1)),
    "yuv422_yuy2": _Layout(2, cv2.COLOR_YUV2RGB_YUY2, blocks=(2, 1), cv_bridge=True),
    "nv12": _Layout(1, cv2.COLOR_YUV2RGB_NV12, blocks=(2, 2), lines=1.5),
    "nv21": _Layout(1, cv2.COLOR_YUV2RGB_NV21, blocks=(2, 2), lines=1.5),
} | {
    # ROS names a mosaic by its first two rows, OpenCV by the second and third pixel of the
    # second row. OpenCV returns black for images with fewer than three rows or columns.
    f"bayer_{mosaic}{bits}": _Layout(1, code, dtype, smallest=3, cv_bridge=True)
    for bits, dtype in ((8, np.uint8), (16, np.uint16))
    for mosaic, code in (
        ("rggb", cv2.COLOR_BayerBG2RGB),
        ("bggr", cv2.COLOR_BayerRG2RGB),
        ("gbrg", cv2.COLOR_BayerGR2RGB),
        ("grbg", cv2.COLOR_BayerGB2RGB),
    )
}

CHOOSE_IMAGE_TOPIC = "(launch file: image:=TOPIC; else remap `image`)"
"""Remedy in messages about a wrong image topic."""

ENCODINGS = tuple(_LAYOUTS)
"""Encodings that ``ImageDecoder.to_rgb`` converts."""


class ImageDecoder:
    """Converts image messages to RGB arrays; checks once whether cv_bridge works here.

    Args:
        logger: gets a warning if cv_bridge is installed but broken, and one of images that are
            dark because their values do not fill 16 bits.
        depth: number of bits of the values in 16-bit images (default: 16, warning on ``logger``).

    Attributes:
        depth: as given.
    """

    def __init__(self, logger: Logger | None = None, depth: BitDepth | None = None) -> None:
        self._logger: Logger = logger or logging.getLogger(__name__)
        self.depth = depth or BitDepth(
            remedy="set the node's parameter bit_depth to {}", warn=self._logger.warning
        )

    def to_rgb(self, message: Image, max_pixels: int = MAX_IMAGE_PIXELS) -> NDArray[np.uint8]:
        """Return the pixels of a sensor_msgs/Image: uint8 [H,W,3] RGB, 0..255.

        rgb8 gives a view of the message's memory (do not write to it), not contiguous if rows are
        padded; everything else gives a new array. 16-bit values are scaled and rounded, so that the
        largest value of ``depth`` becomes 255. YUV is BT.601, 16..235, as in UVC cameras and in
        OpenCV.

        Raises:
            ImageError: the message is not a valid image, has more than ``max_pixels`` pixels, or
                16-bit values beyond ``depth``.
        """
        layout = _layout(message.encoding)
        pixels = _view(message, layout)
        try:
            check_pixels(message.width, message.height, max_pixels)
        except ImageError as error:
            raise ImageError(f"{message.encoding} image {error}") from None
        if layout.dtype is np.uint16:
            _check_depth(pixels, self.depth, f"{message.encoding} image")
        by_cv_bridge = layout.cv_bridge and (
            layout.dtype is np.uint8 or self.depth.bits == FULL_DEPTH
        )
        # cv_bridge divides the step by the pixel size, which shears some padded images.
        tight = len(message.data) == message.step * message.height == pixels.nbytes
        if by_cv_bridge and tight and self._cv_bridge is not None:
            try:
                return np.asarray(self._cv_bridge.imgmsg_to_cv2(message, "rgb8"))
            except Exception as error:  # it may be built for another NumPy or OpenCV
                self._warn(first_line(error))
                self._cv_bridge = None
        return _convert(pixels, layout, self.depth)

    @cached_property
    def _cv_bridge(self) -> Any:
        """A ``CvBridge``, or None if none works; it uses the same OpenCV codes as ``_LAYOUTS``."""
        if find_spec("cv_bridge") is None:
            return None
        if reason := _cv_bridge_fault():
            self._warn(reason)
            return None
        from cv_bridge import CvBridge

        return CvBridge()

    def _warn(self, reason: str) -> None:
        self._logger.warning(
            f"cv_bridge does not work with NumPy {np.__version__} here ({reason}); "
            "OpenCV converts instead, with the same result. For cv_bridge: "
            f"{sys.executable} -m pip install 'numpy<2'"
        )


_CV_BRIDGE_TRIAL = """
from cv_bridge import CvBridge
from sensor_msgs.msg import Image
pixel = Image(width=1, height=1, step=2, encoding="mono16", data=[255, 255])
CvBridge().imgmsg_to_cv2(pixel, "rgb8")
"""


def _cv_bridge_fault() -> str:
    """Return what is wrong with cv_bridge, or "" if it converts a pixel in a child process.

    Under NumPy 2 one that was built for NumPy 1 raises at the import, or passes it and ends the
    process at the first conversion.
    """
    try:
        trial = subprocess.run(
            [sys.executable, "-c", _CV_BRIDGE_TRIAL], capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return first_line(error)
    if trial.returncode < 0:
        return f"converting a pixel ends the process with signal {-trial.returncode}"
    return f"converting a pixel exits with status {trial.returncode}" if trial.returncode else ""


def _layout(encoding: str) -> _Layout:
    if encoding in _LAYOUTS:
        return _LAYOUTS[encoding]
    name = f"image encoding {quoted(encoding):.60}"
    # Raised in three places, since the log counts errors by place.
    if encoding in ("8UC3", "8UC4"):
        # cv_bridge refuses these too: a wrong guess would silently swap red and blue.
        raise ImageError(
            f"{name} does not define the order of its colors: let the driver publish rgb8 or bgr8"
        )
    if re.match(r"(8S|16U|16S|32S|32F|64F)C?\d?", encoding):
        raise ImageError(
            f"{name} is no color image (a depth image?): choose the color camera's topic "
            f"{CHOOSE_IMAGE_TOPIC}"
        )
    raise ImageError(
        f"{name} is not supported: let the driver publish one of {', '.join(ENCODINGS)}"
    )


def _view(message: Image, layout: _Layout) -> NDArray[Any]:
    """Return a view of ``message.data``: [rows,W] or [rows,W,channels] in its own dtype."""
    encoding, width, height, step = message.encoding, message.width, message.height, message.step
    name = f"{encoding} image of {width}x{height}"
    dtype = np.dtype(layout.dtype).newbyteorder(">" if message.is_bigendian else "<")
    pixel = layout.channels * dtype.itemsize
    rows, row = int(height * layout.lines), width * pixel

    if min(width, height) < layout.smallest:
        raise ImageError(
            f"{name} is too small: a picture has at least {layout.smallest}x{layout.smallest} "
            "pixels, see what the camera driver is set to"
        )
    if width % layout.blocks[0] or height % layout.blocks[1]:
        raise ImageError(
            f"{name}, whose size must be in multiples of {layout.blocks[0]}x{layout.blocks[1]} "
            "pixels: crop it or let the driver publish rgb8"
        )
    if step < row:
        raise ImageError(
            f"{name} has a step of {step} bytes, but a row takes {row}: "
            "the driver must set step to the bytes from one row to the next"
        )
    needed = step * (rows - 1) + row  # some drivers leave out the padding of the last row
    if len(message.data) < needed:
        raise ImageError(
            f"{name} with a step of {step} needs {needed} bytes of data, but has "
            f"{len(message.data)}: the driver sent part of a picture or a wrong size"
        )
    shape: tuple[int, ...] = (rows, width, layout.channels)
    strides: tuple[int, ...] = (step, pixel, dtype.itemsize)
    flat = layout.channels == 1
    return np.ndarray(
        shape[:2] if flat else shape, dtype, message.data, 0, strides[:2] if flat else strides
    )


def _check_depth(pixels: NDArray[Any], depth: BitDepth, name: str) -> None:
    """Raise ImageError, or warn, as ``BitDepth.check`` does; alpha, the fourth channel, counts not.

    Args:
        pixels: uint16 [H,W] or [H,W,channels].
        depth: what the pixels should have.
        name: what to call the image.
    """
    try:
        depth.check(pixels[..., :3] if pixels.ndim > 2 else pixels, name)
    except ImageError as error:
        raise ImageError(f"{name} {error}") from None


def _convert(pixels: NDArray[Any], layout: _Layout, depth: BitDepth) -> NDArray[np.uint8]:
    """Convert to RGB with OpenCV: 0.1 ms for bgr8 at 1280x720.

    ``pixels[..., ::-1]`` would be free here but cost 5.5 ms in the resize that follows, which
    copies arrays with negative strides byte by byte.
    """
    rgb: Any = pixels
    try:
        if layout.dtype is np.uint16:
            rgb = rgb.astype(np.uint16)  # this machine's byte order, aligned
        if layout.to_rgb is not None:
            rgb = cv2.cvtColor(rgb, layout.to_rgb)
        if layout.dtype is np.uint16:
            rgb = depth.scale(rgb)
    except cv2.error as error:
        raise ImageError(f"OpenCV cannot convert this image: {first_line(error)}") from error
    return np.asarray(rgb)


def decode_compressed(
    message: CompressedImage, max_pixels: int = MAX_IMAGE_PIXELS, depth: BitDepth = FULL_RANGE
) -> NDArray[np.uint8]:
    """Return the pixels of a sensor_msgs/CompressedImage: uint8 [H,W,3] RGB, 0..255.

    Formats are those of ``decode_image``: JPEG, PNG, ...
    ``format`` is not trusted for colors: it can be ``jpeg``, ``rgb8; jpeg compressed bgr8`` or
    empty. (image_transport takes ``rgb8; jpeg compressed rgb8`` for a JPEG with red and blue
    swapped; today's writers of it do not swap.) But a Bayer mosaic in a PNG, as
    compressed_image_transport makes of a raw one, is converted to colors. The orientation in EXIF
    is ignored: labels must fit the pixels that camera_info describes. 16-bit values are scaled as
    in ``ImageDecoder.to_rgb``.

    Raises:
        ImageError: the message is not a color or gray image, is larger than ``max_pixels``, or has
            16-bit values beyond ``depth``.
    """
    name = (
        f"compressed image with format {quoted(message.format):.60} and {len(message.data)} bytes"
    )
    if "compressedDepth" in message.format or re.match(r"(16U|32F)C1", message.format):
        raise ImageError(
            f"{name} is a depth image: choose the color camera's topic {CHOOSE_IMAGE_TOPIC}"
        )
    bayer = _LAYOUTS.get(message.format.partition(";")[0]) if "bayer" in message.format else None
    if bayer and "jpeg" in message.format:
        raise ImageError(
            f"{name} has no colors: they are lost when a Bayer mosaic becomes a JPEG; let "
            f"image_proc make colors of it first, and choose its image_color {CHOOSE_IMAGE_TOPIC}"
        )
    try:
        pixels = decode_image(bytes(message.data), max_pixels)
    except ImageError as error:
        raise ImageError(f"{name} {error}") from error
    if bayer and (pixels.ndim > 2 or pixels.dtype != bayer.dtype):
        what = "colors" if pixels.ndim > 2 else f"pixels of {8 * pixels.itemsize} bits"
        raise ImageError(f"{name} is no such Bayer mosaic, since it has {what}: correct its format")
    if pixels.dtype == np.uint16:
        _check_depth(pixels, depth, name)
    bits = 8 * pixels.itemsize
    layout = bayer or _LAYOUTS[f"mono{bits}" if pixels.ndim == 2 else f"rgb{bits}"]
    return _convert(pixels, layout, depth)


def read_channel(
    message: Image, dtypes: Mapping[str, type[np.number[Any]]], what: str, max_pixels: int
) -> NDArray[Any]:
    """Return a view of the pixels of an image of one channel, [H,W] in the message's byte order.

    Args:
        message: the image; the result is a view of its memory.
        dtypes: type of a pixel, by each encoding that is valid.
        what: name of the image in errors, such as "label image".
        max_pixels: limit on width x height.

    Raises:
        ImageError: the message is not a valid image, has another encoding, or has more than
            ``max_pixels`` pixels.
    """
    encoding = message.encoding
    if encoding not in dtypes:
        raise ImageError(
            f"{what} has encoding {quoted(encoding):.60} (valid: {', '.join(dtypes)}): choose the "
            "topic of another image, or let its publisher send a valid encoding"
        )
    try:
        pixels = _view(message, _Layout(1, None, dtypes[encoding]))
        check_pixels(message.width, message.height, max_pixels)
    except ImageError as error:
        raise ImageError(f"{what}: {error}") from error
    return pixels


def image_message(pixels: NDArray[np.uint8], encoding: str, header: Header) -> Image:
    """Return a sensor_msgs/Image of uint8 [H,W] (``mono8``) or [H,W,3] (``rgb8``), rows not padded.

    ``header`` is the input's, so that stamp and frame_id are equal.

    Raises:
        ValueError: dtype or shape of ``pixels`` does not fit ``encoding``.
    """
    channels = {"mono8": (), "rgb8": (3,)}.get(encoding)
    if channels is None or pixels.ndim < 2 or pixels.shape[2:] != channels:
        raise ValueError(f"no {encoding} image can be made of shape {pixels.shape}")
    message = Image(header=header, encoding=encoding, is_bigendian=0)
    message.height, message.width = pixels.shape[:2]
    message.step = message.width * (pixels.shape[2] if channels else 1)
    message.data = _bytes(pixels)
    return message


def compressed_message(
    pixels: NDArray[np.uint8], header: Header, quality: int = 95
) -> CompressedImage:
    """Return a JPEG of uint8 [H,W,3] RGB or [H,W] gray, like compressed_image_transport.

    ``quality`` is 1 to 100, by default 95 as in that plugin. ``format`` names the encoding of the
    source and the channel order given to the encoder, from which that plugin derives the colors.

    Raises:
        ValueError: OpenCV cannot encode ``pixels``.
    """
    color = pixels.ndim == 3
    source = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if color else pixels
    ok, jpeg = cv2.imencode(".jpg", source, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ValueError(f"no JPEG can be made of shape {pixels.shape}")
    form = "rgb8; jpeg compressed bgr8" if color else "mono8; jpeg compressed mono8"
    return CompressedImage(header=header, format=form, data=_bytes(jpeg))


def _bytes(values: NDArray[np.uint8]) -> "array.array[int]":
    """Return ``values`` as the type that a message stores without conversion.

    This copy takes 0.1 ms for RGB of 1280x720. With bytes a message copies again, or checks each
    of them (240 ms); a memoryview it converts to Python integers (145 ms).
    """
    if values.dtype != np.uint8:
        raise ValueError(f"image data must be uint8, not {values.dtype}")
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(values).data)
    return data
