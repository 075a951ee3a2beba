"""The images that the node publishes."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from bisenet_ros.inference.segmenter import Segmentation
from bisenet_ros.rendering import colorize, overlay
from bisenet_ros.ros.image_messages import image_message


class ImageOutputs:
    """A publisher for each of ``names`` (label, confidence, overlay, color), in that order."""

    def __init__(
        self, node: Node, names: Sequence[str], qos: QoSProfile, palette: NDArray[np.uint8]
    ) -> None:
        self._node = node
        self._palette = palette
        self._latched = qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
        self._publishers: list[tuple[str, Publisher]] = [
            (name, node.create_publisher(Image, f"~/{name}", qos))
            for name in ("label", "confidence", "overlay", "color")
            if name in names
        ]

    def publish(self, segmentation: Segmentation, header: Header, alpha: float) -> None:
        """Make and publish the images that someone listens to, with the frame's own header.

        All of them if they are transient local: those who come later listen, too.
        """
        render: dict[str, Callable[[], tuple[NDArray[np.uint8] | None, str]]] = {
            "label": lambda: (segmentation.labels, "mono8"),
            "confidence": lambda: (segmentation.confidence, "mono8"),
            "overlay": lambda: (
                overlay(segmentation.image, segmentation.labels, self._palette, alpha),
                "rgb8",
            ),
            "color": lambda: (colorize(segmentation.labels, self._palette), "rgb8"),
        }
        for name, publisher in self._publishers:
            if self._latched or publisher.get_subscription_count():
                pixels, encoding = render[name]()
                assert pixels is not None, "configure asks for confidence where it is published"
                publisher.publish(image_message(pixels, encoding, header))

    def close(self) -> None:
        """Destroy the publishers."""
        for _, publisher in self._publishers:
            self._node.destroy_publisher(publisher)
        self._publishers.clear()
