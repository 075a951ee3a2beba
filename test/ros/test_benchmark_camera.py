"""Numbers of the benchmark's frames."""

import pytest

pytest.importorskip("rclpy")

from bisenet_ros.ros.benchmark_camera import FrameNumbers


def test_frames_are_numbered_from_each_subscription_on() -> None:
    numbers = FrameNumbers()
    heard = [False, True, True, True, False, False, True]
    assert [numbers.next(each) for each in heard] == [0, 1, 2, 3, 0, 0, 1]
