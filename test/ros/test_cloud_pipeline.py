"""Messages that no camera sends: each is processed or refused in one sentence."""

import array
import math
import random
from typing import Any

import pytest

pytest.importorskip("rclpy")

from bisenet_ros.msg import ClassInfo, ClassMap
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField, RegionOfInterest
from small_node import make_node, spin_until

from bisenet_ros.errors import UserError
from bisenet_ros.geometry.pose import pose_from_angles
from bisenet_ros.ros.camera_info import camera_info_problem
from bisenet_ros.ros.camera_pose import FixedPose
from bisenet_ros.ros.cloud_parameters import CloudParameters
from bisenet_ros.ros.cloud_pipeline import CloudPipeline, CloudPublishers
from bisenet_ros.ros.qos import qos_profile

VALUES = (0.0, 1.0, -1.0, 100.0, 0.5, 1e-300, 1e9 - 1, 1e-9, 1e300, math.nan, math.inf)
SIZES = ((1, 1), (2, 3), (48, 64))
QOS = qos_profile("reliable", "volatile", 2)


class Sender:
    """Draws messages, of which most are valid but for a few numbers."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.size = self._random.choice(SIZES)

    def _or(self, value: float, often: int = 80) -> float:
        return self._random.choice((*VALUES, *[value] * often))

    def _image(self, encoding: str, pixel: int) -> Image:
        height, width = self._random.choice((*[self.size] * 20, *SIZES))
        data = array.array("B", self._random.randbytes(height * width * pixel))
        step = width * pixel
        return Image(width=width, height=height, encoding=encoding, step=step, data=data)

    def messages(self) -> dict[str, Any]:
        height, width = self.size
        cloud = PointCloud2(width=width, height=height, point_step=16, row_step=16 * width)
        cloud.data = array.array("B", self._random.randbytes(16 * width * height))
        cloud.fields = [
            PointField(name=name, offset=self._random.choice((0, 4, 8, 3, 13)), datatype=7, count=1)
            for name in "xyz"
        ]
        depth = self._random.choice((("32FC1", 4), ("16UC1", 2)))
        labels = {"label": self._image("mono8", 1), "confidence": self._image("mono8", 1)}
        return {**labels, "depth": self._image(*depth), "cloud": cloud}

    def camera_info(self) -> CameraInfo:
        height, width = self.size
        info = CameraInfo(
            width=self._random.choice((0, width, 65536)),
            height=self._random.choice((0, height, 65536)),
            distortion_model=self._random.choice(("plumb_bob", "plumb_bob", "equidistant", "x")),
            d=[self._or(0.1) for _ in range(self._random.choice((0, 4, 4, 4, 5, 8)))],
        )
        for matrix, columns in ((info.k, 3), (info.p, 4)):
            matrix[0], matrix[2] = self._or(100.0), self._or(width / 2)
            matrix[columns + 1], matrix[columns + 2] = self._or(100.0), self._or(height / 2)
        if info.width == width and self._random.random() < 0.2:
            info.roi = RegionOfInterest(width=1)
        return info

    def class_map(self) -> ClassMap:
        entries = [ClassInfo(id=self._random.choice((0, 3, 255)), name="road") for _ in range(3)]
        for entry in entries:
            entry.color.r = float(self._random.choice((0.0, 1.0, -5.0, math.nan, math.inf)))
        return ClassMap(classes=entries[: self._random.choice((0, 1, 3))])


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("geometry", ["depth", "cloud", "ground"])
def test_every_message_is_processed_or_refused(geometry: str) -> None:
    with make_node("labeled_cloud") as node:
        publishers, heard = listening(node, geometry)
        values = CloudParameters(geometry=geometry, ground_classes=("road",))
        pose = FixedPose(pose_from_angles((0.0, 0.0, 1.0), 0.0, 0.3, 0.0))
        pipeline = CloudPipeline(values, publishers, pose)
        refused = processed = 0
        for seed in range(400):
            sender = Sender(seed)
            info = sender.camera_info()
            if camera_info_problem(info):
                continue  # ``CameraInfoSubscription`` has ignored it
            try:
                pipeline.process(sender.messages(), info, sender.class_map())
            except UserError as error:
                assert ": " in str(error)  # the problem, then what to do about it
                refused += 1
            else:
                processed += 1
        assert refused > 20
        assert processed > 20
        spin_until(node, lambda: heard)


def listening(node: Node, geometry: str) -> tuple[CloudPublishers, list[PointCloud2]]:
    """Return publishers that somebody listens to, and what is heard."""
    heard: list[PointCloud2] = []
    publishers = CloudPublishers(node.create_publisher, geometry == "ground", QOS)
    node.create_subscription(PointCloud2, "~/points", heard.append, QOS)
    spin_until(node, publishers.points.get_subscription_count)
    return publishers, heard
