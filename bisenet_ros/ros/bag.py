"""Images in recorded ROS bags, read without rosbag2."""

import logging
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore

from bisenet_ros.errors import BagError, ImageError, first_line, quoted
from bisenet_ros.images.bit_depth import FULL_RANGE, BitDepth
from bisenet_ros.ros.bag_files import (
    METADATA,
    ZSTD_MAGIC,
    BagFolder,
    Channel,
    RawMessage,
    open_bag_file,
    read_bag_folder,
    repair_command,
)
from bisenet_ros.ros.image_messages import ImageDecoder, decode_compressed

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")

# The definitions of images never changed, so those in the bag, if any, are not needed.
_DESERIALIZE = {
    "cdr": get_typestore(Stores.ROS2_JAZZY).deserialize_cdr,
    "ros1": get_typestore(Stores.ROS1_NOETIC).deserialize_ros1,
}

_logger = logging.getLogger(__name__)


class BagImage(NamedTuple):
    """An image of a bag.

    - ``image``: uint8 [H,W,3] RGB.
    - ``stamp_ns``, ``frame_id``: of the message's header.
    - ``time_ns``: when the message was recorded.
    """

    image: NDArray[np.uint8]
    stamp_ns: int
    frame_id: str
    time_ns: int


class ImageBag:
    """The images of one topic of a bag: an mcap or db3 folder or file, or a ROS 1 .bag.

    Files may be compressed by rosbag2, as a whole or by message. What differs from metadata.yaml,
    and files that break off because their recorder was killed, are read and warned of.

    - ``topic``: the topic that is read.
    - ``len()``: number of images on ``topic`` in the files.
    """

    def __init__(self, path: Path, topic: str | None = None, depth: BitDepth = FULL_RANGE) -> None:
        """Open the bag; without ``topic`` it must have exactly one topic of images.

        ``depth`` is the number of bits of the values in 16-bit images.

        Raises:
            BagError: ``path`` is not a readable bag, has no such topic, no image topic or several
                of them, or no messages on it.
        """
        self.path = path
        folder = read_bag_folder(path) if path.is_dir() else BagFolder([path], {}, [])
        self._unpacked = TemporaryDirectory(prefix="bisenet_bag_")
        opened = [(file, open_bag_file(file, Path(self._unpacked.name))) for file in folder.files]
        self._files = sorted(opened, key=lambda file: file[1].start_ns)

        for warning in folder.warnings:
            _logger.warning("%s", warning)
        counts: Counter[str] = Counter()
        others = set()
        for name, file in self._files:
            if file.incomplete:
                _logger.warning(
                    "%s %s, as if its recorder had been killed: reading the %d messages before; "
                    "`%s` makes a complete file of them",
                    name,
                    file.incomplete,
                    sum(file.counts.values()),
                    repair_command(name, type(file)),
                )
            for channel, number in file.counts.items():
                if _has_images(channel):
                    counts[channel.topic] += number
                else:
                    others.add(_described(channel))
        self.topic = _choose_topic(path, topic, counts, sorted(others))
        self._count = counts[self.topic]
        stated = folder.stated.get(self.topic, self._count)
        if stated != self._count:
            _logger.warning(
                "%s has %d of %d messages on %s that its %s states",
                path,
                self._count,
                stated,
                self.topic,
                METADATA,
            )
        self._depth = depth

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[BagImage]:
        """Iterate over the images in recording order.

        After an error the iterator goes on with the next image, or ends where the file is damaged.

        Raises:
            BagError: a message is damaged or not an image, or the file is damaged from there on.
        """
        return map(partial(self._image, ImageDecoder(depth=self._depth)), count(), self._messages())

    def _messages(self) -> Iterator[RawMessage]:
        number = 0
        for path, file in self._files:
            try:
                for message in file.messages(self.topic):
                    if _has_images(message.channel):
                        number += 1
                        yield message
            except Exception as error:  # rosbags lets errors of its parsers through
                raise BagError(
                    f"{path} is damaged at message {number} of {self._count} on {self.topic} "
                    f"({first_line(error)}), and the rest is lost: record it again, or repair it "
                    f"with `{repair_command(path, type(file))}`"
                ) from error
        if number < self._count:
            raise BagError(
                f"{self.path} has {number} of {self._count} messages on {self.topic} that its "
                "index states: record it again"
            )

    def _image(self, decoder: ImageDecoder, number: int, raw: RawMessage) -> BagImage:
        try:
            data = raw.data
            if data.startswith(ZSTD_MAGIC):  # rosbag2's compression by message
                data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
            message: Any = _DESERIALIZE[raw.channel.encoding](data, raw.channel.type)
            stamp = message.header.stamp
            image = (
                decoder.to_rgb(message)
                if raw.channel.type == IMAGE_TYPES[0]
                else decode_compressed(message, depth=decoder.depth)
            )
        except ImageError as error:
            raise BagError(f"{self.path}, message {number}: {error}") from error
        except Exception as error:  # rosbags lets errors of its parsers through
            raise BagError(
                f"{self.path} is damaged at message {number} of {self.topic} "
                f"({first_line(error)}): record it again"
            ) from error
        return BagImage(
            image, 10**9 * stamp.sec + stamp.nanosec, message.header.frame_id, raw.time_ns
        )


def _has_images(channel: Channel) -> bool:
    return channel.type in IMAGE_TYPES and channel.encoding in _DESERIALIZE


def _described(channel: Channel) -> str:
    if channel.encoding in _DESERIALIZE:
        return channel.topic
    return f"{channel.topic} ({channel.type or 'no type'} in {channel.encoding or 'no encoding'})"


def _choose_topic(path: Path, topic: str | None, counts: Counter[str], others: list[str]) -> str:
    """Return the topic to read.

    Args:
        path: the bag, for messages.
        topic: the topic that was asked for, if any.
        counts: number of images by topic.
        others: the other topics, for messages.

    Raises:
        BagError: there is no such topic, several, or one without messages.
    """
    # rosbag2 lists subscribed topics that never had a message.
    heard = sorted(name for name, number in counts.items() if number) or sorted(counts)
    if topic is None:
        if not heard:
            found = f"its topics are {', '.join(others)}" if others else "it is empty"
            raise BagError(f"{path} has no topic of images: {found}")
        if len(heard) > 1:
            raise BagError(
                f"{path} has several topics of images: choose one with --topic: {', '.join(heard)}"
            )
        topic = heard[0]
    elif topic not in counts:
        raise BagError(
            f"{path} has no topic of images named {quoted(topic)}; "
            f"it has {', '.join(sorted(counts)) or 'none'}"
        )
    if not counts[topic]:
        raise BagError(f"{path} has no message on {topic}: nothing was recorded there")
    return topic
