"""Writer of a bag with what the node would have published for a recording."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from rclpy.serialization import serialize_message
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from std_msgs.msg import Header

from bisenet_ros.atomic import atomic_write
from bisenet_ros.model.file import Model
from bisenet_ros.resources import share_directory
from bisenet_ros.ros.class_messages import class_map
from bisenet_ros.ros.image_messages import compressed_message, image_message

NODE = "/segmentation"
"""Name of the node whose topics are written."""

_IMAGE, _COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_CLASS_MAP = "bisenet_ros/msg/ClassMap"
_INFINITE = QosTime(9223372036, 854775807)


class LabelBag:
    """An open bag of labels, overlays as JPEG, confidence if there is any, and a latched ClassMap.

    Topics are those of the node. Use ``open_label_bag`` to create one.
    """

    def __init__(self, writer: Writer, model: Model) -> None:
        """Write to ``writer``, which is open, the labels of ``model``."""
        self._writer = writer
        self._model = model
        self._store = get_typestore(Stores.ROS2_JAZZY)
        for name in ("ClassInfo", "ClassMap"):
            definition = (share_directory() / "msg" / f"{name}.msg").read_text(encoding="utf-8")
            self._store.register(get_types_from_msg(definition, f"bisenet_ros/msg/{name}"))
        self._topics: dict[str, Connection] = {}

    def write(
        self,
        labels: NDArray[np.uint8],
        overlay: NDArray[np.uint8],
        confidence: NDArray[np.uint8] | None,
        *,
        stamp_ns: int,
        frame_id: str,
        time_ns: int,
    ) -> None:
        """Write the results of one image.

        Args:
            labels: uint8 [H,W].
            overlay: uint8 [H,W,3] RGB.
            confidence: uint8 [H,W], or None.
            stamp_ns: of the image's header.
            frame_id: of the image's header.
            time_ns: when the image was recorded; not before that of the last one.
        """
        seconds, nanoseconds = divmod(stamp_ns, 10**9)
        header = Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=frame_id)
        if not self._topics:
            self._write("class_map", _CLASS_MAP, class_map(self._model, header.stamp), time_ns)
        self._write("label", _IMAGE, image_message(labels, "mono8", header), time_ns)
        if confidence is not None:
            self._write("confidence", _IMAGE, image_message(confidence, "mono8", header), time_ns)
        shown = compressed_message(overlay, header)
        self._write("overlay/compressed", _COMPRESSED, shown, time_ns)

    def _write(self, name: str, kind: str, message: Any, time_ns: int) -> None:
        if name not in self._topics:
            self._topics[name] = self._writer.add_connection(
                f"{NODE}/{name}",
                kind,
                typestore=self._store,
                offered_qos_profiles=[_qos(latched=kind == _CLASS_MAP)],
            )
        self._writer.write(self._topics[name], time_ns, serialize_message(message))


@contextmanager
def open_label_bag(path: Path, model: Model) -> Iterator[LabelBag]:
    """Yield a bag that becomes the MCAP file ``path`` at the end, unless the body raises.

    Args:
        path: the file to create; its folder must exist.
        model: has the classes.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_write(path, mode=0o644) as partial:
        folder = partial.with_suffix("")  # rosbags writes NAME/NAME.mcap and NAME/metadata.yaml
        writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with writer:
            yield LabelBag(writer, model)
        (folder / partial.name).replace(partial)
        shutil.rmtree(folder)


def _qos(*, latched: bool) -> Qos:
    """Return the QoS of the node's publishers, which ``ros2 bag play`` publishes with."""
    return Qos(
        QosHistory.KEEP_LAST,
        1 if latched else 2,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        _INFINITE,
        _INFINITE,
        QosLiveliness.AUTOMATIC,
        _INFINITE,
        False,
    )
