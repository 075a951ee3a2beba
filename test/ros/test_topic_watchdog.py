"""The reasons for silence, with real publishers in one process."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("rclpy")

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from small_node import make_node, spin_until

from bisenet_ros.ros.qos import qos_profile
from bisenet_ros.ros.topic_watchdog import diagnose_no_messages

RELIABLE = qos_profile("reliable", "volatile", 2)


@pytest.fixture
def node() -> Iterator[Node]:
    with make_node("alone") as node:
        yield node


@pytest.fixture
def camera() -> Iterator[Node]:
    """Of a context of its own: one participant of DDS cannot have two types for a topic."""
    with make_node("camera") as node:
        yield node


def test_silence_is_explained(node: Node, camera: Node) -> None:
    subscription = node.create_subscription(Image, "image", print, RELIABLE)

    def reason() -> str:
        return diagnose_no_messages(node, subscription, RELIABLE)

    def publishers() -> int:
        known = node.get_publishers_info_by_topic("/image")
        return len([p for p in known if not p.node_name.startswith("_")])  # its name comes later

    assert reason() == "nobody publishes /image: remap 'image' to the camera's topic"

    @contextmanager
    def published(kind: type, qos: QoSProfile) -> Iterator[None]:
        publisher = camera.create_publisher(kind, "image", qos)
        spin_until(node, publishers)
        yield
        camera.destroy_publisher(publisher)
        spin_until(node, lambda: not publishers())

    with published(Image, qos_profile("best_effort", "volatile", 1)):
        assert "camera publishes /image with a QoS that does not match" in reason()
        assert "set image_qos.reliability" in reason()
    with published(CompressedImage, RELIABLE):
        assert "camera publishes /image as sensor_msgs/msg/CompressedImage" in reason()
        assert "listens for sensor_msgs/msg/Image" in reason()
    with published(Image, QoSProfile(depth=1)):
        assert "camera publishes /image with a QoS that matches" in reason()


def test_silence_on_one_transport_names_the_other(node: Node, camera: Node) -> None:
    raw = node.create_subscription(Image, "/front", print, RELIABLE)
    jpegs = node.create_subscription(CompressedImage, "/rear/compressed", print, RELIABLE)
    camera.create_publisher(CompressedImage, "/front/compressed", RELIABLE)
    camera.create_publisher(Image, "/rear", RELIABLE)
    for topic in ("/front/compressed", "/rear"):
        spin_until(node, lambda topic=topic: node.get_publishers_info_by_topic(topic))
    assert diagnose_no_messages(node, raw, RELIABLE) == (
        "nobody publishes /front, but somebody /front/compressed: set input_transport to "
        "'compressed'"
    )
    assert diagnose_no_messages(node, jpegs, RELIABLE).endswith(
        "/rear: set input_transport to 'raw'"
    )
