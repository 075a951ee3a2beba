"""The demo's ROS node: publishes images to the segmentation node and receives its results."""

from collections.abc import Callable
from contextlib import ExitStack
from time import perf_counter
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from bisenet_ros.classes import SemanticClass
from bisenet_ros.errors import NodeError
from bisenet_ros.msg import ClassMap
from bisenet_ros.ros.image_messages import ImageDecoder, image_message
from bisenet_ros.ros.node_process import NodeProcess, client_node

FRAME_ID = "camera"
MATCH_TIMEOUT_S = 20.0
DEPTH = 10

Pixels = NDArray[np.uint8]


class DemoClient:
    """A ROS node that feeds one ``NodeProcess``; callbacks run in ``lifecycle.spin_until`` only.

    - ``on_label(stamp, labels, time)``: called with the stamp that ``publish`` returned [ns],
      labels uint8 [H,W], and their time of arrival by ``time.perf_counter`` [s].
    - ``on_overlay(stamp, image)``: called with the stamp and the overlay, uint8 [H,W,3] RGB.
    """

    def __init__(self, namespace: str, process: NodeProcess) -> None:
        self.on_label: Callable[[int, Pixels, float], None] = lambda stamp, labels, time: None
        self.on_overlay: Callable[[int, Pixels], None] = lambda stamp, image: None
        self._decoder = ImageDecoder()
        self._class_map: ClassMap | None = None
        self._last_stamp = 0
        with ExitStack() as undo:
            self._node, self.lifecycle = undo.enter_context(client_node("demo", namespace, process))
            # Reliable, which matches best-effort subscriptions too.
            self._images = self._node.create_publisher(Image, "image", DEPTH)
            self._node.create_subscription(Image, f"{process.name}/label", self._hear_label, DEPTH)
            self._node.create_subscription(
                Image, f"{process.name}/overlay", self._hear_overlay, DEPTH
            )
            self._node.create_subscription(
                ClassMap,
                f"{process.name}/class_map",
                self._hear_class_map,
                QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
            )
            self._undo = undo.pop_all()

    def __enter__(self) -> "DemoClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._undo.close()

    def start_node(self, timeout_s: float) -> tuple[SemanticClass, ...]:
        """Configure and activate the node, and wait until all topics are connected.

        Args:
            timeout_s: limit for each transition [s].

        Returns:
            The classes of its model.

        Raises:
            NodeError: with the cause.
        """
        self.lifecycle.start(timeout_s)
        topics = [f"{self.lifecycle.process.name}/{name}" for name in ("label", "overlay")]

        def connected() -> bool:
            return (
                self._class_map is not None
                and self._images.get_subscription_count() > 0
                and all(self._node.count_publishers(topic) for topic in topics)
            )

        if not self.lifecycle.spin_until(connected, MATCH_TIMEOUT_S) or self._class_map is None:
            raise NodeError(
                f"the node is active, but its topics cannot be reached after {MATCH_TIMEOUT_S:.0f} "
                "s: do its settings for DDS differ from ours?"
            )
        return tuple(_semantic_class(entry) for entry in self._class_map.classes)

    def publish(self, image: Pixels) -> tuple[int, float]:
        """Publish ``image``, uint8 [H,W,3] RGB; return its stamp [ns] and when it was sent [s]."""
        now: int = self._node.get_clock().now().nanoseconds
        self._last_stamp = max(now, self._last_stamp + 1)  # stamps tell frames apart
        header = Header(stamp=Time(nanoseconds=self._last_stamp).to_msg(), frame_id=FRAME_ID)
        message = image_message(image, "rgb8", header)
        sent = perf_counter()
        self._images.publish(message)
        return self._last_stamp, sent

    def _hear_label(self, message: Image) -> None:
        arrived = perf_counter()
        shape = message.height, message.width
        labels = np.frombuffer(message.data, np.uint8).reshape(shape)
        self.on_label(_stamp(message), labels, arrived)

    def _hear_overlay(self, message: Image) -> None:
        self.on_overlay(_stamp(message), self._decoder.to_rgb(message))

    def _hear_class_map(self, message: ClassMap) -> None:
        self._class_map = message


def _stamp(message: Image) -> int:
    nanoseconds: int = Time.from_msg(message.header.stamp).nanoseconds
    return nanoseconds


def _semantic_class(entry: Any) -> SemanticClass:
    color = round(255 * entry.color.r), round(255 * entry.color.g), round(255 * entry.color.b)
    return SemanticClass(entry.id, entry.name, color)
