"""Messages for the fuzz: valid ones, ones that are valid but for one field, and arbitrary ones."""

import array
import struct
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import cv2
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

T = TypeVar("T")

MOSAICS = ("rggb", "bggr", "gbrg", "grbg")
BYTES_PER_PIXEL = (
    dict.fromkeys(("mono8", "8UC1", "nv12", "nv21"), 1)
    | {f"bayer_{mosaic}8": 1 for mosaic in MOSAICS}
    | dict.fromkeys(("mono16", "uyvy", "yuyv", "yuv422", "yuv422_yuy2"), 2)
    | {f"bayer_{mosaic}16": 2 for mosaic in MOSAICS}
    | {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "rgb16": 6, "bgr16": 6}
    | {"rgba16": 8, "bgra16": 8}
)
"""Of every encoding that the node reads; nv12 and nv21 have half as many rows again."""

PER_EXAMPLE = 5
"""Images of one example: a valid one, two that are valid but for one field, two arbitrary ones."""

LARGE_SIDE = 9000
"""81 megapixels in a few bytes, and yet no danger to a machine whose node decodes them."""

# Chosen by the sender, and shown in logs and diagnostics.
TEXT = st.text(max_size=300)
UINT32 = st.one_of(
    st.sampled_from((0, 1, 2, 2**31 - 1, 2**31, 2**32 - 1)),
    st.integers(0, 1000),
    st.integers(0, 2**32 - 1),
)
BLOCKS = st.integers(2, 64)
FORMATS = ("jpeg", "png", "", "rgb8; jpeg compressed bgr8", "bgr8; png compressed bgr8")
STARTS = (b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF", b"II*\0")


def _bytes(data: bytes) -> "array.array[int]":
    return array.array("B", data)


@st.composite
def _headers(draw: DrawFn) -> Header:
    header = Header(frame_id=draw(TEXT))
    header.stamp.sec = draw(st.integers(-(2**31), 2**31 - 1))
    header.stamp.nanosec = draw(UINT32)
    return header


@st.composite
def _valid_image(draw: DrawFn) -> Image:
    encoding = draw(st.sampled_from(sorted(BYTES_PER_PIXEL)))
    message = Image(encoding=encoding, width=2 * draw(BLOCKS), height=2 * draw(BLOCKS))
    message.header.frame_id = "camera"
    message.step = message.width * BYTES_PER_PIXEL[encoding] + draw(st.sampled_from((0, 0, 8)))
    rows = message.height * 3 // 2 if encoding in ("nv12", "nv21") else message.height
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    message.data = _bytes(rng.bytes(rows * message.step))
    return message


@st.composite
def _valid_jpeg_or_png(draw: DrawFn) -> CompressedImage:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pixels = rng.integers(0, 256, (2 * draw(BLOCKS), 2 * draw(BLOCKS), 3), np.uint8)
    _, encoded = cv2.imencode(draw(st.sampled_from((".jpg", ".png"))), pixels)
    message = CompressedImage(format=draw(st.sampled_from(FORMATS)), data=_bytes(encoded.tobytes()))
    message.header.frame_id = "camera"
    return message


@st.composite
def _damaged(draw: DrawFn, data: bytes) -> bytes:
    """Cut it off, lengthen it, write over a few bytes, or have a JPEG or PNG claim to be large."""
    place = draw(st.integers(0, len(data)))
    # Few are large: a node that decodes them takes seconds for each.
    match draw(st.sampled_from(("cut", "longer", "overwritten") * 3 + ("large",))):
        case "large":
            return _enlarged(data)
        case "cut":
            return data[:place]
        case "longer":
            return data[:place] + draw(st.binary(min_size=1, max_size=64)) + data[place:]
        case _:
            other = draw(st.binary(min_size=1, max_size=8))
            return (data[:place] + other + data[place + len(other) :])[: len(data)]


def _enlarged(data: bytes) -> bytes:
    """Write ``LARGE_SIDE`` into the header of a JPEG or PNG; other data stays."""
    if data.startswith(b"\x89PNG"):
        header = b"IHDR" + struct.pack(">II", LARGE_SIDE, LARGE_SIDE) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    size = data.find(b"\xff\xc0") + 5  # of baseline JPEGs, such as OpenCV's
    if not data.startswith(b"\xff\xd8") or size < 5:
        return data
    return data[:size] + struct.pack(">HH", LARGE_SIDE, LARGE_SIDE) + data[size + 4 :]


def _but_for_one_field(
    valid: SearchStrategy[Any], fields: dict[str, SearchStrategy[Any]]
) -> SearchStrategy[Any]:
    """``valid`` with one of ``fields`` drawn anew, or its data damaged."""

    @st.composite
    def change(draw: DrawFn) -> Any:
        message = draw(valid)
        name = draw(st.sampled_from(("data", *fields)))
        if name == "data":
            message.data = _bytes(draw(_damaged(message.data.tobytes())))
        else:
            setattr(message, name, draw(fields[name]))
        return message

    return change()


_IMAGE_FIELDS: dict[str, SearchStrategy[Any]] = {
    "header": _headers(),
    "encoding": st.one_of(st.sampled_from(sorted(BYTES_PER_PIXEL)), TEXT),
    "width": UINT32,
    "height": UINT32,
    "step": UINT32,
    "is_bigendian": st.integers(0, 255),
}
_COMPRESSED_FIELDS: dict[str, SearchStrategy[Any]] = {
    "header": _headers(),
    "format": st.one_of(st.sampled_from(FORMATS), TEXT),
}


@st.composite
def _arbitrary_image(draw: DrawFn) -> Image:
    fields = {name: draw(values) for name, values in _IMAGE_FIELDS.items()}
    return Image(**fields, data=_bytes(draw(st.binary(max_size=2000))))


@st.composite
def _arbitrary_compressed(draw: DrawFn) -> CompressedImage:
    fields = {name: draw(values) for name, values in _COMPRESSED_FIELDS.items()}
    data = draw(st.sampled_from(STARTS)) + draw(st.binary(max_size=2000))
    return CompressedImage(**fields, data=_bytes(data))


@st.composite
def camera_infos(draw: DrawFn) -> CameraInfo:
    """A description of a camera with any numbers in it."""
    info = CameraInfo(header=draw(_headers()), distortion_model=draw(TEXT))
    for target, names in (
        (info, ("width", "height", "binning_x", "binning_y")),
        (info.roi, ("x_offset", "y_offset", "width", "height")),
    ):
        for name in names:
            setattr(target, name, draw(UINT32))
    for name, count in (("k", 9), ("r", 9), ("p", 12)):
        setattr(info, name, draw(st.lists(st.floats(), min_size=count, max_size=count)))
    info.d = draw(st.lists(st.floats(), max_size=20))
    return info


def raw_images() -> SearchStrategy[tuple[Image, ...]]:
    """``PER_EXAMPLE`` messages of sensor_msgs/Image."""
    changed, other = _but_for_one_field(_valid_image(), _IMAGE_FIELDS), _arbitrary_image()
    return st.tuples(_valid_image(), changed, changed, other, other)


def compressed_images() -> SearchStrategy[tuple[CompressedImage, ...]]:
    """``PER_EXAMPLE`` messages of sensor_msgs/CompressedImage."""
    valid, other = _valid_jpeg_or_png(), _arbitrary_compressed()
    changed = _but_for_one_field(valid, _COMPRESSED_FIELDS)
    return st.tuples(valid, changed, changed, other, other)


def generate(strategy: SearchStrategy[T], count: int, number: int) -> list[T]:
    """Return about ``count`` examples, the same for the same ``number``.

    Collected first and sent afterwards: Hypothesis repeats an example that failed, and a node that
    has died cannot be asked again.
    """
    found: list[T] = []
    collect: Callable[[T], None] = found.append
    quiet = settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    @quiet
    @seed(number)
    @given(strategy)
    def run(example: T) -> None:
        collect(example)

    run()
    return found
