"""The camera's pose from TF. tf2_ros is not on PyPI: its interface of Jazzy stands in for it.

test_labeled_cloud_node.py has the same with tf2_ros itself, where it is installed.
"""

import sys
from threading import Event, Thread
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from rclpy.clock import ClockType, ROSClock
from rclpy.duration import Duration
from rclpy.time import Time as RosTime

from bisenet_ros.errors import CameraError, ParameterError
from bisenet_ros.geometry.pose import pose_from_angles
from bisenet_ros.ros import camera_pose
from bisenet_ros.ros.camera_pose import FixedPose, TransformPoses


class TransformException(Exception):
    """As in tf2_ros."""


class Buffer:
    """Knows one transform, once ``arrived`` is set."""

    def __init__(self) -> None:
        self.arrived = Event()
        self.arrived.set()
        self.asked = Event()
        made.append(self)

    def lookup_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: RosTime,
        timeout: Duration = Duration(),  # noqa: B008
    ) -> TransformStamped:
        self.asked.set()
        if (target_frame, source_frame) != ("base_link", "camera_optical"):
            raise TransformException(f'"{source_frame}" does not exist')
        if not self.arrived.wait(1e-9 * timeout.nanoseconds):
            raise TransformException("Lookup would require extrapolation into the future")
        assert (time.seconds_nanoseconds(), time.clock_type.name) == ((3, 4), "ROS_TIME")
        found = TransformStamped()
        found.transform.translation.x, found.transform.translation.z = 0.5, 1.25
        rotation = found.transform.rotation
        rotation.x, rotation.y, rotation.z, rotation.w = -0.5, 0.5, -0.5, 0.5
        return found

    def clear(self) -> None:
        self.arrived.clear()


made: list[Buffer] = []


class TransformListener:
    """Notes that it was unregistered."""

    made: ClassVar["list[TransformListener]"] = []

    def __init__(self, buffer: Buffer, node: Any) -> None:
        self.node = node
        self.registered = True
        self.made.append(self)

    def unregister(self) -> None:
        self.registered = False


@pytest.fixture
def tf2_ros(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("tf2_ros")
    vars(module).update(
        Buffer=Buffer, TransformListener=TransformListener, TransformException=TransformException
    )
    monkeypatch.setitem(sys.modules, "tf2_ros", module)
    TransformListener.made.clear()
    made.clear()


CLOCK = ROSClock()
NODE: Any = SimpleNamespace(get_clock=lambda: CLOCK)
STAMP = Time(sec=3, nanosec=4)


@pytest.mark.usefixtures("tf2_ros")
def test_the_pose_is_that_of_the_transform_at_the_stamp() -> None:
    poses = TransformPoses(NODE, "base_link")
    pose = poses.pose("camera_optical", STAMP)
    level = pose_from_angles((0.5, 0.0, 1.25), 0.0, 0.0, 0.0)
    assert pose.position == level.position
    np.testing.assert_allclose(pose.rotation, level.rotation, atol=1e-12)
    (listener,) = TransformListener.made
    assert listener.node is NODE
    poses.close()
    assert not listener.registered


@pytest.mark.usefixtures("tf2_ros")
def test_a_transform_that_is_missing_is_named_with_the_remedy() -> None:
    poses = TransformPoses(NODE, "base_link")
    with pytest.raises(CameraError) as caught:
        poses.pose("lens\n", STAMP)
    assert str(caught.value).startswith(
        "no transform from 'lens\\n' to 'base_link' at the stamp of the labels (\"lens"
    )
    assert "static_transform_publisher" in str(caught.value)
    with pytest.raises(CameraError, match="label images have no frame_id: let the camera driver"):
        poses.pose("", STAMP)


@pytest.mark.usefixtures("tf2_ros")
def test_labels_wait_for_a_transform_that_arrives_after_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(camera_pose, "TRANSFORM_TIMEOUT_S", 60.0)
    poses = TransformPoses(NODE, "base_link")
    (buffer,) = made
    buffer.arrived.clear()

    def arrive() -> None:
        buffer.asked.wait()
        buffer.arrived.set()

    thread = Thread(target=arrive)
    thread.start()
    try:
        assert poses.pose("camera_optical", STAMP).position == (0.5, 0.0, 1.25)
    finally:
        buffer.asked.set()
        thread.join()


@pytest.mark.usefixtures("tf2_ros")
@pytest.mark.parametrize(("back_to_s", "forgotten"), [(100.5, False), (90.0, True)])
def test_transforms_from_before_a_jump_back_in_time_are_forgotten(
    back_to_s: float, forgotten: bool
) -> None:
    clock = ROSClock()
    clock._set_ros_time_is_active(True)

    def set_time(seconds: float) -> None:
        clock.set_ros_time_override(RosTime(seconds=seconds, clock_type=ClockType.ROS_TIME))

    set_time(100.0)
    poses = TransformPoses(SimpleNamespace(get_clock=lambda: clock), "base_link")
    (buffer,) = made
    set_time(101.0)
    assert buffer.arrived.is_set()
    set_time(back_to_s)
    set_time(back_to_s + 0.5)
    assert buffer.arrived.is_set() != forgotten
    buffer.arrived.set()
    poses.close()
    set_time(1.0)
    assert buffer.arrived.is_set()


@pytest.mark.usefixtures("tf2_ros")
def test_a_stamp_before_all_transforms_is_named_with_the_remedy() -> None:
    poses = TransformPoses(NODE, "base_link")
    with pytest.raises(CameraError, match=r"have the stamp -5 s, .* let the camera driver set"):
        poses.pose("camera_optical", Time(sec=-5, nanosec=7))


def test_without_tf2_ros_the_parameters_are_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tf2_ros", None)
    with pytest.raises(ParameterError, match=r"tf2_ros cannot be imported .* or set the parameter"):
        TransformPoses(NODE, "base_link")


def test_a_pose_from_parameters_is_that_of_every_frame() -> None:
    pose = pose_from_angles((0.0, 0.0, 1.0), 0.0, 0.1, 0.0)
    assert FixedPose(pose).pose("", STAMP) is pose
