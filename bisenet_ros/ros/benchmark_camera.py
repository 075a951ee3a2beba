"""Cameras for the benchmark of the node, in a process of their own."""

import argparse
import sys
import time
from contextlib import suppress
from itertools import cycle

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from bisenet_ros.ros.camera import camera_topic
from bisenet_ros.ros.image_messages import image_message

NODE_NAME = "benchmark_cameras"
COMMAND = (sys.executable, "-m", "bisenet_ros.ros.benchmark_camera")


class FrameNumbers:
    """Numbers the frames of a topic from 1 on, and again from 1 when a subscriber comes."""

    def __init__(self) -> None:
        self._latest = 0

    def next(self, has_subscriber: bool) -> int:
        """Return the number of the next frame; 0 if nobody hears it."""
        self._latest = self._latest + 1 if has_subscriber else 0
        return self._latest


class BenchmarkCamera:
    """Publishes an image of noise, since the time of an engine does not depend on the content.

    ``frame_id`` is the number of the frame, see ``FrameNumbers``.

    Args:
        node: has the publisher.
        name: of the camera; "" for the only one of a node.
        size: width and height [px].
    """

    def __init__(self, node: Node, name: str, size: tuple[int, int]) -> None:
        width, height = size
        noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        self._message = image_message(noise, "rgb8", Header())
        self._node = node
        self._numbers = FrameNumbers()
        self._publisher: Publisher = node.create_publisher(
            Image, camera_topic(name, "image"), qos_profile_sensor_data
        )

    def publish(self) -> None:
        """Publish the next frame, stamped now."""
        number = self._numbers.next(self._publisher.get_subscription_count() > 0)
        self._message.header.frame_id = str(number)
        self._message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(self._message)


def main() -> None:
    """Publish until SIGINT; cameras take turns, evenly within a period."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, required=True, help="of each camera [Hz]")
    parser.add_argument("--size", type=int, nargs=2, required=True, help="width and height [px]")
    parser.add_argument("--names", nargs="+", default=[""])
    parser.add_argument("--ros-args", nargs=argparse.REMAINDER, help="for rclpy.init")
    args = parser.parse_args()
    with suppress(KeyboardInterrupt):
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = Node(NODE_NAME)
        cameras = [BenchmarkCamera(node, name, args.size) for name in args.names]
        due = time.monotonic()
        for camera in cycle(cameras):
            # Relative to the due time, so that the mean rate is exact; not to one long past.
            due = max(due + 1 / (args.rate * len(cameras)), time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
            camera.publish()


if __name__ == "__main__":
    main()
