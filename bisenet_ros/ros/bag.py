"""Images in recorded ROS bags, read without rosbag2."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from bisenet_ros.errors import BagError, ImageError, first_line, quoted
from bisenet_ros.images.bit_depth import FULL_RANGE, BitDepth
from bisenet_ros.ros.image_messages import ImageDecoder, decode_compressed

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


class ImageBag:
    """The images of one topic of a bag: an mcap or db3 folder or file, or a ROS 1 .bag.

    - ``topic``: the topic that is read.
    - ``len()``: number of messages on ``topic``.
    """

    def __init__(self, path: Path, topic: str | None = None, depth: BitDepth = FULL_RANGE) -> None:
        """Open the bag; without ``topic`` it must have exactly one topic of images.

        ``depth`` is the number of bits of the values in 16-bit images.

        Raises:
            BagError: ``path`` is not a readable bag, has no such topic, no image topic or several
                of them, or no messages on it.
        """
        self.path = path
        with closing(self._open()) as reader:
            counts = {
                name: info.msgcount
                for name, info in reader.topics.items()
                if info.msgtype in IMAGE_TYPES
            }
            others = sorted(reader.topics.keys() - counts.keys())
        # rosbag2 lists subscribed topics that never had a message.
        heard = sorted(name for name, count in counts.items() if count) or sorted(counts)
        if topic is None:
            if not heard:
                found = f"its topics are {', '.join(others)}" if others else "it is empty"
                raise BagError(f"{path} has no topic of images: {found}")
            if len(heard) > 1:
                raise BagError(
                    f"{path} has several topics of images: choose one with --topic: "
                    f"{', '.join(heard)}"
                )
            topic = heard[0]
        elif topic not in counts:
            raise BagError(
                f"{path} has no topic of images named {quoted(topic)}; "
                f"it has {', '.join(sorted(counts)) or 'none'}"
            )
        if not counts[topic]:
            raise BagError(f"{path} has no message on {topic}: nothing was recorded there")
        self.topic = topic
        self._depth = depth
        self._count: int = counts[topic]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Iterate over the images in recording order: uint8 [H,W,3] RGB.

        Raises:
            BagError: a message is damaged or not an image.
        """
        decoder = ImageDecoder(depth=self._depth)
        with closing(self._open()) as reader:
            connections = [c for c in reader.connections if c.topic == self.topic]
            messages = reader.messages(connections)
            for number in range(self._count):
                try:
                    connection, _, raw = next(messages)
                    message: Any = reader.deserialize(raw, connection.msgtype)
                    if connection.msgtype == IMAGE_TYPES[0]:
                        image = decoder.to_rgb(message)
                    else:
                        image = decode_compressed(message, depth=decoder.depth)
                except ImageError as error:
                    raise BagError(f"{self.path}, message {number}: {error}") from error
                except Exception as error:  # rosbags lets errors of its parsers through
                    raise BagError(
                        f"{self.path} is damaged at message {number} of {self.topic} "
                        f"({first_line(error)}): record it again, or repair it with `ros2 bag "
                        "convert`"
                    ) from error
                yield image

    def _open(self) -> AnyReader:
        try:
            # db3 files from before Jazzy lack message definitions; those of images never changed.
            store = get_typestore(Stores.ROS2_HUMBLE)
            reader = AnyReader([self.path], default_typestore=store)
            reader.open()
        except Exception as error:  # rosbags lets errors of its parsers through
            raise BagError(
                f"{self.path} cannot be read as a bag ({first_line(error)}): it must be a folder "
                "with metadata.yaml, or one .mcap or .db3 file, closed by its recorder; 'ros2 bag "
                "reindex' or 'mcap recover' repairs one that was not"
            ) from error
        return reader
