"""Whether the node would get images from a topic, and could read them."""

import time

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CompressedImage, Image

from bisenet_ros.doctor import Check
from bisenet_ros.ros.image_messages import ImageDecoder, ImageError, decode_compressed
from bisenet_ros.ros.qos import SENSOR, explain_silence


def check_camera(topic: str, seconds: float) -> Check:
    """Listen to ``topic`` for ``seconds`` as the node does by default, and read what comes.

    A topic that ends in /compressed is taken for CompressedImage.
    """
    context = Context()
    rclpy.init(context=context)
    node = rclpy.create_node("bisenet_doctor", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    kind = CompressedImage if topic.endswith("/compressed") else Image
    heard: list[Image | CompressedImage] = []
    subscription = node.create_subscription(kind, topic, heard.append, SENSOR)
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            executor.spin_once(timeout_sec=0.1)
        if not heard:
            reason = explain_silence(node, subscription, SENSOR)
            what, _, remedy = reason.partition(": ")
            detail = f"no image in {seconds:g} s: {what}"
            return Check("camera", ok=False, detail=detail, remedy=remedy)
        newest = heard[-1]
        stamp = newest.header.stamp.sec + 1e-9 * newest.header.stamp.nanosec
        age = 1e-9 * node.get_clock().now().nanoseconds - stamp
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()
    try:
        if isinstance(newest, CompressedImage):
            pixels, form = decode_compressed(newest), newest.format
        else:
            pixels, form = ImageDecoder().to_rgb(newest), newest.encoding
    except ImageError as error:
        what, _, remedy = str(error).rpartition(": ")
        return Check("camera", ok=False, detail=what, remedy=remedy)
    height, width = pixels.shape[:2]
    return Check(
        "camera",
        ok=True,
        detail=f"{len(heard) / seconds:.1f} images/s of {width}x{height}, {form!r}, frame "
        f"{newest.header.frame_id!r}, the last one stamped {age:.2f} s ago",
    )
