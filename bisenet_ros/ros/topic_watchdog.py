"""Why no image comes, for the log and /diagnostics."""

from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.subscription import Subscription

REPORT_PERIOD_S = 1.0
SILENT_REPORTS = 5
"""After as many reports without an image, or a camera_info that someone waits for, the log says why
that may be, and whenever the reason changes."""


class ImageWatchdog:
    """To be told once every ``REPORT_PERIOD_S`` what came; ``reason`` is why no image does.

    ``reason`` is empty while images come, and until ``SILENT_REPORTS`` without. ``qos`` is that of
    their subscription.
    """

    def __init__(self, node: Node, qos: QoSProfile) -> None:
        self.reason = ""
        self._node = node
        self._qos = qos
        self._received = 0
        self._silent = 0
        self._without_camera_info = 0

    def report(self, images: Subscription, received: int) -> None:
        """Note how many images have come in all, and log why they ceased."""
        self._silent = 0 if received > self._received else self._silent + 1
        self._received = received
        if self._silent < SILENT_REPORTS:
            self.reason = ""
            return
        reason = diagnose_no_messages(self._node, images, self._qos)
        if reason != self.reason:
            self.reason = reason
            seconds = self._silent * REPORT_PERIOD_S
            self._node.get_logger().warning(f"no image for {seconds:.0f} s: {reason}")

    def report_camera_info(self, has_come: bool, source: Subscription, sink: Publisher) -> None:
        """Log, after ``report``, that nothing comes from ``source`` for those who hear ``sink``."""
        if has_come or not self._received or not sink.get_subscription_count():
            self._without_camera_info = 0
            return
        self._without_camera_info += 1
        if self._without_camera_info == SILENT_REPORTS:
            self._node.get_logger().warning(
                f"{sink.topic_name} has a listener and stays silent: nothing comes on "
                f"{source.topic_name}; remap 'camera_info' to the camera's"
            )


def diagnose_no_messages(node: Node, subscription: Subscription, qos: QoSProfile) -> str:
    """Why nothing may arrive at ``subscription`` with ``qos``, and what to do about it."""
    topic = subscription.topic_name
    message: Any = subscription.msg_type
    wanted = f"{message.__module__.split('.')[0]}/msg/{message.__name__}"
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        raw = topic.removesuffix("/compressed")
        sibling, transport = (raw, "raw") if raw != topic else (f"{raw}/compressed", "compressed")
        if node.get_publishers_info_by_topic(sibling):
            return (
                f"nobody publishes {topic}, but somebody {sibling}: set input_transport to "
                f"'{transport}'"
            )
        return f"nobody publishes {topic}: remap 'image' to the camera's topic"
    for publisher in publishers:
        if publisher.topic_type != wanted:
            return (
                f"{publisher.node_name} publishes {topic} as {publisher.topic_type}, and the node "
                f"listens for {wanted}: remap 'image' to a raw image topic, or, for the one that "
                "ends in /compressed, to its name without that, and set input_transport to "
                "'compressed'"
            )
        compatibility, reason = qos_check_compatible(publisher.qos_profile, qos)
        if compatibility == QoSCompatibility.ERROR:
            return (
                f"{publisher.node_name} publishes {topic} with a QoS that does not match "
                f"({reason.strip()}): set image_qos.reliability and image_qos.durability to its own"
            )
    return (
        f"{publishers[0].node_name} publishes {topic} with a QoS that matches: it may be paused, "
        "or its images are too large for the transport: start the camera driver with Fast DDS's "
        "profile config/fastdds_images.xml, see there"
    )
