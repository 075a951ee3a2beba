"""What a managed node does beside its transitions, which test_node_lifecycle.py makes."""

from concurrent.futures import wait

import pytest

pytest.importorskip("rclpy")

import rclpy

from bisenet_ros.ros.managed_node import ManagedNode
from bisenet_ros.ros.worker import Worker


def test_a_job_that_nobody_waits_for_fails_into_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    rclpy.init()
    worker = Worker[None](lambda frame: None, lambda error: None)
    node = ManagedNode("managed", worker)
    wait([node.in_worker(lambda: 1 / 0)])
    assert worker.stop(timeout=60)  # so it has told as well
    node.destroy_node()
    rclpy.shutdown()
    told = capfd.readouterr().err
    assert "[ERROR]" in told
    assert "ZeroDivisionError: division by zero" in told
