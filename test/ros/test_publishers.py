"""The published images, with real publishers in one process."""

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("rclpy")

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from small_node import make_node, spin_until
from std_msgs.msg import Header

from bisenet_ros.inference.segmenter import Segmentation, StageTimes
from bisenet_ros.ros.image_messages import decode_compressed
from bisenet_ros.ros.publishers import ImagePublishers
from bisenet_ros.ros.qos import qos_profile

PALETTE = np.arange(768, dtype=np.uint8).reshape(256, 3)
RELIABLE = qos_profile("reliable", "volatile", 2)


@pytest.fixture
def node() -> Iterator[Node]:
    with make_node("alone") as node:
        yield node


def segmentation(labels: np.ndarray) -> Segmentation:
    image = np.full((*labels.shape, 3), 100, np.uint8)
    return Segmentation(image, labels, None, StageTimes(0, 0, 0))


def test_nothing_is_rendered_when_no_one_listens(node: Node) -> None:
    outputs = ImagePublishers(
        node.create_publisher, ["label", "overlay", "color"], RELIABLE, PALETTE
    )
    impossible = segmentation(np.zeros((4, 6), np.int64))  # whatever touches it raises
    outputs.publish(impossible, Header(), 0.5)

    heard: list[Image] = []
    node.create_subscription(Image, "alone/color", heard.append, RELIABLE)
    (publisher,) = [p for p in node.publishers if p.topic_name == "/alone/color"]
    spin_until(node, publisher.get_subscription_count)
    with pytest.raises(ValueError, match="must be uint8"):
        outputs.publish(impossible, Header(), 0.5)

    outputs.publish(segmentation(np.full((4, 6), 2, np.uint8)), Header(frame_id="x"), 0.5)
    spin_until(node, lambda: heard)
    assert (heard[0].width, heard[0].height, heard[0].step) == (6, 4, 18)
    assert (heard[0].encoding, heard[0].header.frame_id) == ("rgb8", "x")
    assert bytes(heard[0].data) == bytes([6, 7, 8]) * 24


def test_a_jpeg_is_made_for_who_listens_to_it(node: Node) -> None:
    outputs = ImagePublishers(
        node.create_publisher, ["label", "overlay", "color"], RELIABLE, PALETTE
    )
    topics = [publisher.topic_name for publisher in node.publishers]
    jpegs = [topic for topic in topics if topic.endswith("/compressed")]
    assert jpegs == ["/alone/overlay/compressed", "/alone/color/compressed"]
    heard: list[CompressedImage] = []
    node.create_subscription(CompressedImage, "alone/color/compressed", heard.append, RELIABLE)
    (publisher,) = [p for p in node.publishers if p.topic_name == "/alone/color/compressed"]
    spin_until(node, publisher.get_subscription_count)
    outputs.publish(segmentation(np.full((32, 48), 40, np.uint8)), Header(frame_id="x"), 0.5)
    spin_until(node, lambda: heard)
    assert heard[0].header.frame_id == "x"
    picture = decode_compressed(heard[0])
    assert picture.shape == (32, 48, 3)
    assert np.abs(picture.astype(int) - PALETTE[40]).max() <= 3


def test_jpegs_follow_a_remapped_output() -> None:
    with make_node("alone", "-r", "~/overlay:=/viz/overlay") as node:
        ImagePublishers(node.create_publisher, ["overlay", "color"], RELIABLE, PALETTE)
        topics = {publisher.topic_name for publisher in node.publishers}
    assert {"/viz/overlay", "/viz/overlay/compressed"} <= topics
    assert {"/alone/color", "/alone/color/compressed"} <= topics
