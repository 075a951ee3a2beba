"""Diagnoses of silent topics, with real publishers in one process."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("rclpy")

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from small_node import make_node, spin_until

from bisenet_ros.ros.qos import qos_profile
from bisenet_ros.ros.topic_watchdog import (
    SILENT_REPORTS,
    Alarm,
    CameraInfoWatchdog,
    ImageWatchdog,
    diagnose_no_messages,
)

RELIABLE = qos_profile("reliable", "volatile", 2)
LATCHED = qos_profile("reliable", "transient_local", 1)


class Lines(list[str]):
    """A logger that keeps its lines."""

    def warning(self, message: str, /) -> None:
        self.append(f"WARN {message}")

    def info(self, message: str, /) -> None:
        self.append(f"INFO {message}")


@pytest.fixture
def node() -> Iterator[Node]:
    with make_node("alone") as node:
        yield node


@pytest.fixture
def camera() -> Iterator[Node]:
    """In its own context: a DDS participant cannot have two types for a topic."""
    with make_node("camera") as node:
        yield node


def test_silence_is_explained(node: Node, camera: Node) -> None:
    subscription = node.create_subscription(Image, "image", print, RELIABLE)

    def reason() -> str:
        return diagnose_no_messages(node, subscription, RELIABLE)

    def publishers() -> int:
        known = node.get_publishers_info_by_topic("/image")
        return len([p for p in known if not p.node_name.startswith("_")])  # name unknown

    assert reason() == (
        "nobody publishes /image: choose the camera's topic (launch file: image:=TOPIC; else remap "
        "`image`)"
    )

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


def test_an_alarm_is_raised_once_a_reason_has_lasted_and_taken_back() -> None:
    lines = Lines()
    alarm = Alarm(lines, "all is well")
    alarm.clear()
    for reason in ("a guess", "gone", "gone", "gone", "a guess", "late", "late"):
        alarm.report(reason, "no image")
    assert lines == ["WARN no image: gone", "WARN no image: late"]
    assert alarm.reason == "late"
    alarm.clear()
    alarm.clear()
    assert lines[2:] == ["INFO all is well"]
    assert alarm.reason == ""
    for _ in range(2):
        alarm.report("late", "no image")
    assert lines[3:] == ["WARN no image: late"]


def test_images_that_arrive_again_end_the_warning(
    node: Node, camera: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    subscription = node.create_subscription(Image, "image", print, RELIABLE)
    camera.create_publisher(Image, "image", RELIABLE)
    spin_until(node, lambda: _names(node, "/image") == ["camera"])
    watchdog = ImageWatchdog(node, subscription, RELIABLE)
    for _ in range(SILENT_REPORTS + 3):
        watchdog.report(received=0)
    assert watchdog.reason.startswith("camera publishes /image with a QoS that matches")
    watchdog.report(received=1)
    assert watchdog.reason == ""
    warning, end = capfd.readouterr().err.splitlines()
    assert f"no image for {SILENT_REPORTS} s: camera publishes" in warning
    assert "[INFO]" in end
    assert end.endswith("images arrive on /image")


def test_one_latched_image_is_enough(node: Node) -> None:
    subscription = node.create_subscription(Image, "image", print, LATCHED)
    watchdog = ImageWatchdog(node, subscription, LATCHED)
    for _ in range(3 * SILENT_REPORTS):
        watchdog.report(received=1)
    assert watchdog.reason == ""
    unheard = ImageWatchdog(node, subscription, LATCHED)
    for _ in range(SILENT_REPORTS):
        unheard.report(received=0)
    assert "nobody publishes /image" in unheard.reason


def test_a_camera_info_that_is_published_is_not_to_be_remapped(
    node: Node, camera: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    sink = node.create_publisher(CameraInfo, "ours", 1)
    listener = camera.create_subscription(CameraInfo, "ours", print, 1)
    spin_until(node, sink.get_subscription_count)
    watchdog = CameraInfoWatchdog(node, "/camera_info", sink)

    def report() -> str:
        for _ in range(SILENT_REPORTS + 1):
            watchdog.report(has_arrived=False, images=1)
        return capfd.readouterr().err

    assert "nobody publishes /camera_info: choose" in report()
    camera.create_publisher(CameraInfo, "camera_info", 1)
    spin_until(node, lambda: _names(node, "/camera_info") == ["camera"])
    said = report()
    assert "camera publishes /camera_info, but has sent nothing yet" in said
    assert "remap" not in said
    watchdog.report(has_arrived=True, images=1)
    assert "camera_info arrives on /camera_info" in capfd.readouterr().err
    camera.destroy_subscription(listener)


def _names(node: Node, topic: str) -> list[str]:
    return [info.node_name for info in node.get_publishers_info_by_topic(topic)]
