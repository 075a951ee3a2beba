"""What every way to start the node must lead to."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from bisenet_ros.msg import ClassMap
from builtin_interfaces.msg import Time
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from tiny_model import CLASSES

from bisenet_ros.inference.segmenter import Segmenter
from bisenet_ros.model import file as model_file
from bisenet_ros.ros.image_messages import image_message

TIMEOUT_S = 90.0
REPEAT_S = 0.5


def check_segmentation(
    name: str, image_topic: str, model: Path, check_alive: Callable[[], None] = lambda: None
) -> None:
    """Send an image to the node, and check the labels and the class map that come back.

    Args:
        name: of the node, with its namespace. It makes its own way to active.
        image_topic: where it expects images.
        model: what it runs, by ``make_model``.
        check_alive: raises when there is nothing to wait for any more.
    """
    width, height = 96, 48
    pixels = np.random.default_rng(7).integers(0, 256, (6, 12, 3), np.uint8)
    image = np.kron(pixels, np.ones((8, 8, 1), np.uint8))
    header = Header(stamp=Time(sec=1234, nanosec=567), frame_id="front_left")
    with _Peer(check_alive) as peer:
        peer.wait_until_active(name)
        labels = peer.listen(Image, f"{name}/label", QoSProfile(depth=2))
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        maps = peer.listen(ClassMap, f"{name}/class_map", latched)
        # Its subscription is best effort, and discovery may have a head start on one side only.
        publisher = peer.node.create_publisher(Image, image_topic, 1)
        message = image_message(image, "rgb8", header)
        peer.wait_until(lambda: bool(labels), "labeled", every=lambda: publisher.publish(message))
        peer.wait_until(lambda: bool(maps), "class map")

    label = labels[0]
    assert label.header == header
    assert (label.width, label.height, label.step) == (width, height, width)
    assert label.encoding == "mono8"
    found = np.frombuffer(label.data, np.uint8).reshape(height, width)
    expected = Segmenter(model_file.load(model)).segment(image).labels
    assert len(np.unique(expected)) > 1
    assert np.mean(found == expected) > 0.99

    assert maps[0].model == model.stem
    assert maps[0].ignore_id == 255
    assert [
        (c.id, c.name, tuple(round(255 * v) for v in (c.color.r, c.color.g, c.color.b)))
        for c in maps[0].classes
    ] == [(id_, name, color) for id_, (name, color) in enumerate(CLASSES)]


def check_subscription(
    topic: str, kind: str, check_alive: Callable[[], None] = lambda: None
) -> None:
    """Wait until somebody listens to ``topic``, and check for what type of message."""
    with _Peer(check_alive) as peer:
        peer.wait_until(lambda: peer.node.count_subscribers(topic) > 0, f"subscribed to {topic}")
        (subscription,) = peer.node.get_subscriptions_info_by_topic(topic)
    assert subscription.topic_type == kind


class _Peer:
    """A ROS node of the test, in a context of its own."""

    def __init__(self, check_alive: Callable[[], None]) -> None:
        self._check_alive = check_alive

    def __enter__(self) -> "_Peer":
        with ExitStack() as undo:
            context = rclpy.Context()
            rclpy.init(context=context)
            undo.callback(context.try_shutdown)
            self.node = Node("check", context=context)
            undo.callback(self.node.destroy_node)
            self._executor = SingleThreadedExecutor(context=context)
            undo.callback(self._executor.shutdown)
            self._executor.add_node(self.node)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def listen(self, kind: Any, topic: str, qos: QoSProfile) -> list[Any]:
        """A list that grows by each message."""
        messages: list[Any] = []
        self.node.create_subscription(kind, topic, messages.append, qos)
        return messages

    def wait_until_active(self, name: str) -> None:
        """Ask the lifecycle node for its state until it is active."""
        client = self.node.create_client(GetState, f"{name}/get_state")
        states: list[int] = []

        def ask() -> None:
            future = client.call_async(GetState.Request())
            future.add_done_callback(lambda done: states.append(done.result().current_state.id))

        self.wait_until(client.service_is_ready, "reachable")
        self.wait_until(lambda: states[-1:] == [State.PRIMARY_STATE_ACTIVE], "active", every=ask)

    def wait_until(
        self, condition: Callable[[], bool], what: str, every: Callable[[], None] | None = None
    ) -> None:
        """Spin until the condition holds, and call ``every`` now and then until it does."""
        deadline = time.monotonic() + TIMEOUT_S
        again = time.monotonic()
        while not condition():
            self._check_alive()
            assert time.monotonic() < deadline, f"not {what} after {TIMEOUT_S:.0f} s"
            if every is not None and time.monotonic() >= again:
                every()
                again = time.monotonic() + REPEAT_S
            self._executor.spin_once(timeout_sec=0.1)
