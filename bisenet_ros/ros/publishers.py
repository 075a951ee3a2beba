"""Publishers of images and of the classes that their labels mean."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from bisenet_ros.images.render import colorize, overlay
from bisenet_ros.inference.segmenter import Segmentation
from bisenet_ros.model.file import Model
from bisenet_ros.msg import ClassMap
from bisenet_ros.ros import class_messages
from bisenet_ros.ros.image_messages import compressed_message, image_message
from bisenet_ros.ros.parameters import OUTPUTS
from bisenet_ros.ros.qos import LATCHED

Advertise = Callable[[Any, str, QoSProfile], Publisher]
"""Creates a publisher from message type, topic and QoS."""


class ImagePublishers:
    """Publishers of images: labels, confidence, overlay, color.

    - ``palette``: uint8 [256,3] RGB by label; may be replaced.

    Overlay and color are also published as JPEG, on their name + ``/compressed``.

    Args:
        advertise: creates the publishers.
        names: keys of ``OUTPUTS``, in any order.
        qos: of all publishers.
        palette: uint8 [256,3] RGB by label, see ``classes.palette``.
        namespace: of the topics.
    """

    def __init__(
        self,
        advertise: Advertise,
        names: Sequence[str],
        qos: QoSProfile,
        palette: NDArray[np.uint8],
        namespace: str = "~",
    ) -> None:
        self.palette = palette
        self._latched = qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
        self._raw: dict[str, Publisher] = {}
        self._compressed: dict[str, Publisher] = {}
        for name in (name for name in OUTPUTS if name in names):
            raw = self._raw[name] = advertise(Image, f"{namespace}/{name}", qos)
            if OUTPUTS[name] == "rgb8":
                # Relative to the resolved name, so that JPEGs follow an output that is remapped.
                topic = f"{raw.topic_name}/compressed"
                self._compressed[name] = advertise(CompressedImage, topic, qos)

    @property
    def are_wanted(self) -> bool:
        """Whether an image would be published: someone listens, or may come and look later."""
        publishers = [*self._raw.values(), *self._compressed.values()]
        return self._latched or any(each.get_subscription_count() for each in publishers)

    def publish(self, segmentation: Segmentation, header: Header, alpha: float) -> None:
        """Render and publish the images that have subscribers.

        With a transient local QoS, images without subscribers are published too, except JPEGs.

        Args:
            segmentation: of one image; its arrays are not written to.
            header: the header of the camera's image.
            alpha: opacity of the class colors in the overlay, 0..1.
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
            return overlay(segmentation.image, segmentation.labels, self.palette, alpha)
        if name == "color":
            return colorize(segmentation.labels, self.palette)
        assert segmentation.confidence is not None, "configure asks for it where it is published"
        return segmentation.confidence


class ClassPublishers:
    """Latched publishers of ClassMap and, where vision_msgs is installed, LabelInfo.

    - ``model``: has the classes; may be replaced.

    Args:
        advertise: creates the publishers.
        model: has the classes.
    """

    def __init__(self, advertise: Advertise, model: Model) -> None:
        self.model = model
        self._class_map = advertise(ClassMap, "~/class_map", LATCHED)
        label_info = class_messages.label_info_type()
        self._label_info = advertise(label_info, "~/label_info", LATCHED) if label_info else None

    def publish_class_map(self, stamp: Time) -> None:
        """Publish ids, names and colors."""
        self._class_map.publish(class_messages.class_map(self.model, stamp))

    def publish_label_info(self, stamp: Time, threshold: float) -> None:
        """Publish ids, names and the confidence threshold, 0..1."""
        if self._label_info is not None:
            message = class_messages.label_info(self.model, stamp, threshold)
            self._label_info.publish(message)
