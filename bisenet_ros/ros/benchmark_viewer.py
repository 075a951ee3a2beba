"""The receiving end of the benchmark of the node: when labels were published and arrived."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

from rclpy.subscription import Subscription
from rclpy.time import Time
from sensor_msgs.msg import Image

from bisenet_ros.msg import SegmentationStats
from bisenet_ros.ros.camera import camera_topic
from bisenet_ros.ros.node_process import NodeProcess, client_node

DEPTH = 10


class LabelTimes(NamedTuple):
    """A label's way; times are of the system's clock [ns].

    - ``frame``: number of its image, see ``benchmark_camera.FrameNumbers``.
    """

    frame: int
    stamp: int
    published: int
    received: int

    @property
    def age_ms(self) -> float:
        """Time from the stamp to publishing [ms]."""
        return 1e-6 * (self.published - self.stamp)

    @property
    def way_ms(self) -> float:
        """Time from the stamp until it arrived [ms]."""
        return 1e-6 * (self.received - self.stamp)


class BenchmarkViewer:
    """A ROS node that listens to one ``NodeProcess``; callbacks run in ``lifecycle`` only.

    - ``labels``: of each camera, since ``subscribe``.
    - ``stats``: latest of each camera.

    Args:
        namespace: of the node.
        process: publishes the labels.
        cameras: their names, as in the parameter ``cameras``.
    """

    def __init__(
        self, namespace: str, process: NodeProcess, cameras: Sequence[str] = ("",)
    ) -> None:
        self.labels: dict[str, list[LabelTimes]] = {name: [] for name in cameras}
        self.stats: dict[str, SegmentationStats] = {}
        self._subscriptions: list[Subscription] = []
        with ExitStack() as undo:
            self._node, self.lifecycle = undo.enter_context(
                client_node("benchmark_viewer", namespace, process)
            )
            for name in cameras:
                self._node.create_subscription(
                    SegmentationStats,
                    f"{process.name}/{camera_topic(name, 'stats')}",
                    partial(self.stats.__setitem__, name),
                    DEPTH,
                )
            self._undo = undo.pop_all()

    def __enter__(self) -> "BenchmarkViewer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._undo.close()

    def subscribe(self) -> None:
        """Subscribe to the labels of all cameras, and forget earlier ones."""
        for name, labels in self.labels.items():
            labels.clear()
            topic = f"{self.lifecycle.process.name}/{camera_topic(name, 'label')}"

            def hear(message: Image, info: Any, labels: list[LabelTimes] = labels) -> None:
                labels.append(_times(message, info["source_timestamp"]))

            self._subscriptions.append(
                # rclpy's annotation leaves out the second argument that it offers.
                self._node.create_subscription(Image, topic, hear, DEPTH)  # type: ignore[arg-type]
            )

    def unsubscribe(self) -> None:
        """Unsubscribe from the labels."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())


def _times(message: Image, published: int) -> LabelTimes:
    received = time.time_ns()
    stamp = Time.from_msg(message.header.stamp).nanoseconds
    return LabelTimes(int(message.header.frame_id), stamp, published, received)
