"""Pose of the camera in the robot's frame: from TF, or from parameters."""

from typing import Protocol

from builtin_interfaces.msg import Time
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time as RosTime

from bisenet_ros.errors import CameraError, ParameterError, first_line, quoted
from bisenet_ros.geometry.pose import Pose, pose_from_quaternion

TRANSFORM_TIMEOUT_S = 0.2
"""Longest wait of labels for a transform that is published after them [s]."""


class CameraPoses(Protocol):
    """Source of camera poses."""

    def pose(self, frame_id: str, stamp: Time) -> Pose:
        """Return the pose of the optical frame ``frame_id`` at ``stamp``.

        Raises:
            CameraError: it is unknown; the message has the remedy.
        """

    def close(self) -> None:
        """Release what the object uses; on the executor's thread."""


class FixedPose:
    """A pose that does not depend on frame and time."""

    def __init__(self, pose: Pose) -> None:
        self._pose = pose

    def pose(self, frame_id: str, stamp: Time) -> Pose:
        """See ``CameraPoses``."""
        return self._pose

    def close(self) -> None:
        """See ``CameraPoses``."""


class TransformPoses:
    """Poses from TF.

    Args:
        node: listens to /tf and /tf_static, and to jumps of its clock.
        robot_frame: frame of the results.

    Raises:
        ParameterError: tf2_ros is not installed.
    """

    def __init__(self, node: Node, robot_frame: str) -> None:
        try:
            import tf2_ros
        except ImportError as error:
            raise ParameterError(
                f"parameter 'camera_pose.source' is tf, and tf2_ros cannot be imported "
                f"({first_line(error)}): install it (apt: ros-$ROS_DISTRO-tf2-ros-py), or set the "
                "parameter to 'parameters', and camera_pose.z, roll, pitch and so on"
            ) from error
        self._robot_frame = robot_frame
        self._failure = tf2_ros.TransformException
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)
        # tf2_ros looks at the node's clock only in a Buffer that has a service, too. After a jump
        # back it would refuse new transforms, and answer with those from before.
        self._jumps = node.get_clock().create_jump_callback(
            JumpThreshold(
                min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True
            ),
            post_callback=lambda _: self._buffer.clear(),
        )

    def pose(self, frame_id: str, stamp: Time) -> Pose:
        """See ``CameraPoses``.

        Waits up to ``TRANSFORM_TIMEOUT_S``, so not for the executor's thread.
        """
        if not frame_id:
            raise CameraError(
                "label images have no frame_id: let the camera driver set header.frame_id, or set "
                "'camera_pose.source' to 'parameters'"
            )
        if stamp.sec < 0:
            raise CameraError(
                f"label images have the stamp {stamp.sec} s, for which TF has no transforms: let "
                "the camera driver set header.stamp, or set 'camera_pose.source' to 'parameters'"
            )
        try:
            found = self._buffer.lookup_transform(
                self._robot_frame,
                frame_id,
                RosTime.from_msg(stamp),
                Duration(seconds=TRANSFORM_TIMEOUT_S),
            )
        except self._failure as error:
            raise CameraError(
                f"no transform from {quoted(frame_id)} to {quoted(self._robot_frame)} at the "
                f"stamp of the labels ({first_line(error)}): publish it (robot_state_publisher, "
                "static_transform_publisher), set 'robot_frame', or set 'camera_pose.source' to "
                "'parameters'"
            ) from error
        position, rotation = found.transform.translation, found.transform.rotation
        return pose_from_quaternion(
            (position.x, position.y, position.z), (rotation.x, rotation.y, rotation.z, rotation.w)
        )

    def close(self) -> None:
        """See ``CameraPoses``."""
        self._jumps.unregister()
        self._listener.unregister()
