"""Scaled camera_info against the projection of points."""

import re
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from bisenet_ros.ros.camera_info import camera_info_problem, scale_camera_info

HEADER = Header(frame_id="of the image")
POINTS = np.array([[0.3, -0.2, 2.0, 1.0], [-1.0, 0.7, 5.0, 1.0], [0.0, 0.0, 1.0, 1.0]])


def camera(**changes: object) -> CameraInfo:
    info = CameraInfo(width=640, height=480, distortion_model="plumb_bob", **changes)
    info.header.frame_id = "of the camera"
    info.d = [0.1, -0.2, 0.001, 0.002, 0.0]
    info.k = [500.0, 0.5, 310.0, 0.0, 510.0, 250.0, 0.0, 0.0, 1.0]
    info.p = [480.0, 0.0, 315.0, -57.6, 0.0, 490.0, 245.0, 4.9, 0.0, 0.0, 1.0, 0.0]
    return info


def seen(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Pixels of points, [N,2]."""
    projected = points[:, : matrix.shape[1]] @ matrix.T
    return projected[:, :2] / projected[:, 2:]


@pytest.mark.parametrize(("width", "height"), [(640, 480), (320, 240), (480, 360), (1024, 512)])
def test_points_are_seen_where_the_resized_picture_shows_them(width: int, height: int) -> None:
    info = camera()
    result = scale_camera_info(info, width, height, HEADER)
    assert (result.width, result.height) == (width, height)
    factors = np.array([width / 640, height / 480])
    for before, after, rows in ((info.k, result.k, 3), (info.p, result.p, 3)):
        old = seen(np.reshape(before, (rows, -1)), POINTS)
        new = seen(np.reshape(after, (rows, -1)), POINTS)
        np.testing.assert_allclose(new, (old + 0.5) * factors - 0.5, atol=1e-9)
    assert result.header == HEADER
    assert (list(result.d), result.distortion_model) == (list(info.d), "plumb_bob")
    # What came in stays as it was, for the next frame.
    assert info == camera()


def test_binning_and_region_of_interest() -> None:
    """A region of 200x160 in pixels of the sensor, sent as 100x80, and labeled at 50x20."""
    region = RegionOfInterest(x_offset=80, y_offset=40, width=200, height=160)
    info = camera(binning_x=2, binning_y=2, roi=region)
    result = scale_camera_info(info, 50, 20, HEADER)
    assert (result.binning_x, result.binning_y) == (2, 2)
    assert (result.width, result.height) == (320, 120)
    half = RegionOfInterest(x_offset=40, y_offset=10, width=100, height=40)
    assert result.roi == half
    assert result.k[0] == pytest.approx(250.0)
    assert result.k[4] == pytest.approx(127.5)


def test_an_uncalibrated_camera_stays_so() -> None:
    result = scale_camera_info(CameraInfo(width=640, height=480), 320, 240, HEADER)
    assert (result.width, result.height) == (320, 240)
    assert not np.any(result.k)
    assert not np.any(result.p)
    assert scale_camera_info(CameraInfo(), 320, 240, HEADER) == CameraInfo(header=HEADER)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"width": 65536, "height": 65536, "binning_x": 64, "binning_y": 64}, ""),
        ({"width": 2**32 - 1}, "its width is 4294967295 pixels, more than 65536"),
        ({"height": 65537}, "its height is 65537 pixels, more than 65536"),
        ({"binning_x": 2**32 - 1}, "its binning is 4294967295 x 0, more than 64"),
        (
            {"roi": RegionOfInterest(x_offset=600, width=41)},
            "its roi ends at 641, beyond its width",
        ),
        ({"roi": RegionOfInterest(y_offset=2**32 - 1)}, "its roi ends at 4294967295, beyond its h"),
        ({"width": 0, "height": 0, "roi": RegionOfInterest(width=1)}, "it has a roi and no width"),
        ({"k": [1e9, *8 * [0.0]]}, "a value of k or p is not finite, or 1e\\+09 and more"),
        ({"p": [*11 * [0.0], float("nan")]}, "a value of k or p is not finite"),
    ],
)
def test_camera_info_that_no_camera_has_is_recognized(
    changes: dict[str, Any], problem: str
) -> None:
    info = camera()
    for name, value in changes.items():
        setattr(info, name, value)
    found = camera_info_problem(info)
    assert re.match(problem, found) if problem else found == ""


def test_a_size_that_the_message_cannot_hold_is_not_published() -> None:
    info = camera()
    info.roi = RegionOfInterest(width=1, height=1)
    scaled = scale_camera_info(info, 2**22, 480, HEADER)
    assert scaled is not None
    assert scaled.width == 640 * 2**22
    assert scale_camera_info(info, 2**23, 480, HEADER) is None
