"""One frame's way from a message to the published images, without DDS."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")

from node_fixture import frame, header, picture, pixels_of
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from bisenet_ros.classes import palette
from bisenet_ros.errors import ImageError
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.resolution import Fit, LabelSize
from bisenet_ros.inference.segmenter import Segmentation, Segmenter, StageTimes
from bisenet_ros.model import file as model_file
from bisenet_ros.ros.frame_pipeline import FramePipeline, ignore_unsure
from bisenet_ros.ros.image_messages import ImageDecoder, compressed_message, decode_compressed
from bisenet_ros.ros.publishers import OUTPUTS, ImagePublishers
from bisenet_ros.ros.qos import qos_profile

QOS = qos_profile("reliable", "volatile", 2)


class Recorder:
    """Where messages leave the process: keeps each with its topic, in one list for all topics."""

    def __init__(self, published: list[tuple[str, Any]], topic: str) -> None:
        self.published = published
        self.topic_name = topic

    def get_subscription_count(self) -> int:
        return int(not self.topic_name.endswith("/compressed"))

    def publish(self, message: Any) -> None:
        self.published.append((self.topic_name, message))


class ReadOnlySegmenter(Segmenter):
    """Whoever writes to what it returns gets a ValueError."""

    def segment(
        self, image: np.ndarray, size: LabelSize = "input", fit: Fit = "stretch"
    ) -> Segmentation:
        result = super().segment(image, size, fit)
        assert result.confidence is not None
        for array in (result.image, result.labels, result.confidence):
            array.setflags(write=False)
        return result


@pytest.fixture(scope="module")
def segmenter(tiny_model: Path, one_thread: None) -> Iterator[Segmenter]:
    options = EngineOptions(backend="torch", device="cpu", precision="fp32", confidence=True)
    result = ReadOnlySegmenter(model_file.load(tiny_model), options)
    yield result
    result.close()


Process = Callable[..., dict[str, Any]]


@pytest.fixture
def process(segmenter: Segmenter) -> Process:
    """Label one message; what is published, by topic, in the order of publishing."""

    def call(message: Any, info: CameraInfo | None = None, **settings: Any) -> dict[str, Any]:
        published: list[tuple[str, Any]] = []
        images = ImagePublishers(
            lambda kind, topic, qos: Recorder(published, topic),
            list(OUTPUTS),
            QOS,
            palette(segmenter.model.metadata.classes),
        )
        size = settings.pop("label_size", "input")
        camera_info = Recorder(published, "~/camera_info")
        pipeline = FramePipeline(ImageDecoder(), images, camera_info)
        bit_depth = settings.pop("bit_depth", 16)
        decoded = pipeline.decode(message, max_image_pixels=160 * 120, bit_depth=bit_depth)
        part = segmenter.segment(decoded.part, size)
        live = {"overlay_alpha": 0.5, "confidence_threshold": 0.0} | settings
        times = pipeline.publish(decoded, part, info, **live)
        assert min(times.decode_ms, times.inference_ms, times.publish_ms) > 0
        assert len(dict(published)) == len(published)
        return dict(published)

    return call


def test_all_outputs_of_one_image_carry_its_header(process: Process, segmenter: Segmenter) -> None:
    published = process(frame(7), overlay_alpha=0.25)
    assert list(published) == ["~/label", "~/confidence", "~/overlay", "~/color"]
    assert {message.encoding for message in published.values()} == {"mono8", "rgb8"}
    assert all(message.header == header(7) for message in published.values())
    expected = segmenter.segment(picture(7))
    colors = palette(segmenter.model.metadata.classes)[expected.labels]
    np.testing.assert_array_equal(pixels_of(published["~/label"]), expected.labels)
    np.testing.assert_array_equal(pixels_of(published["~/confidence"]), expected.confidence)
    np.testing.assert_array_equal(pixels_of(published["~/color"]), colors)
    blend = 0.75 * picture(7) + 0.25 * colors
    assert np.abs(pixels_of(published["~/overlay"]) - blend).max() <= 0.5


def test_camera_info_is_scaled_to_the_labels_and_goes_first(process: Process) -> None:
    info = CameraInfo(width=160, height=120, header=header(99))
    info.k = [100.0, 0.0, 79.5, 0.0, 100.0, 59.5, 0.0, 0.0, 1.0]
    published = process(frame(3), info, label_size="network")
    assert next(iter(published)) == "~/camera_info"
    scaled = published["~/camera_info"]
    assert scaled.header == header(3)
    assert (scaled.width, scaled.height) == (128, 64)
    assert scaled.k[0] == pytest.approx(80)
    assert pixels_of(published["~/label"]).shape == (64, 128)
    assert pixels_of(published["~/overlay"]).shape == (64, 128, 3)


def test_a_compressed_image_is_labeled_like_its_pixels(
    process: Process, segmenter: Segmenter
) -> None:
    jpeg = compressed_message(picture(2), header(2))
    published = process(jpeg)
    expected = segmenter.segment(decode_compressed(jpeg)).labels
    np.testing.assert_array_equal(pixels_of(published["~/label"]), expected)
    assert published["~/label"].header == header(2)


def test_a_12_bit_image_is_labeled_like_its_8_bits(process: Process, segmenter: Segmenter) -> None:
    gray = picture(5)[..., 0]
    deep = np.rint(gray * (4095 / 255)).astype("<u2")
    raw = Image(header=header(5), encoding="mono16", height=120, width=160, step=320)
    raw.data = deep.tobytes()
    _, png = cv2.imencode(".png", deep)
    packed = CompressedImage(format="mono16; png compressed ", data=png.tobytes())
    expected = segmenter.segment(np.dstack([gray] * 3)).labels
    for message in (raw, packed):
        published = process(message, bit_depth=12)
        np.testing.assert_array_equal(pixels_of(published["~/label"]), expected)
        with pytest.raises(
            ImageError, match="10 bits end at 1023: set the node's parameter bit_de"
        ):
            process(message, bit_depth=10)


def test_below_the_threshold_is_255_in_an_array_of_its_own(
    process: Process, segmenter: Segmenter
) -> None:
    published = process(frame(4), confidence_threshold=0.5, overlay_alpha=1.0)
    expected = segmenter.segment(picture(4))
    unsure = expected.confidence < 128
    assert 0.05 < unsure.mean() < 0.95
    label = pixels_of(published["~/label"])
    np.testing.assert_array_equal(label, np.where(unsure, 255, expected.labels))
    overlay = pixels_of(published["~/overlay"])
    np.testing.assert_array_equal(overlay[unsure], picture(4)[unsure])
    assert ignore_unsure(expected, 0.5).labels.dtype == np.uint8


def test_a_segmentation_without_confidence_is_left_as_it_is() -> None:
    labels = np.zeros((2, 2), np.uint8)
    image, times = np.zeros((2, 2, 3), np.uint8), StageTimes(0.0, 0.0, 0.0)
    plain = Segmentation(image, labels, None, times)
    assert ignore_unsure(plain, 0.9) is plain


def test_what_cannot_be_decoded_publishes_nothing(process: Process) -> None:
    depth = frame(1)
    depth.encoding = "32FC1"
    with pytest.raises(ImageError, match="depth image"):
        process(depth, CameraInfo())
    with pytest.raises(ImageError, match="0x0 is too small"):
        process(Image(encoding="rgb8"))


def test_an_image_above_the_limit_publishes_nothing(process: Process) -> None:
    large = frame(1, 161, 120)
    for message in (large, compressed_message(picture(1, 161, 120), header(1))):
        with pytest.raises(ImageError, match="161x120 pixels, more than max_image_pixels = 19200"):
            process(message, CameraInfo())
