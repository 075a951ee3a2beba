"""Camera info: receive it, and scale it to images of another size."""

import copy

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from bisenet_ros.ros.qos import LATCHED, SENSOR

MAX_SIDE = 65536
MAX_BINNING = 64
MAX_VALUE = 1e9
"""Of k and p, which are in pixels, and p's last column in pixels times meters."""


class CameraInfoSubscription:
    """Keeps the latest camera_info, whether it is published continuously or once and latched.

    - ``latest``: None until one has arrived.
    - ``topic_name``: absolute.

    Args:
        node: creates the subscription.
        topic: may be relative.

    A volatile subscription misses what a latched publisher sent before; a latched subscription does
    not match volatile publishers, and makes their nodes warn of it. So the QoS follows that of the
    publishers.
    """

    def __init__(self, node: Node, topic: str) -> None:
        self.latest: CameraInfo | None = None
        self._node = node
        self._topic = topic
        self._refused = False
        self._subscribe(SENSOR)
        self.topic_name: str = self._subscription.topic_name

    def wanted_qos(self) -> QoSProfile | None:
        """Return the QoS to call ``resubscribe`` with, or None to stay subscribed as it is."""
        offered = [
            publisher.qos_profile
            for publisher in self._node.get_publishers_info_by_topic(self.topic_name)
        ]
        latched = all(
            qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
            and qos.reliability == ReliabilityPolicy.RELIABLE
            for qos in offered
        )
        wanted = LATCHED if latched else SENSOR
        return wanted if offered and wanted != self._qos else None

    def resubscribe(self, qos: QoSProfile) -> None:
        """Subscribe with ``qos``; on the executor's thread."""
        self.close()
        self._subscribe(qos)

    def close(self) -> None:
        """Unsubscribe; on the executor's thread."""
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self, qos: QoSProfile) -> None:
        self._qos = qos
        self._subscription = self._node.create_subscription(
            CameraInfo, self._topic, self._receive, qos
        )

    def _receive(self, message: CameraInfo) -> None:
        problem = camera_info_problem(message)
        if problem:
            if not self._refused:
                self._node.get_logger().warning(f"{self.topic_name} is ignored: {problem}")
            self._refused = True
        else:
            self.latest = message


def camera_info_problem(info: CameraInfo) -> str:
    """Return why no camera can have ``info``, or ""."""
    roi = info.roi
    for name, size, offset, side in (
        ("width", info.width, roi.x_offset, roi.width),
        ("height", info.height, roi.y_offset, roi.height),
    ):
        if size > MAX_SIDE:
            return f"its {name} is {size} pixels, more than {MAX_SIDE}"
        if size and offset + side > size:
            return f"its roi ends at {offset + side}, beyond its {name} of {size}"
        if not size and offset + side:
            return f"it has a roi and no {name}"
    if max(info.binning_x, info.binning_y) > MAX_BINNING:
        return f"its binning is {info.binning_x} x {info.binning_y}, more than {MAX_BINNING}"
    if not all(abs(value) < MAX_VALUE for value in (*info.k, *info.p)):
        return f"a value of k or p is not finite, or {MAX_VALUE:g} and more"
    return ""


def scale_camera_info(
    info: CameraInfo, width: int, height: int, header: Header
) -> CameraInfo | None:
    """Return ``info`` for the same picture at ``width`` x ``height`` pixels, with ``header``.

    None if the whole image would have more pixels a side than the message can hold.

    ``info`` describes its region of interest (by default the whole image) after binning, see
    sensor_msgs/CameraInfo. The factor is computed from that size, so images that were resized on
    their way get correct matrices, too. Pixel 0 extends from -1/2 to 1/2, as in OpenCV: a
    principal point c becomes (c + 1/2) s - 1/2. Distortion refers to normalized coordinates and is
    unchanged.
    """
    result = copy.deepcopy(info)
    result.header = header
    x = _factor(width, info.roi.width or info.width, info.binning_x)
    y = _factor(height, info.roi.height or info.height, info.binning_y)
    size = round(info.width * x), round(info.height * y)
    if max(size) >= 2**32:
        return None
    result.width, result.height = size
    roi = result.roi
    roi.x_offset, roi.width = round(roi.x_offset * x), round(roi.width * x)
    roi.y_offset, roi.height = round(roi.y_offset * y), round(roi.height * y)
    # Uncalibrated cameras publish zeros.
    for matrix, columns in ((result.k, 3), (result.p, 4)):
        for row, factor in enumerate((x, y)):
            cells = slice(row * columns, (row + 1) * columns)
            if matrix[row * columns + row]:
                values = [value * factor for value in matrix[cells]]
                values[2] += (factor - 1) / 2
                matrix[cells] = values
    return result


def _factor(side: int, described: int, binning: int) -> float:
    return side * max(1, binning) / described if described else 1.0
