"""Numbered pictures, and bags of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

Image = NDArray[np.uint8]

STORE = get_typestore(Stores.ROS2_JAZZY)
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


class HasImage(Protocol):
    """A frame of any source."""

    @property
    def image(self) -> Image:
        """Pixels uint8 [H,W,3] RGB."""


def picture(number: int, width: int = 64, height: int = 48) -> Image:
    """Return a picture whose color encodes ``number`` robustly against lossy compression."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = 40 + 30 * number, 90, 220 - 30 * number
    return image


def numbers(frames: Sequence[HasImage]) -> list[int]:
    """Return the numbers of the pictures, decoded from red and checked against green and blue."""
    found = []
    for frame in frames:
        red, green, blue = frame.image.reshape(-1, 3).mean(axis=0)
        number = round((red - 40) / 30)
        assert abs(red - 40 - 30 * number) < 8
        assert abs(green - 90) < 8
        assert abs(blue - 220 + 30 * number) < 8
        found.append(number)
    return found


def image_message(image: Image, encoding: str = "rgb8", stamp: tuple[int, int] = (0, 0)) -> object:
    if encoding == "bgr8":
        image = image[..., ::-1]
    height, width = image.shape[:2]
    data = np.ascontiguousarray(image).reshape(-1)
    return STORE.types[IMAGE](header(stamp), height, width, encoding, 0, 3 * width, data)


def compressed_message(image: Image) -> object:
    ok, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert ok
    return STORE.types[COMPRESSED](header(), "rgb8; jpeg compressed bgr8", jpeg.reshape(-1))


def header(stamp: tuple[int, int] = (0, 0)) -> object:
    time = STORE.types["builtin_interfaces/msg/Time"](*stamp)
    return STORE.types["std_msgs/msg/Header"](time, "camera")


def write_bag(
    folder: Path,
    messages: Sequence[tuple[str, str, object]],
    storage: StoragePlugin = StoragePlugin.MCAP,
    silent: Sequence[tuple[str, str]] = (),
    start: int = 0,
) -> Path:
    """Write a bag of (topic, type, message) a nanosecond apart, and of silent (topic, type)."""
    with Writer(folder, version=9, storage_plugin=storage) as writer:
        connections = {}
        for topic, kind in dict.fromkeys([(t, k) for t, k, _ in messages] + list(silent)):
            connections[topic, kind] = writer.add_connection(topic, kind, typestore=STORE)
        for time, (topic, kind, message) in enumerate(messages, start):
            writer.write(connections[topic, kind], time, STORE.serialize_cdr(message, kind))
    return folder


def text_message(text: str) -> tuple[str, str, object]:
    return "/chatter", "std_msgs/msg/String", STORE.types["std_msgs/msg/String"](text)
