"""Pose of a camera in a robot's frame: x forward, y left, z up (REP 103)."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.errors import CameraError

Vector: TypeAlias = tuple[float, float, float]

OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Rotates from an optical frame (z forward, x right, y down) to x forward, y left, z up."""


@dataclass(frozen=True)
class Pose:
    """Position [m] and orientation of a camera's optical frame in another frame.

    - ``rotation``: rows of the matrix that rotates from the optical frame to the other.
    """

    position: Vector
    rotation: tuple[Vector, Vector, Vector]


def pose_from_angles(position: Vector, roll: float, pitch: float, yaw: float) -> Pose:
    """Return the pose of a camera that looks along x where all angles are 0.

    Args:
        position: x, y, z [m].
        roll, pitch, yaw: about the fixed axes x, y and z, in this order (REP 103) [rad]. A
            positive pitch looks down, a positive yaw to the left.
    """
    (sr, sp, sy), (cr, cp, cy) = (
        [function(angle) for angle in (roll, pitch, yaw)] for function in (math.sin, math.cos)
    )
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return _pose(position, about_z @ about_y @ about_x @ OPTICAL)


def pose_from_quaternion(position: Vector, quaternion: tuple[float, float, float, float]) -> Pose:
    """Return the pose that a transform of TF from an optical frame gives.

    Args:
        position: x, y, z [m].
        quaternion: x, y, z, w; of any length but 0.

    Raises:
        CameraError: a number is not finite, or the quaternion is 0.
    """
    length = math.hypot(*quaternion)
    if not (np.isfinite(position).all() and 0 < length < math.inf):
        raise CameraError(
            f"the transform of the camera has the position {position} and the quaternion "
            f"{quaternion}: correct the robot's description or what publishes it"
        )
    x, y, z, w = (value / length for value in quaternion)
    rotation = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return _pose(position, np.array(rotation))


def _pose(position: Vector, rotation: NDArray[np.float64]) -> Pose:
    x, y, z = rotation.tolist()
    return Pose(position, (tuple(x), tuple(y), tuple(z)))
