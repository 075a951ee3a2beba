"""Every encoding against an independent converter, and every refusal."""

import array
import contextlib
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sensor_msgs")

import cv2
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from bisenet_ros.errors import ImageError
from bisenet_ros.images.bit_depth import BitDepth
from bisenet_ros.ros import image_messages
from bisenet_ros.ros.image_messages import (
    ENCODINGS,
    ImageDecoder,
    compressed_message,
    decode_compressed,
    image_message,
)

BAYER = [name for name in ENCODINGS if name.startswith("bayer")]
YUV422 = ["uyvy", "yuv422", "yuyv", "yuv422_yuy2"]
NV = ["nv12", "nv21"]
CHANNELS = {"rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4} | dict.fromkeys(YUV422, 2)  # else 1
W, H = 38, 22


class Log:
    """A logger that keeps its warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, message: str, /) -> None:
        self.lines.append(message)


def wide(encoding: str) -> bool:
    return encoding.endswith("16")


def values(encoding: str, width: int = W, height: int = H) -> np.ndarray:
    """Random values as ``encoding`` stores them, [rows, width * channels]."""
    columns = width * CHANNELS.get(encoding.removesuffix("16").removesuffix("8"), 1)
    rows = height * 3 // 2 if encoding in NV else height
    dtype = np.uint16 if wide(encoding) else np.uint8
    source = np.random.default_rng(len(encoding) + width)
    return source.integers(0, np.iinfo(dtype).max + 1, (rows, columns), dtype)


def message_of(
    stored: np.ndarray,
    encoding: str,
    width: int = W,
    height: int = H,
    padding: int = 0,
    big: bool = False,
    last_padding: bool = True,
) -> Image:
    """An Image message with these values, rows ``padding`` bytes apart (filled with noise)."""
    raw = stored.astype(stored.dtype.newbyteorder(">" if big else "<")).view(np.uint8)
    noise = np.random.default_rng(1).integers(0, 256, (len(raw), padding), np.uint8)
    padded = np.hstack([raw, noise])
    data = padded.tobytes()
    message = Image(encoding=encoding, is_bigendian=int(big), step=padded.shape[1])
    message.width, message.height = width, height
    message.data = array.array("B", data if last_padding or not padding else data[:-padding])
    return message


def yuv_to_rgb(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """BT.601 with 16..235, the formula written out."""
    y, u, v = (plane.astype(np.float64) for plane in (y, u, v))
    luma = 255 / 219 * np.maximum(y - 16, 0)
    u, v = (u - 128) * 255 / 224, (v - 128) * 255 / 224
    green = luma - (0.114 * 1.772 * u + 0.299 * 1.402 * v) / 0.587
    rgb = np.stack([luma + 1.402 * v, green, luma + 1.772 * u], -1)
    return np.clip(np.rint(rgb), 0, 255)


def reference(stored: np.ndarray, encoding: str) -> np.ndarray:
    """RGB by numpy alone, for all but Bayer, whose interpolation is a matter of choice."""
    rows, columns = stored.shape
    if encoding in YUV422:
        pairs = stored.reshape(rows, -1, 4)  # the bytes of two pixels
        order = "uyvy" if encoding in ("uyvy", "yuv422") else "yuyv"
        at = {"uyvy": (1, 0, 2), "yuyv": (0, 1, 3)}[order]
        y = pairs[..., at[0] :: 2].reshape(rows, -1)
        u, v = (np.repeat(pairs[..., i], 2, axis=1) for i in at[1:])
        return yuv_to_rgb(y, u, v)
    if encoding in NV:
        height = rows * 2 // 3
        chroma = stored[height:].reshape(height // 2, columns // 2, 2).repeat(2, 0).repeat(2, 1)
        u, v = chroma[..., 0], chroma[..., 1]
        return yuv_to_rgb(stored[:height], *((u, v) if encoding == "nv12" else (v, u)))
    if wide(encoding):
        stored = np.rint(stored / 257).astype(np.uint8)
    if encoding.startswith(("mono", "8UC1")):
        return np.repeat(stored[..., None], 3, axis=2)
    channels = CHANNELS[encoding.removesuffix("16").removesuffix("8")]
    pixels = stored.reshape(rows, -1, channels)
    return pixels[..., :3] if encoding.startswith("rgb") else pixels[..., 2::-1]


def by_rosbags(message: Image) -> np.ndarray:
    rosbags_image = pytest.importorskip("rosbags.image")
    return np.asarray(rosbags_image.message_to_cvimage(message, "rgb8"))


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if name not in (*NV, "8UC1")])
@pytest.mark.parametrize("big", [False, True])
def test_agrees_with_rosbags_image(encoding: str, big: bool) -> None:
    stored = values(encoding)
    rgb = ImageDecoder().to_rgb(message_of(stored, encoding, big=big))
    assert rgb.shape == (H, W, 3) and rgb.dtype == np.uint8
    expected = by_rosbags(message_of(stored, encoding, big=big))
    # rosbags truncates 16 bits to 8; we round.
    assert np.abs(rgb.astype(int) - expected).max() <= (1 if wide(encoding) else 0)


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if name not in BAYER])
@pytest.mark.parametrize("padding", [0, 1, 10])
@pytest.mark.parametrize("last_padding", [True, False])
def test_agrees_with_numpy(encoding: str, padding: int, last_padding: bool) -> None:
    stored = values(encoding)
    for big in (False, True):
        message = message_of(stored, encoding, padding=padding, big=big, last_padding=last_padding)
        rgb = ImageDecoder().to_rgb(message)
        assert rgb.shape == (H, W, 3) and rgb.dtype == np.uint8
        tolerance = 1 if encoding in (*YUV422, *NV) else 0  # OpenCV's fixed point
        assert np.abs(rgb - reference(stored, encoding)).max() <= tolerance


def test_sixteen_bits_round_for_every_value() -> None:
    stored = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    rgb = ImageDecoder().to_rgb(message_of(stored, "mono16", 256, 256))
    assert (rgb[..., 1] == np.rint(stored / 257)).all()


@pytest.mark.parametrize("encoding", BAYER)
def test_bayer_has_the_right_colors(encoding: str) -> None:
    """A mosaic of one color must give that color, at the borders too."""
    scale = 257 if wide(encoding) else 1
    color = {"r": 200, "g": 90, "b": 10}
    tile = np.array([color[letter] * scale for letter in encoding[6:10]]).reshape(2, 2)
    stored = np.tile(tile, (6, 7)).astype(np.uint16 if wide(encoding) else np.uint8)[:11, :13]
    for padding in (0, 5):
        for big in (False, True):
            message = message_of(stored, encoding, 13, 11, padding, big)
            assert (ImageDecoder().to_rgb(message) == [200, 90, 10]).all()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 5), (5, 1), (3, 3)])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8", "rgba8", "bgra16", "mono16"])
def test_small_pictures(encoding: str, width: int, height: int) -> None:
    stored = values(encoding, width, height)
    rgb = ImageDecoder().to_rgb(message_of(stored, encoding, width, height, padding=3))
    assert (rgb == reference(stored, encoding)).all()


@pytest.mark.parametrize("padding", [0, 7])
def test_rgb8_is_viewed_without_a_copy(padding: int) -> None:
    message = message_of(values("rgb8"), "rgb8", padding=padding)
    rgb = ImageDecoder().to_rgb(message)
    assert np.shares_memory(rgb, np.frombuffer(message.data, np.uint8))
    message.data[0] ^= 255
    assert rgb[0, 0, 0] == message.data[0]


# --- bits of 16-bit images ---


def scaled(stored: np.ndarray, bits: int) -> np.ndarray:
    return np.rint(stored * 255.0 / (2**bits - 1))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("big", [False, True])
def test_every_value_of_each_depth(bits: int, big: bool) -> None:
    stored = np.arange(2**bits, dtype=np.uint16).reshape(-1, 16)
    height = len(stored)
    decoder = ImageDecoder(Log(), BitDepth(bits))
    rgb = decoder.to_rgb(message_of(stored, "mono16", 16, height, big=big))
    assert (rgb == scaled(stored, bits)[..., None]).all()
    for name, order in (("rgb16", slice(None)), ("bgr16", slice(None, None, -1))):
        colors = np.stack([stored, stored[::-1], np.flip(stored)], -1)
        message = message_of(colors.reshape(height, -1), name, 16, height, big=big)
        assert (decoder.to_rgb(message) == scaled(colors, bits)[..., order]).all()


@pytest.mark.parametrize("encoding", [name for name in BAYER if wide(name)])
@pytest.mark.parametrize("big", [False, True])
def test_colors_of_a_12_bit_mosaic(encoding: str, big: bool) -> None:
    color = {"r": 4095, "g": 2048, "b": 100}
    tile = np.array([color[letter] for letter in encoding[6:10]], np.uint16).reshape(2, 2)
    stored = np.tile(tile, (5, 6))
    message = message_of(stored, encoding, 12, 10, big=big)
    assert (ImageDecoder(Log(), BitDepth(12)).to_rgb(message) == [255, 128, 6]).all()
    png = compressed(".png", stored, f"{encoding}; png compressed ")
    assert (decode_compressed(png, depth=BitDepth(12)) == [255, 128, 6]).all()


def test_alpha_may_fill_16_bits() -> None:
    stored = np.tile(np.array([4095, 2048, 100, 65535], np.uint16), (4, 5))
    rgb = ImageDecoder(Log(), BitDepth(12)).to_rgb(message_of(stored, "rgba16", 5, 4))
    assert (rgb == [255, 128, 6]).all()


def test_a_dark_16_bit_image_is_warned_of_once_with_the_parameter() -> None:
    log = Log()
    decoder = ImageDecoder(log)
    for largest in (0, 16384, 65535, 4000, 900):
        stored = np.zeros((H, W), np.uint16)
        stored[3, 4] = largest
        decoder.to_rgb(message_of(stored, "mono16", big=True))
    assert log.lines == [
        "mono16 image is dark: its largest value is 4000 of 65535. If its camera has 12 bits, set "
        "the node's parameter bit_depth to 12"
    ]


def test_values_beyond_the_depth_are_refused() -> None:
    stored = np.full((H, W), 4096, np.uint16)
    with pytest.raises(ImageError) as caught:
        ImageDecoder(Log(), BitDepth(12)).to_rgb(message_of(stored, "mono16"))
    assert str(caught.value).startswith("mono16 image has the value 4096, but 12 bits end at 4095:")
    ours = BitDepth(12, "set bit_depth to {}")
    with pytest.raises(ImageError, match="12 bits end at 4095: set bit_depth to 16"):
        decode_compressed(compressed(".png", stored * 8, "mono16; png compressed "), depth=ours)


@pytest.mark.parametrize("alpha", [False, True])
def test_color_pngs_keep_16_bits(alpha: bool) -> None:
    stored = values("rgb16").reshape(H, W, 3) >> 6
    bgr = stored[..., ::-1]
    if alpha:
        bgr = np.dstack([bgr, np.full((H, W), 65535, np.uint16)])
    message = compressed(".png", bgr, "rgb16; png compressed bgr16")
    assert (decode_compressed(message, depth=BitDepth(10)) == scaled(stored, 10)).all()
    cut = CompressedImage(format="rgb16; png compressed bgr16", data=message.data[:-900])
    with pytest.raises(ImageError, match="cut off"):
        decode_compressed(cut)


def test_cv_bridge_scales_the_full_16_bits_only(install_cv_bridge: Callable[[str], None]) -> None:
    install_cv_bridge(WORKS)
    decoder = ImageDecoder(Log())
    message = message_of(np.full((H, W), 1023, np.uint16), "mono16")
    assert (decoder.to_rgb(message) == 7).all()
    decoder.depth.bits = 10
    assert (decoder.to_rgb(message) == 255).all()


# --- refusals ---


def spoilt(encoding: str = "rgb8", **fields: Any) -> Image:
    message = message_of(values(encoding), encoding) if encoding in ENCODINGS else Image()
    for name, value in {"encoding": encoding, **fields}.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (spoilt("cmyk"), ["'cmyk'", "not supported", "rgb8", "bayer_rggb8", "yuv422"]),
        (spoilt(""), ["encoding ''", "rgb8"]),
        (spoilt("x" * 9999), ["'xxx", "not supported"]),
        (spoilt("32FC1"), ["'32FC1'", "depth image", "remap"]),
        (spoilt("16UC1"), ["'16UC1'", "depth image", "remap"]),
        (spoilt("8UC3"), ["'8UC3'", "order of its colors", "rgb8 or bgr8"]),
        (spoilt(width=0), [f"0x{H}", "too small", "driver"]),
        (spoilt(height=0), [f"{W}x0", "too small", "driver"]),
        (spoilt("bayer_rggb8", height=2), [f"{W}x2", "at least 3x3"]),
        (spoilt("yuv422", width=37), ["37x22", "multiples of 2x1", "crop"]),
        (spoilt("nv12", height=21), ["38x21", "multiples of 2x2"]),
        (spoilt(step=3 * W - 1), ["step of 113", "a row takes 114", "driver"]),
        (spoilt("mono16", step=W), ["step of 38", "takes 76"]),
        (spoilt(data=array.array("B", bytes(3 * W * H - 1))), ["needs 2508", "has 2507", "part"]),
        (spoilt(data=array.array("B")), ["has 0"]),
        (spoilt(height=4_000_000_000), ["4000000000", "has 2508"]),
        (spoilt(width=4_000_000_000), ["step of 114", "a row takes 12000000000"]),
        (spoilt(step=4_000_000_000), ["step of 4000000000 needs", "has 2508"]),
    ],
)
def test_refusal(message: Image, words: list[str]) -> None:
    with pytest.raises(ImageError) as caught:
        ImageDecoder().to_rgb(message)
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert len(text) < 400 and "\n" not in text


def test_garbage_gives_a_picture_or_an_image_error() -> None:
    rng = random.Random(0)
    sizes = [0, 1, 2, 3, 4, 5, 7, 8, 33, 64, 2**16, 2**31 - 1, 2**31, 2**32 - 1]
    strange = ["", "8UC3", "32FC1", "nv24", "bayer", "\0", "é"]
    log, pictures = Log(), 0
    decoder = ImageDecoder(log)
    for _ in range(8000):
        message = Image(encoding=rng.choice(ENCODINGS * 3 + tuple(strange)))
        limit = rng.choice((9, 9, 9, len(sizes)))
        message.width, message.height = rng.choice(sizes[:limit]), rng.choice(sizes[:limit])
        message.step = rng.choice([*sizes[:limit], min(message.width * rng.randint(1, 9), 9999)])
        message.is_bigendian = rng.choice([0, 1, 255])
        length = rng.choice([rng.randrange(3000), min(message.step * message.height * 2, 9000)])
        message.data = array.array("B", rng.randbytes(length))
        try:
            rgb = decoder.to_rgb(message)
        except ImageError:
            continue
        pictures += 1
        assert rgb.shape == (message.height, message.width, 3) and rgb.dtype == np.uint8
    assert 500 < pictures < 7500
    assert [line for line in log.lines if "is dark: its largest value" not in line] == []


# --- cv_bridge ---


@pytest.fixture
def install_cv_bridge(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[[str], None]]:
    """Puts a cv_bridge of our own on the path: the real one is in no Python registry."""

    def install(source: str) -> None:
        (tmp_path / "cv_bridge.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
        monkeypatch.setenv("PYTHONPATH", path)

    yield install
    sys.modules.pop("cv_bridge", None)


def check_bayer(decoder: ImageDecoder) -> None:
    message = message_of(values("bayer_grbg16"), "bayer_grbg16")
    expected = image_messages._convert(
        image_messages._view(message, image_messages._LAYOUTS["bayer_grbg16"]),
        image_messages._LAYOUTS["bayer_grbg16"],
        BitDepth(),
    )
    assert (decoder.to_rgb(message) == expected).all()


WORKS = """
import numpy as np
asked = []
class CvBridge:
    def imgmsg_to_cv2(self, message, encoding):
        asked.append((message.encoding, encoding))
        return np.full((message.height, message.width, 3), 7, np.uint8)
"""


def test_cv_bridge_that_works_is_used_for_what_it_reads_right(
    install_cv_bridge: Callable[[str], None],
) -> None:
    install_cv_bridge(WORKS)
    log = Log()
    decoder = ImageDecoder(log)
    for encoding in ENCODINGS:
        decoder.to_rgb(message_of(values(encoding), encoding))
        # Rows that are apart, or a last row without padding, never go there.
        decoder.to_rgb(message_of(values(encoding), encoding, padding=1))
        decoder.to_rgb(message_of(values(encoding), encoding, padding=4, last_padding=False))
    sixteen = ["mono16", "rgb16", "bgr16", "rgba16", "bgra16"]
    expected = [(name, "rgb8") for name in [*sixteen, "yuv422", "yuv422_yuy2", *BAYER]]
    assert sys.modules["cv_bridge"].asked == expected
    assert (decoder.to_rgb(message_of(values("mono16"), "mono16")) == 7).all()
    assert log.lines == []


@pytest.mark.parametrize(
    "error", ["TypeError('bad\\nsecond')", "SystemError('')", "RuntimeError('x' * 999)"]
)
def test_cv_bridge_that_fails_later_is_named_once(
    install_cv_bridge: Callable[[str], None], error: str
) -> None:
    install_cv_bridge(f"""
asked = []
class CvBridge:
    def imgmsg_to_cv2(self, message, encoding):
        asked.append(encoding)
        if message.width > 1:
            raise {error}
""")
    log = Log()
    decoder = ImageDecoder(log)
    for _ in range(3):
        check_bayer(decoder)
    assert sys.modules["cv_bridge"].asked == ["rgb8"]
    assert len(log.lines) == 1 and "\n" not in log.lines[0] and len(log.lines[0]) < 500
    assert "cv_bridge does not work" in log.lines[0] and "OpenCV converts" in log.lines[0]


# What one built for NumPy 1 does under NumPy 2: the import fails, or it passes and the first
# conversion is a segmentation fault.
CRASHES = """
import signal
class CvBridge:
    def imgmsg_to_cv2(self, message, encoding):
        signal.raise_signal(signal.SIGSEGV)
"""
RAISES = "raise SystemError('initialization of cv_bridge_boost raised unreported exception')\n"


@pytest.mark.parametrize(
    ("source", "reason"),
    [(CRASHES, "ends the process with signal 11"), (RAISES, "exits with status 1")],
    ids=["crashes", "raises"],
)
def test_cv_bridge_built_for_another_numpy_is_tried_in_a_child_process(
    install_cv_bridge: Callable[[str], None], capfd: Any, source: str, reason: str
) -> None:
    install_cv_bridge(source)
    log = Log()
    decoder = ImageDecoder(log)
    for _ in range(3):
        check_bayer(decoder)
    assert "cv_bridge" not in sys.modules
    assert len(log.lines) == 1 and "numpy<2" in log.lines[0] and reason in log.lines[0]
    assert capfd.readouterr().err == ""


def test_no_cv_bridge_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv_bridge", None)  # importing it raises ModuleNotFoundError
    log = Log()
    check_bayer(ImageDecoder(log))
    assert log.lines == []


# --- compressed images ---


def smooth_rgb() -> np.ndarray:
    """A picture that JPEG keeps: red grows to the right, green downwards, blue is 40."""
    x, y = np.meshgrid(np.linspace(0, 255, 64), np.linspace(0, 255, 48))
    return np.stack([x, y, np.full_like(x, 40)], -1).astype(np.uint8)


def compressed(suffix: str, picture: np.ndarray, form: str) -> CompressedImage:
    _, data = cv2.imencode(suffix, picture)
    return CompressedImage(format=form, data=array.array("B", data.tobytes()))


@pytest.mark.parametrize(
    "form", ["jpeg", "", "rgb8; jpeg compressed bgr8", "bgr8; jpeg compressed bgr8"]
)
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_compressed_color(suffix: str, form: str) -> None:
    message = compressed(suffix, smooth_rgb()[..., ::-1], form)
    rgb = decode_compressed(message)
    assert np.abs(rgb.astype(int) - smooth_rgb()).max() <= (0 if suffix == ".png" else 8)
    rosbags_image = pytest.importorskip("rosbags.image")
    assert (rgb == rosbags_image.message_to_cvimage(message)[..., ::-1]).all()


@pytest.mark.parametrize("encoding", BAYER)
def test_a_bayer_mosaic_in_a_png_has_colors(encoding: str) -> None:
    scale = 257 if wide(encoding) else 1
    color = {"r": 200, "g": 90, "b": 10}
    tile = np.array([color[letter] * scale for letter in encoding[6:10]]).reshape(2, 2)
    mosaic = np.tile(tile, (6, 7)).astype(np.uint16 if wide(encoding) else np.uint8)
    message = compressed(".png", mosaic, f"{encoding}; png compressed ")
    assert (decode_compressed(message) == [200, 90, 10]).all()


def test_compressed_grey_alpha_and_sixteen_bits() -> None:
    gray = smooth_rgb()[..., 0]
    rgb = decode_compressed(compressed(".png", gray, "mono8; png compressed "))
    assert (rgb == gray[..., None]).all()
    bgra = np.dstack([smooth_rgb()[..., ::-1], gray])
    assert (decode_compressed(compressed(".png", bgra, "png")) == smooth_rgb()).all()
    deep = compressed(".png", gray.astype(np.uint16) * 257, "mono16; png compressed ")
    assert (decode_compressed(deep) == gray[..., None]).all()


def test_orientation_in_exif_is_ignored() -> None:
    jpeg = bytes(compressed(".jpg", smooth_rgb(), "jpeg").data)
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6
    exif = b"Exif\0\0" + tiff
    marker = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    turned = jpeg[:2] + marker + jpeg[2:]
    seen = cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR)
    assert seen.shape == (64, 48, 3)  # OpenCV believes it, so the file is what it should be
    message = CompressedImage(format="jpeg", data=array.array("B", turned))
    assert decode_compressed(message).shape == (48, 64, 3)


JPEG = bytes(compressed(".jpg", smooth_rgb(), "jpeg").data)
PNG = bytes(compressed(".png", smooth_rgb(), "png").data)
GREY_PNG = bytes(compressed(".png", smooth_rgb()[..., 0], "png").data)
DEEP_PNG = bytes(compressed(".png", smooth_rgb()[..., 0].astype(np.uint16) * 257, "png").data)


@pytest.mark.parametrize(
    ("form", "data", "words"),
    [
        ("jpeg", b"", ["'jpeg'", "0 bytes", "JPEG or PNG"]),
        ("h264", b"\0\0\0\1abc", ["'h264'", "7 bytes", "no picture"]),
        ("jpeg", JPEG[: len(JPEG) // 2], ["'jpeg'", "cut off"]),
        ("png", PNG[: len(PNG) // 2], ["'png'", "cut off"]),
        ("16UC1; compressedDepth", PNG, ["'16UC1; compressedDepth'", "depth image", "remap"]),
        ("32FC1; compressedDepth png", PNG, ["depth image"]),
        ("compressedDepth", PNG, ["depth image"]),
        ("16UC1; png compressed ", PNG, ["depth image"]),
        ("bayer_rggb8; jpeg compressed mono8", JPEG, ["no colors", "image_proc"]),
        ("bayer_rggb8; png compressed ", PNG, ["no such Bayer mosaic", "has colors"]),
        ("bayer_rggb8; png compressed ", DEEP_PNG, ["no such Bayer mosaic", "16 bits"]),
        ("bayer_rggb16; png compressed ", GREY_PNG, ["no such Bayer mosaic", "8 bits"]),
    ],
)
def test_compressed_refusal(form: str, data: bytes, words: list[str]) -> None:
    with pytest.raises(ImageError) as caught:
        decode_compressed(CompressedImage(format=form, data=array.array("B", data)))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_compressed_garbage_gives_a_picture_or_an_image_error() -> None:
    rng = random.Random(0)
    for _ in range(600):
        data = bytearray(rng.choice([JPEG, PNG, b"BM" + rng.randbytes(60), rng.randbytes(80)]))
        for _ in range(rng.randrange(20)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        message = CompressedImage(format=rng.choice(["", "jpeg", "png", "\0é;"]))
        message.data = array.array("B", data[: rng.choice([len(data), rng.randrange(len(data))])])
        with contextlib.suppress(ImageError):
            assert decode_compressed(message).dtype == np.uint8


# --- messages that we send ---


@pytest.mark.parametrize("encoding", ["rgb8", "mono8"])
@pytest.mark.parametrize("contiguous", [True, False])
def test_round_trip(encoding: str, contiguous: bool) -> None:
    pixels = values(encoding).reshape((H, W, 3) if encoding == "rgb8" else (H, W))
    pixels = pixels if contiguous else pixels[::-1, ::-1]
    header = Header(frame_id="camera_optical")
    header.stamp.sec, header.stamp.nanosec = 5, 6
    message = image_message(pixels, encoding, header)
    assert message.header == header
    assert (message.height, message.width, message.encoding) == (H, W, encoding)
    assert message.step == W * (3 if encoding == "rgb8" else 1) and message.is_bigendian == 0
    assert isinstance(message.data, array.array) and len(message.data) == message.step * H
    expected = pixels if encoding == "rgb8" else pixels[..., None]
    assert (ImageDecoder().to_rgb(message) == expected).all()
    assert (by_rosbags(message) == expected).all()


@pytest.mark.parametrize(
    ("shape", "dtype", "encoding"),
    [
        ((4, 4), np.uint8, "rgb8"),
        ((4, 4, 3), np.uint8, "mono8"),
        ((4, 4, 4), np.uint8, "rgb8"),
        ((4,), np.uint8, "mono8"),
        ((4, 4, 3), np.float32, "rgb8"),
        ((4, 4, 3), np.uint8, "bgr8"),
    ],
)
def test_arrays_that_fit_no_message(shape: tuple[int, ...], dtype: Any, encoding: str) -> None:
    with pytest.raises(ValueError, match=encoding if dtype == np.uint8 else "float32"):
        image_message(np.zeros(shape, dtype), encoding, Header())


def test_compressed_message() -> None:
    header = Header(frame_id="camera")
    message = compressed_message(smooth_rgb(), header)
    assert message.format == "rgb8; jpeg compressed bgr8" and message.header == header
    assert np.abs(decode_compressed(message).astype(int) - smooth_rgb()).max() <= 8
    assert len(compressed_message(smooth_rgb(), header, quality=20).data) < len(message.data)
    gray = compressed_message(smooth_rgb()[..., 0], header)
    assert gray.format == "mono8; jpeg compressed mono8"
    assert np.abs(decode_compressed(gray)[..., 0].astype(int) - smooth_rgb()[..., 0]).max() <= 8
