"""A camera of the node: the topics of its own, its counts, and what is wrong with it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from rclpy.validate_full_topic_name import validate_full_topic_name
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from bisenet_ros.ros.camera_info import CameraInfoSubscription
from bisenet_ros.ros.frame_errors import FrameErrorLog
from bisenet_ros.ros.frame_pipeline import FramePipeline
from bisenet_ros.ros.frame_stats import FrameStats
from bisenet_ros.ros.publishers import ImagePublishers
from bisenet_ros.ros.topic_watchdog import (
    CameraInfoWatchdog,
    ConditionWatchdog,
    ImageWatchdog,
)
from bisenet_ros.ros.worker import RateLimit

ImageMessage: TypeAlias = Image | CompressedImage


def camera_topic(camera: str, name: str) -> str:
    """Return the topic ``name`` of ``camera``, which is "" for the one camera of a node."""
    return f"{camera}/{name}" if camera else name


@dataclass(frozen=True)
class CameraOutputs:
    """Publishers and pipeline of one camera, from configure to cleanup.

    - ``name``: "" for a camera without a name, which is the only one.
    """

    name: str
    images: ImagePublishers
    camera_info: Publisher
    stats: Publisher
    pipeline: FramePipeline


class ActiveCamera:
    """A camera while the node is active.

    All methods are for the worker's thread.

    - ``outputs``: its publishers; ``name``: its name, "" for the one camera of a node.
    - ``topic``: of its images, absolute.
    - ``statistics``, ``errors``, ``rate_limit``: of its frames since the activation.
    - ``stamp_problem``: why the stamp of the latest frame cannot be used, or "".
    - ``too_old``: why the latest image was dropped for its age, or "".
    - ``latest_camera_info``: None until one has arrived.

    Args:
        node: creates the subscriptions.
        outputs: its publishers.
        transport: "raw" or "compressed".
        qos: of the images.
        receive: called on the executor's thread with this camera and each image.
        call_on_executor: runs a function on the executor's thread and waits for it.
    """

    def __init__(
        self,
        node: Node,
        outputs: CameraOutputs,
        transport: str,
        qos: QoSProfile,
        receive: Callable[["ActiveCamera", ImageMessage], None],
        call_on_executor: Callable[[Callable[[], None]], None],
    ) -> None:
        self.outputs = outputs
        self.name = outputs.name
        self.statistics = FrameStats()
        self.errors = FrameErrorLog(node.get_logger())
        self.rate_limit = RateLimit()
        self.stamp_problem = self.too_old = ""
        self._age_watchdog = ConditionWatchdog(
            node.get_logger(), "labels are missing", "images arrive in time"
        )
        self._node = node
        self._qos = qos
        self._receive = receive
        self._call_on_executor = call_on_executor
        # Relative, since rclpy remaps what it is given.
        self._given_topic = camera_topic(outputs.name, "image")
        self._kind: type[ImageMessage] = Image
        self.topic = node.resolve_topic_name(self._given_topic)
        if transport == "compressed":
            self._kind = CompressedImage
            self.topic = f"{self.topic.removesuffix('/compressed')}/compressed"
            self._given_topic = self.topic
        # Now rather than when someone listens.
        validate_full_topic_name(self.topic)
        self._images: Subscription | None = None
        self._image_watchdog: ImageWatchdog | None = None
        self._received = 0  # images until the latest report
        self._camera_info = CameraInfoSubscription(node, camera_topic(outputs.name, "camera_info"))
        self._camera_info_watchdog = CameraInfoWatchdog(
            node, self._camera_info.topic_name, outputs.camera_info
        )

    @property
    def latest_camera_info(self) -> CameraInfo | None:
        """The camera's, as it sent it."""
        return self._camera_info.latest

    @property
    def is_listening(self) -> bool:
        """Whether it is subscribed to the images."""
        return self._images is not None

    def listen(self, wanted: bool) -> None:
        """Subscribe to the images, or unsubscribe; nothing if it is so already."""
        if wanted and self._images is None:
            self._images = self._node.create_subscription(
                self._kind,
                self._given_topic,
                lambda message: self._receive(self, message),
                self._qos,
            )
            self._image_watchdog = ImageWatchdog(self._node, self._images, self._qos)
        elif not wanted and self._images is not None:
            images, self._images, self._image_watchdog = self._images, None, None
            self._call_on_executor(lambda: self._destroy(images))

    def close(self) -> None:
        """Unsubscribe from everything."""
        self.listen(False)
        self._call_on_executor(self._camera_info.close)

    def _destroy(self, images: Subscription) -> None:
        self._node.destroy_subscription(images)

    def watch(self) -> str:
        """Look at the subscriptions, and return why there are no labels, or no latency, or "".

        To be called every ``REPORT_PERIOD_S``.
        """
        received = self.statistics.received
        qos = self._camera_info.wanted_qos()
        if qos is not None:
            self._call_on_executor(lambda: self._camera_info.resubscribe(qos))
        self._camera_info_watchdog.report(self._camera_info.latest is not None, received)
        if self._image_watchdog is None:
            return ""
        self._image_watchdog.report(received)
        if received > self._received:
            self._age_watchdog.report(self.too_old)
        self._received = received
        return self._image_watchdog.reason or self.too_old or self.stamp_problem
