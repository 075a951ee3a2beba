"""The node in this process: which errors its frame handler reports in one sentence."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

import rclpy
from error_kinds import USER_ERRORS
from std_msgs.msg import Header

from bisenet_ros.ros.managed_node import SUCCESS
from bisenet_ros.ros.segmentation_node import SegmentationNode

TIMEOUT_S = 60.0


class FailingImage:
    """A message whose decoding raises ``error``."""

    header = Header()

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.was_read = threading.Event()

    @property
    def encoding(self) -> str:
        self.was_read.set()
        raise self.error


@pytest.fixture(scope="module")
def node(tiny_model: Path) -> Iterator[SegmentationNode]:
    given = {"model": tiny_model, "backend": "torch", "device": "cpu", "precision": "fp32"}
    given["lazy"] = "false"
    arguments = [text for name, value in given.items() for text in ("-p", f"{name}:={value}")]
    rclpy.init(args=["--ros-args", *arguments])
    node = SegmentationNode()
    assert node.worker.submit(node.trigger_configure).result(TIMEOUT_S) == SUCCESS, node.failure
    assert node.worker.submit(node.trigger_activate).result(TIMEOUT_S) == SUCCESS, node.failure
    yield node
    assert node.worker.stop(TIMEOUT_S)
    node.destroy_node()
    rclpy.shutdown()


def lose(node: SegmentationNode, error: Exception) -> None:
    """Give ``node`` an image that raises ``error``, and wait until the error is logged."""
    message: Any = FailingImage(error)
    (images,) = [each for each in node.subscriptions if each.topic_name == "/image"]
    images.callback(message)
    assert message.was_read.wait(TIMEOUT_S)
    node.worker.submit(lambda: None).result(TIMEOUT_S)  # runs after the frame


@pytest.mark.parametrize(
    "error",
    [*(kind(f"{kind.__name__}: set it") for kind in USER_ERRORS), OSError("disk: set it")],
    ids=repr,
)
def test_a_frame_that_a_user_can_save_is_lost_with_one_sentence(
    node: SegmentationNode, capfd: pytest.CaptureFixture[str], error: Exception
) -> None:
    lose(node, error)
    told = capfd.readouterr().err
    assert told.endswith(f"[segmentation]: frame lost: {error}\n")
    assert told.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("shapes"), KeyError("shapes")], ids=repr)
def test_a_bug_loses_a_frame_with_its_traceback(
    node: SegmentationNode, capfd: pytest.CaptureFixture[str], error: Exception
) -> None:
    lose(node, error)
    told = capfd.readouterr().err
    assert "frame lost: Traceback (most recent call last)" in told
    assert "in to_rgb" in told
    assert f"{type(error).__name__}: {error}" in told
