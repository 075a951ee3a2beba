"""The images that the node publishes."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from bisenet_ros.images.render import colorize, overlay
from bisenet_ros.inference.segmenter import Segmentation
from bisenet_ros.ros.image_messages import compressed_message, image_message
from bisenet_ros.ros.parameters import OUTPUTS


class ImagePublishers:
    """A publisher for each of ``names`` (label, confidence, overlay, color), in that order.

    Those that are for eyes have one of JPEGs too, on their name + ``/compressed``. ``advertise``
    makes the publishers, of a message type, topic and QoS.
    """

    def __init__(
        self,
        advertise: Callable[[type, str, QoSProfile], Publisher],
        names: Sequence[str],
        qos: QoSProfile,
        palette: NDArray[np.uint8],
    ) -> None:
        self._palette = palette
        self._latched = qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
        self._raw: dict[str, Publisher] = {}
        self._compressed: dict[str, Publisher] = {}
        for name in (name for name in OUTPUTS if name in names):
            raw = self._raw[name] = advertise(Image, f"~/{name}", qos)
            if OUTPUTS[name] == "rgb8":
                # Of the resolved name: JPEGs follow an output that is remapped.
                topic = f"{raw.topic_name}/compressed"
                self._compressed[name] = advertise(CompressedImage, topic, qos)

    def publish(self, segmentation: Segmentation, header: Header, alpha: float) -> None:
        """Make and publish the images that someone listens to, with the frame's own header.

        All but the JPEGs if they are transient local: those who come later listen, too.
        """
        for name, publisher in self._raw.items():
            compressed = self._compressed.get(name)
            raw_wanted = self._latched or publisher.get_subscription_count()
            compressed_wanted = compressed is not None and compressed.get_subscription_count()
            if not raw_wanted and not compressed_wanted:
                continue
            pixels = self._render(name, segmentation, alpha)
            if raw_wanted:
                publisher.publish(image_message(pixels, OUTPUTS[name], header))
            if compressed is not None and compressed_wanted:
                compressed.publish(compressed_message(pixels, header))

    def _render(self, name: str, segmentation: Segmentation, alpha: float) -> NDArray[np.uint8]:
        if name == "label":
            return segmentation.labels
        if name == "overlay":
            return overlay(segmentation.image, segmentation.labels, self._palette, alpha)
        if name == "color":
            return colorize(segmentation.labels, self._palette)
        assert segmentation.confidence is not None, "configure asks for it where it is published"
        return segmentation.confidence
