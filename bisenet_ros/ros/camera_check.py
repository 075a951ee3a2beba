"""Check that the node would receive and could decode the images of a topic."""

import time

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CompressedImage, Image

from bisenet_ros.check import Check
from bisenet_ros.errors import ImageError
from bisenet_ros.ros.image_messages import ImageDecoder, decode_compressed
from bisenet_ros.ros.qos import SENSOR
from bisenet_ros.ros.topic_watchdog import diagnose_no_messages


class _Listener:
    """Counts images and keeps the newest."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.newest: Image | CompressedImage | None = None

    def __call__(self, message: Image | CompressedImage) -> None:
        self.times.append(time.monotonic())
        self.newest = message

    @property
    def rate(self) -> float:
        """Image rate between the first and the last [Hz]."""
        seconds = self.times[-1] - self.times[0]
        return (len(self.times) - 1) / seconds if seconds > 0 else 0.0


def check_camera(topic: str, seconds: float) -> Check:
    """Subscribe to ``topic`` for ``seconds`` with the node's default QoS, and decode an image.

    A topic that ends in /compressed is subscribed to as CompressedImage.
    """
    context = Context()
    rclpy.init(context=context)
    node = rclpy.create_node("bisenet_doctor", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    kind = CompressedImage if topic.endswith("/compressed") else Image
    heard = _Listener()
    try:
        subscription = node.create_subscription(kind, topic, heard, SENSOR)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            executor.spin_once(timeout_sec=0.1)
        if heard.newest is None:
            reason = diagnose_no_messages(node, subscription, SENSOR)
            return Check("camera", ok=False, detail=f"no image in {seconds:g} s, {reason}")
        stamp = heard.newest.header.stamp
        age = 1e-9 * node.get_clock().now().nanoseconds - (stamp.sec + 1e-9 * stamp.nanosec)
        pixels, form = _read(heard.newest)
    except NameValidationException as error:
        detail = " ".join(str(error).split())
        remedy = "give a topic such as /camera/image_raw"
        return Check("camera", ok=False, detail=detail, remedy=remedy)
    except ImageError as error:
        return Check("camera", ok=False, detail=str(error))
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()
    height, width = pixels.shape[:2]
    return Check(
        "camera",
        ok=True,
        detail=f"{heard.rate:.1f} images/s of {width}x{height}, {form!r}, frame "
        f"{heard.newest.header.frame_id!r}, the last one stamped {age:.2f} s before it was read",
    )


def _read(message: Image | CompressedImage) -> tuple[NDArray[np.uint8], str]:
    decoder = ImageDecoder()
    if isinstance(message, CompressedImage):
        return decode_compressed(message, depth=decoder.depth), message.format
    return decoder.to_rgb(message), message.encoding
