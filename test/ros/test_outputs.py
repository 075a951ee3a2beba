"""The published images, and the reasons for silence, with real publishers in one process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

pytest.importorskip("rclpy")

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from bisenet_ros.inference.segmenter import Segmentation, StageTimes
from bisenet_ros.ros.image_messages import decode_compressed
from bisenet_ros.ros.outputs import ImageOutputs
from bisenet_ros.ros.qos import qos_profile
from bisenet_ros.ros.silence import explain_silence

PALETTE = np.arange(768, dtype=np.uint8).reshape(256, 3)
RELIABLE = qos_profile("reliable", "volatile", 2)


@contextmanager
def make_node(name: str, *ros_arguments: str) -> Iterator[Node]:
    context = rclpy.Context()
    rclpy.init(args=["--ros-args", *ros_arguments], context=context)
    node = rclpy.create_node(name, context=context)
    yield node
    node.destroy_node()
    context.try_shutdown()


@pytest.fixture
def node() -> Iterator[Node]:
    with make_node("alone") as node:
        yield node


@pytest.fixture
def camera() -> Iterator[Node]:
    """Of a context of its own: one participant of DDS cannot have two types for a topic."""
    with make_node("camera") as node:
        yield node


def spin_until(node: Node, condition: Callable[[], object]) -> None:
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    end = node.get_clock().now().nanoseconds + 20e9
    while not condition():
        assert node.get_clock().now().nanoseconds < end
        executor.spin_once(timeout_sec=0.02)
    executor.shutdown()


def segmentation(labels: np.ndarray) -> Segmentation:
    image = np.full((*labels.shape, 3), 100, np.uint8)
    return Segmentation(image, labels, None, StageTimes(0, 0, 0))


def test_nothing_is_rendered_when_no_one_listens(node: Node) -> None:
    outputs = ImageOutputs(node, ["label", "overlay", "color"], RELIABLE, PALETTE)
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
    outputs = ImageOutputs(node, ["label", "overlay", "color"], RELIABLE, PALETTE)
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
        ImageOutputs(node, ["overlay", "color"], RELIABLE, PALETTE)
        topics = {publisher.topic_name for publisher in node.publishers}
    assert {"/viz/overlay", "/viz/overlay/compressed"} <= topics
    assert {"/alone/color", "/alone/color/compressed"} <= topics


def test_silence_on_one_transport_names_the_other(node: Node, camera: Node) -> None:
    raw = node.create_subscription(Image, "/front", print, RELIABLE)
    jpegs = node.create_subscription(CompressedImage, "/rear/compressed", print, RELIABLE)
    camera.create_publisher(CompressedImage, "/front/compressed", RELIABLE)
    camera.create_publisher(Image, "/rear", RELIABLE)
    for topic in ("/front/compressed", "/rear"):
        spin_until(node, lambda topic=topic: node.get_publishers_info_by_topic(topic))
    assert explain_silence(node, raw, RELIABLE) == (
        "nobody publishes /front, but somebody /front/compressed: set input_transport to "
        "'compressed'"
    )
    assert explain_silence(node, jpegs, RELIABLE).endswith("/rear: set input_transport to 'raw'")


def test_close_destroys_the_publishers(node: Node) -> None:
    before = list(node.publishers)
    outputs = ImageOutputs(node, ["overlay", "label"], RELIABLE, PALETTE)
    assert len(list(node.publishers)) == len(before) + 3
    outputs.close()
    assert list(node.publishers) == before


def test_silence_is_explained(node: Node, camera: Node) -> None:
    subscription = node.create_subscription(Image, "image", print, RELIABLE)

    def reason() -> str:
        return explain_silence(node, subscription, RELIABLE)

    def publishers() -> int:
        known = node.get_publishers_info_by_topic("/image")
        return len([p for p in known if not p.node_name.startswith("_")])  # its name comes later

    assert reason() == "nobody publishes /image: remap 'image' to the camera's topic"

    best_effort = qos_profile("best_effort", "volatile", 1)
    publisher = camera.create_publisher(Image, "image", best_effort)
    spin_until(node, publishers)
    assert "camera publishes /image with a QoS that does not match" in reason()
    assert "set image_qos.reliability" in reason()
    camera.destroy_publisher(publisher)
    spin_until(node, lambda: not publishers())

    publisher = camera.create_publisher(CompressedImage, "image", RELIABLE)
    spin_until(node, publishers)
    assert "camera publishes /image as sensor_msgs/msg/CompressedImage" in reason()
    assert "listens for sensor_msgs/msg/Image" in reason()
    camera.destroy_publisher(publisher)
    spin_until(node, lambda: not publishers())

    camera.create_publisher(Image, "image", QoSProfile(depth=1))
    spin_until(node, publishers)
    assert "camera publishes /image with a QoS that matches" in reason()
