"""The labeled cloud node over DDS: points and grid by hand, stamps, counts, reasons, bad input."""

import array
import math
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from ament_index_python.packages import get_package_prefix, get_package_share_directory
from bisenet_ros.msg import ClassInfo, ClassMap
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from node_fixture import (
    ACTIVATE,
    CLEANUP,
    CONFIGURE,
    DEACTIVATE,
    SERVICES,
    Bench,
    header,
    start_process,
)
from rclpy.qos import QoSProfile
from rclpy.time import Time as RosTime
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from sros2_names import names_in_policy, wait_for_names

from bisenet_ros.ros.cloud_parameters import CLOUD_PARAMETERS
from bisenet_ros.ros.occupancy_grid import occupancy_grid_type
from bisenet_ros.ros.qos import LATCHED
from bisenet_ros.ros.topic_watchdog import SILENT_REPORTS

COMMAND = (sys.executable, "-m", "bisenet_ros.ros.labeled_cloud_node")
DEFAULTS = {
    name: definition.ros_default
    for name, definition in CLOUD_PARAMETERS.definitions.items()
    if definition.effect != "start"
} | {
    "position_qos.reliability": "reliable",  # best effort loses what is sent during discovery
    "lazy": False,  # a publisher waits for the subscription
}
CLASSES = {0: ("sky", (0, 0, 0)), 3: ("road", (128, 64, 128)), 7: ("car", (255, 128, 0))}
ROAD, CAR = 3, 7
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
IDLE = "idle until someone subscribes to an output (parameter lazy)"
COUNTS = ("processed", "dropped", "rejected")


def values_of(status: DiagnosticStatus) -> dict[str, str]:
    return {value.key: value.value for value in status.values}


class CloudBench(Bench):
    """Drives a labeled cloud node."""

    services = SERVICES

    def reset(self) -> None:
        """Unconfigure the node, set ``DEFAULTS``, and remove our entities."""
        while self._entities:
            self._entities.pop()()
        for state, transition in (("active", DEACTIVATE), ("inactive", CLEANUP)):
            if self.state() == state:
                assert self.change(transition)
        self.set(DEFAULTS)
        self._log_start = len(self.process.log.read_text())

    def publish_until(self, messages: Mapping[str, Any], heard: list[Any]) -> int:
        """Publish a message on each topic, again and again until something is heard.

        Returns:
            How often: camera_info is best effort, so what is published during discovery is lost.
        """
        publishers = {}
        for topic, message in messages.items():
            qos = LATCHED if topic == "class_map" else QoSProfile(depth=200)
            publishers[topic] = self.node.create_publisher(type(message), f"/{topic}", qos)
            self._entities.append(
                lambda publisher=publishers[topic]: self.node.destroy_publisher(publisher)
            )
            self.spin_until(
                lambda topic=topic: (
                    self.node.count_subscribers(f"/{topic}")
                    and publishers[topic].get_subscription_count()
                ),
                f"the node listens to {topic}",
            )
        times = 0

        def answered() -> bool:
            nonlocal times
            if heard:
                return True
            times += 1
            for topic, message in messages.items():
                publishers[topic].publish(message)
            return False

        self.spin_until(answered, "an answer")
        return times

    def statuses(self) -> list[DiagnosticStatus]:
        """Return the growing list of the node's diagnoses."""
        told: list[DiagnosticStatus] = []

        def hear(message: DiagnosticArray) -> None:
            # The segmentation node of other tests may run, too.
            told.extend(s for s in message.status if s.name == "labeled_cloud: frames")

        listener = self.node.create_subscription(DiagnosticArray, "/diagnostics", hear, 10)
        self._entities.append(lambda: self.node.destroy_subscription(listener))
        return told

    def diagnoses(self, level: bytes, text: str) -> list[DiagnosticStatus]:
        """Return the growing list of diagnoses of this level whose message matches."""
        matching: list[DiagnosticStatus] = []

        def hear(message: DiagnosticArray) -> None:
            matching.extend(
                s for s in message.status if s.level == level and re.search(text, s.message)
            )

        listener = self.node.create_subscription(DiagnosticArray, "/diagnostics", hear, 10)
        self._entities.append(lambda: self.node.destroy_subscription(listener))
        return matching

    def received(self) -> int:
        """Return the number of frames received, as of the next diagnosis."""
        told = self.statuses()
        self.spin_until(lambda: told, "a diagnosis")
        return int(values_of(told[-1])["received"])

    def counts(self, received: int) -> tuple[int, int, int]:
        """Return how many frames were processed, dropped and rejected, once all are counted."""
        told = self.statuses()

        def complete() -> bool:
            if not told:
                return False
            values = values_of(told[-1])
            counted = sum(int(values[name]) for name in COUNTS)
            return counted == int(values["received"]) == received

        self.spin_until(complete, f"{received} frames are counted")
        processed, dropped, rejected = (int(values_of(told[-1])[name]) for name in COUNTS)
        return processed, dropped, rejected


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudBench]:
    log = tmp_path_factory.mktemp("cloud") / "node.log"
    with start_process(log, {}, command=COMMAND, name="labeled_cloud") as process:
        bench = CloudBench(process, Path())
        yield bench
        bench.close()
        assert process.stop() == 0
    assert "Traceback" not in log.read_text()


@pytest.fixture
def bench(shared: CloudBench) -> CloudBench:
    shared.reset()
    return shared


def image(pixels: np.ndarray, encoding: str, number: int = 1, *, big: bool = False) -> Image:
    pixels = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<"))
    message = Image(header=header(number), encoding=encoding, is_bigendian=big)
    message.height, message.width = pixels.shape
    message.step = message.width * pixels.itemsize
    message.data = array.array("B", pixels.tobytes())
    return message


def labels(number: int = 1, shape: tuple[int, int] = (2, 3)) -> Image:
    pixels = np.full(shape, ROAD, np.uint8)
    pixels[0, 0] = CAR
    return image(pixels, "mono8", number)


def depth(number: int = 1, shape: tuple[int, int] = (2, 3)) -> Image:
    return image(np.full(shape, 2000, np.uint16), "16UC1", number)


def camera_info(width: int = 3, height: int = 2) -> CameraInfo:
    message = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
    message.k = [2.0, 0.0, 1.0, 0.0, 4.0, 0.5, 0.0, 0.0, 1.0]
    return message


def class_map() -> ClassMap:
    message = ClassMap(model="tiny")
    for number, (name, color) in CLASSES.items():
        entry = ClassInfo(id=number, name=name)
        entry.color.r, entry.color.g, entry.color.b = (value / 255 for value in color)
        message.classes.append(entry)
    return message


def points_of(message: PointCloud2) -> np.ndarray:
    """Return the points as a structured array of the message's shape."""
    kinds = {PointField.FLOAT32: "<f4", PointField.UINT32: "<u4"}
    dtype = np.dtype(
        {
            "names": [field.name for field in message.fields],
            "formats": [kinds[field.datatype] for field in message.fields],
            "offsets": [field.offset for field in message.fields],
            "itemsize": message.point_step,
        }
    )
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width)


def heard_points(bench: CloudBench, sent: Mapping[str, Any], **parameters: Any) -> PointCloud2:
    """Start the node, send it a message on each topic, and return what it publishes."""
    bench.start(parameters)
    heard = bench.listen(PointCloud2, "points")
    bench.publish_until({"class_map": class_map(), **sent}, heard)
    return heard[0]


MILLIMETERS = np.array([[1000, 2000, 0], [3000, 65535, 1]], np.uint16)
METERS = np.array([[1, 2, np.nan], [3, np.inf, 0]], np.float32)
RAYS_X, RAYS_Y = np.array([-0.5, 0.0, 0.5]), np.array([-0.125, 0.125])


@pytest.mark.parametrize(
    ("pixels", "encoding", "big", "z"),
    [
        (MILLIMETERS, "16UC1", False, [[1, 2, np.nan], [3, 65.535, 0.001]]),
        (MILLIMETERS, "16UC1", True, [[1, 2, np.nan], [3, 65.535, 0.001]]),
        (METERS, "32FC1", False, [[1, 2, np.nan], [3, np.nan, np.nan]]),
    ],
)
def test_labels_are_where_the_depth_image_says(
    bench: CloudBench, pixels: np.ndarray, encoding: str, big: bool, z: list[list[float]]
) -> None:
    sent = {
        "camera_info": camera_info(),
        "depth": image(pixels, encoding, big=big),
        "label": labels(),
    }
    message = heard_points(bench, sent)
    assert message.header == header(1)
    assert (message.height, message.width, message.is_dense) == (2, 3, False)
    points = points_of(message)
    np.testing.assert_allclose(points["z"], z, rtol=1e-6)
    np.testing.assert_allclose(points["x"], RAYS_X * np.array(z), rtol=1e-6)
    np.testing.assert_allclose(points["y"], RAYS_Y[:, None] * np.array(z), rtol=1e-6)
    assert points["label"].tolist() == [[CAR, ROAD, ROAD], [ROAD] * 3]
    assert points["rgb"].view("<u4").tolist() == [[0xFF8000] + [0x804080] * 2, [0x804080] * 3]
    assert "confidence" not in points.dtype.names


def test_labels_are_where_the_cloud_says_with_confidence(bench: CloudBench) -> None:
    x, y, z = np.arange(18, dtype=np.float32).reshape(3, 2, 3)
    z[1, 2] = np.nan
    cloud = PointCloud2(header=header(1), height=2, width=3, point_step=12, row_step=36)
    cloud.header.frame_id = "lidar"
    cloud.fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate("xyz")
    ]
    cloud.data = array.array("B", np.stack((x, y, z), axis=-1).tobytes())
    confidence = image(np.full((2, 3), 51, np.uint8), "mono8")
    sent = {"cloud": cloud, "confidence": confidence, "label": labels()}
    message = heard_points(bench, sent, geometry="cloud", with_confidence=True)
    assert message.header == cloud.header
    points = points_of(message)
    for axis, values in (("x", x), ("y", y), ("z", z)):
        np.testing.assert_array_equal(points[axis], values)
    np.testing.assert_allclose(points["confidence"], 0.2)
    assert points["label"][0, 0] == CAR
    assert not bench.node.count_subscribers("/camera_info")


GROUND = {
    "geometry": "ground",
    "camera_pose.source": "parameters",
    "camera_pose.z": 1.0,
    "ground.classes": ["road"],
    "ground.max_range": 10.0,
    "ground.resolution": 0.5,
}


def street() -> dict[str, Any]:
    """A class map, and a level camera at the height of 1 m whose first row is the horizon.

    Row v sees the ground 100 / v ahead.
    """
    pixels = np.full((101, 201), ROAD, np.uint8)
    pixels[0] = 0
    pixels[5:20, 90:111] = CAR
    info = camera_info(201, 101)
    info.k = [100.0, 0.0, 100.0, 0.0, 100.0, 0.0, 0.0, 0.0, 1.0]
    return {"class_map": class_map(), "camera_info": info, "label": image(pixels, "mono8")}


def test_labels_on_the_ground_are_points_in_the_robot_s_frame(bench: CloudBench) -> None:
    bench.set(GROUND)
    assert bench.change(CONFIGURE)
    obstacles = bench.listen(PointCloud2, "obstacles")
    assert bench.change(ACTIVATE)
    heard = bench.listen(PointCloud2, "points")
    bench.publish_until(street(), heard)
    bench.spin_until(lambda: obstacles, "obstacles")
    for message in (heard[0], obstacles[0]):
        assert message.header.stamp == header(1).stamp
        assert message.header.frame_id == "base_link"
        assert (message.height, message.is_dense) == (1, True)
    (feet,) = points_of(obstacles[0])
    np.testing.assert_allclose(feet["x"], 100 / 19, rtol=1e-5)
    assert np.abs(feet["y"]).max() == pytest.approx(10 / 19, abs=0.06)
    assert (feet["z"] == 0).all()
    assert (feet["label"] == CAR).all()
    (points,) = points_of(heard[0])
    assert np.isin(points["label"], (ROAD, CAR)).all()
    assert np.count_nonzero(points["label"] == CAR) == len(feet)
    road = points[points["label"] == ROAD]
    assert road["x"].min() > 0.9
    hidden = (np.abs(road["y"]) < 0.4) & (road["x"] > 5.5)
    assert len(road) > 100
    assert not hidden.any()


@pytest.fixture
def tf2_ros() -> Any:
    return pytest.importorskip("tf2_ros", reason="tf2_ros is not installed")


def camera_at(x: float, stamp_s: float) -> TransformStamped:
    """Return the transform of a level camera, 1 m above ``base_link``, that looks to the left."""
    message = TransformStamped(child_frame_id="camera_1")
    message.header.frame_id = "base_link"
    message.header.stamp = RosTime(seconds=stamp_s).to_msg()
    message.transform.translation.x, message.transform.translation.z = x, 1.0
    # Forward (optical z) is to the left (y), right (optical x) is ahead (x).
    rotation = message.transform.rotation
    rotation.x, rotation.w = -math.sqrt(0.5), math.sqrt(0.5)
    return message


def test_labels_on_the_ground_are_where_tf_has_the_camera(bench: CloudBench, tf2_ros: Any) -> None:
    bench.start(GROUND | {"camera_pose.source": "tf"})
    tf2_ros.StaticTransformBroadcaster(bench.node).sendTransform(camera_at(0.5, 0.0))
    heard = bench.listen(PointCloud2, "obstacles")
    bench.publish_until(street(), heard)
    assert heard[0].header.frame_id == "base_link"
    (feet,) = points_of(heard[0])
    np.testing.assert_allclose(feet["y"], 100 / 19, rtol=1e-5)
    assert (feet["x"].min(), feet["x"].max()) == pytest.approx((-0.03, 1.03), abs=0.06)


def test_the_pose_of_a_camera_that_moves_is_that_at_the_stamp(
    bench: CloudBench, tf2_ros: Any
) -> None:
    bench.start(GROUND | {"camera_pose.source": "tf"})
    heard = bench.listen(PointCloud2, "obstacles")
    broadcaster = tf2_ros.TransformBroadcaster(bench.node)
    bench.spin_until(lambda: broadcaster.pub_tf.get_subscription_count(), "the node hears TF")
    # Labels are of 1001 s, and the camera has driven on since.
    for x, stamp_s in ((0.0, 1000.0), (4.0, 1002.0), (9.0, 1003.0)):
        broadcaster.sendTransform(camera_at(x, stamp_s))
    bench.publish_until(street(), heard)
    (feet,) = points_of(heard[0])
    assert np.median(feet["x"]) == pytest.approx(2.0, abs=0.06)
    np.testing.assert_allclose(feet["y"], 100 / 19, rtol=1e-5)


def test_the_grid_of_the_ground(bench: CloudBench) -> None:
    nav_msgs = pytest.importorskip("nav_msgs.msg", reason="nav_msgs is not installed")
    bench.start(GROUND | {"robot_frame": "base_footprint"})
    heard = bench.listen(nav_msgs.OccupancyGrid, "grid")
    bench.publish_until(street(), heard)
    grid, info = heard[0], heard[0].info
    assert grid.header.stamp == header(1).stamp
    assert grid.header.frame_id == "base_footprint"
    assert (info.width, info.height, info.resolution) == (40, 40, 0.5)
    assert (info.origin.position.x, info.origin.position.y) == (-10.0, -10.0)
    assert (info.origin.orientation.w, info.origin.position.z) == (1.0, 0.0)
    cells = np.array(grid.data).reshape(40, 40)
    assert set(cells.reshape(-1).tolist()) == {-1, 0, 100}
    row, column = 20, 30  # y from 0, x from 5 m: the car's foot is at 5.26 m
    assert (cells[row, column], cells[row, column - 1], cells[row, column + 1]) == (100, 0, -1)
    assert cells[row + 4, column] == 0


def warm_up(bench: CloudBench, **parameters: Any) -> tuple[list[Any], int, tuple[int, int, int]]:
    """Start the node and have it publish points.

    Returns:
        The growing list of further points, and the frames received and counted until now.
    """
    bench.start(parameters)
    heard = bench.listen(PointCloud2, "points")
    sent = {"camera_info": camera_info(), "depth": depth(), "label": labels()}
    received = bench.publish_until(sent, heard)
    counts = bench.counts(received)
    heard.clear()
    return heard, received, counts


def since(counts: tuple[int, int, int], before: tuple[int, int, int]) -> tuple[int, ...]:
    return tuple(now - then for now, then in zip(counts, before, strict=True))


def test_labels_without_their_depth_image_are_dropped(bench: CloudBench) -> None:
    heard, received, before = warm_up(bench, sync_depth=2)
    label, other = bench.camera("/label"), bench.camera("/depth")
    for number in range(2, 6):
        label.publish(labels(number))
    bench.spin_until(lambda: bench.received() == received + 4, "the labels have been received")
    other.publish(depth(5))
    bench.spin_until(lambda: heard, "points of the newest labels")
    assert [message.header for message in heard] == [header(5)]
    assert since(bench.counts(received + 4), before) == (1, 3, 0)


def test_stamps_within_the_tolerance_match(bench: CloudBench) -> None:
    late = depth(1)
    late.header.stamp.nanosec += 5_000_000
    sent = {"camera_info": camera_info(), "depth": late, "label": labels(1)}
    message = heard_points(bench, sent, sync_tolerance=0.01)
    assert message.header == late.header


def test_bad_messages_are_counted_and_named_once_and_the_next_good_one_is_published(
    bench: CloudBench,
) -> None:
    heard, received, before = warm_up(bench)
    label, other = bench.camera("/label"), bench.camera("/depth")

    def cut(message: Image) -> Image:
        message.data = message.data[:3]
        return message

    bad = [
        (image(np.zeros((2, 3), np.uint16), "16UC1", 1), depth(1)),
        (labels(2), image(np.zeros((2, 9), np.uint8), "rgb8", 2)),
        (cut(labels(3)), depth(3)),
        (labels(4), cut(depth(4))),
        (labels(5), depth(5, (4, 6))),
        (labels(6), depth(6, (3, 2))),
        (image(np.zeros((4096, 4096), np.uint8), "mono8", 7), depth(7)),
    ]
    for number, (first, second) in enumerate(bad, start=1):
        label.publish(first)
        other.publish(second)
        assert since(bench.counts(received + number), before) == (0, 0, number)
    label.publish(labels(8))
    other.publish(depth(8))
    bench.spin_until(lambda: heard, "points")
    assert [message.header for message in heard] == [header(8)]
    assert since(bench.counts(received + 8), before) == (1, 0, 7)
    log = bench.log()
    for reason in (
        "label image has encoding '16UC1' (valid: mono8, 8UC1): choose the topic of another image",
        "label image: mono8 image of 3x2 with a step of 3 needs 6 bytes of data, but has 3",
        "the depth image has 6x4 pixels, and the label image 3x2: both must show the same pixels",
        "4096x4096 pixels, more than max_image_pixels = 8388608",
    ):
        assert log.count(reason) == 1, reason
    assert log.count("frame lost") == 4  # one of each kind


@pytest.mark.parametrize(
    ("parameters", "sent", "reason"),
    [
        ({}, (), r"nobody publishes /label: start the segmentation node, or remap 'label' \(laun"),
        ({}, ("label",), "nobody publishes /depth: start the depth camera's driver with register"),
        (
            {},
            ("label", "depth"),
            "no camera_info has arrived on /camera_info: remap 'camera_info' to ~/camera_info",
        ),
        (
            {},
            ("label", "old depth", "camera_info"),
            r"label images and depth images are at least 0\.5000 s apart, and 'sync_tolerance' is",
        ),
        (
            {"sync_depth": 1},
            ("label", "new depth", "camera_info"),
            r"all depth images that are kept are newer than the label images, by at least 0\.5000",
        ),
        (
            {"with_confidence": True},
            ("label", "depth", "camera_info"),
            "nobody publishes /confidence: add confidence to the segmentation node's 'outputs'",
        ),
        (
            GROUND,
            ("label", "camera_info"),
            "no class map has arrived on /class_map, so the names in 'ground.classes' have no lab",
        ),
    ],
)
def test_the_reason_why_nothing_is_published(
    bench: CloudBench, parameters: dict[str, Any], sent: tuple[str, ...], reason: str
) -> None:
    bench.start(parameters)
    publishers = {name: bench.camera(f"/{name.split()[-1]}", kind_of(name)) for name in sent}

    def send() -> bool:
        for name, publisher in publishers.items():
            message: Any = camera_info() if name == "camera_info" else labels()
            if "depth" in name:
                message = depth()
                message.header.stamp.sec -= name == "old depth"
                message.header.stamp.nanosec += 500_000_000 if " " in name else 0
            publisher.publish(message)
        return re.search(f"WARN.*{reason}", bench.log()) is not None

    bench.spin_until(send, f"the log says '{reason}'")
    told = bench.diagnoses(WARN, reason)
    bench.spin_until(lambda: told, "the diagnosis")


def kind_of(name: str) -> Any:
    return CameraInfo if name == "camera_info" else Image


def test_a_class_that_the_model_lacks_is_named_with_those_it_has(bench: CloudBench) -> None:
    bench.start(GROUND | {"ground.classes": ["road", "lava"]})
    told = bench.diagnoses(
        ERROR,
        r"'ground.classes' has \['lava'\], and model 'tiny' has the classes "
        r"\['sky', 'road', 'car'\]",
    )
    bench.publish_until(street(), told)


def test_a_camera_that_is_not_calibrated_is_named(bench: CloudBench) -> None:
    bench.start()
    heard = bench.listen(PointCloud2, "points")
    told = bench.diagnoses(ERROR, "so the camera is not calibrated: calibrate it")
    sent = {"camera_info": CameraInfo(width=3, height=2), "depth": depth(), "label": labels()}
    bench.publish_until(sent, told)
    assert not heard


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        (
            {"geometry": "ground", "camera_pose.source": "parameters"},
            "camera_pose.source is parameters and camera_pose.z 0: set it to the height",
        ),
        (
            GROUND | {"ground.max_range": 100.0, "ground.resolution": 0.01},
            "a square of 2 x 100 m has more than 4000 cells of 0.01 m a side",
        ),
        (GROUND | {"robot_frame": ""}, "robot_frame is empty: name a frame of the robot, such as"),
        (GROUND | {"ground.classes": [""]}, ""),
    ],
)
def test_parameters_that_contradict_each_other_fail_at_configure(
    bench: CloudBench, parameters: dict[str, Any], reason: str
) -> None:
    bench.set(parameters)
    assert bench.change(CONFIGURE) == (not reason)
    if reason:
        bench.wait_for_log(re.escape(reason))


def test_without_tf2_ros_configure_says_what_to_do(bench: CloudBench) -> None:
    try:
        import tf2_ros  # noqa: F401
    except ImportError:
        bench.set({"geometry": "ground"})
        assert not bench.change(CONFIGURE)
        bench.wait_for_log("cannot configure: parameter 'camera_pose.source' is tf, and tf2_ros ca")
        assert bench.state() == "unconfigured"
    else:
        bench.start({"geometry": "ground"})


def test_parameters_are_fixed_while_configured(bench: CloudBench) -> None:
    assert bench.change(CONFIGURE)
    result = bench.try_set("geometry", "cloud")
    assert not result.successful
    assert "parameter 'geometry' is read at configure" in result.reason
    assert bench.change(CLEANUP)
    bench.set({"geometry": "cloud"})
    assert "valid: depth, cloud, ground" in bench.try_set("geometry", "stereo").reason


def test_nothing_is_left_after_cleanup(bench: CloudBench) -> None:
    bench.start(GROUND)
    bench.spin_until(lambda: bench.publishers("points"), "the publisher")
    assert bench.change(DEACTIVATE)
    bench.spin_until(lambda: not bench.node.count_subscribers("/label"), "it left the labels")
    assert bench.change(CLEANUP)
    for name in ("points", "obstacles", "grid"):
        bench.spin_until(lambda name=name: not bench.publishers(name), "the publishers are gone")


@pytest.mark.parametrize(
    ("geometry", "absent"),
    [
        ("depth", {"/cloud", "/labeled_cloud/obstacles", "/labeled_cloud/grid"}),
        ("cloud", {"/depth", "/camera_info", "/labeled_cloud/obstacles", "/labeled_cloud/grid"}),
        ("ground", {"/depth", "/cloud"}),
    ],
)
def test_the_sros2_policy_allows_what_the_node_has_in_the_graph_and_nothing_else(
    bench: CloudBench, geometry: str, absent: set[str]
) -> None:
    absent = absent | {"/tf", "/tf_static"}  # camera_pose.source is parameters
    if occupancy_grid_type() is None:
        absent.add("/labeled_cloud/grid")
    bench.set({"use_sim_time": True})
    try:
        bench.start(GROUND | {"geometry": geometry, "with_confidence": True})
        allowed = names_in_policy("labeled_cloud")
        wait_for_names(bench, {(kind, name) for kind, name in allowed if name not in absent})
    finally:
        bench.set({"use_sim_time": False})


@pytest.fixture
def publish(bench: CloudBench) -> Iterator[Callable[..., Any]]:
    """A function that creates a publisher, matched or not; it outlives ``bench.forget``."""
    publishers: list[Any] = []

    def create(topic: str, kind: Any = Image) -> Any:
        publishers.append(bench.node.create_publisher(kind, topic, QoSProfile(depth=200)))
        return publishers[-1]

    yield create
    for publisher in publishers:
        bench.node.destroy_publisher(publisher)


def test_the_inputs_are_left_while_no_one_listens(
    bench: CloudBench, publish: Callable[..., Any]
) -> None:
    bench.start({"lazy": True})
    bench.wait_for_log("active: waiting for /label and /depth once someone subscribes to an output")
    told = bench.diagnoses(OK, re.escape(IDLE))
    bench.spin_until(lambda: told, "idle is OK, and said")
    for topic, count in (("label", 0), ("depth", 0), ("camera_info", 1), ("class_map", 1)):
        assert bench.node.count_subscribers(f"/{topic}") == count, topic

    label, other, info = publish("/label"), publish("/depth"), publish("/camera_info", CameraInfo)
    heard = bench.listen(PointCloud2, "points")

    def answered() -> bool:
        for publisher, message in ((info, camera_info()), (other, depth()), (label, labels())):
            publisher.publish(message)  # again and again: camera_info is best effort
        return bool(heard)

    bench.spin_until(answered, "points")
    assert points_of(heard[0])["label"].tolist() == [[CAR, ROAD, ROAD], [ROAD] * 3]
    assert (points_of(heard[0])["z"] == 2).all()

    bench.forget()
    for publisher in (label, other):
        bench.spin_until(
            lambda publisher=publisher: not publisher.get_subscription_count(),
            f"the node leaves {publisher.topic_name}",
        )
    label.publish(labels(2))
    other.publish(depth(2))
    again = bench.listen(PointCloud2, "points")
    for publisher in (label, other):
        bench.spin_until(publisher.get_subscription_count, f"it is on {publisher.topic_name} again")
    label.publish(labels(3))
    other.publish(depth(3))
    bench.spin_until(lambda: again, "points of the first labels with their depth")
    assert [message.header for message in again] == [header(3)]


def test_nothing_is_missed_while_idle(bench: CloudBench) -> None:
    bench.start({"lazy": True})
    told = bench.statuses()
    bench.spin_until(lambda: len(told) >= SILENT_REPORTS + 3, "reports")
    assert {(status.level, status.message) for status in told} == {(OK, IDLE)}
    assert "WARN" not in bench.log()


def test_labels_that_wait_when_the_last_subscriber_leaves_are_dropped(bench: CloudBench) -> None:
    _, received, before = warm_up(bench, lazy=True)
    label = bench.camera("/label")
    for number in (2, 3, 4):
        label.publish(labels(number))
    bench.spin_until(lambda: bench.received() == received + 3, "the labels have been received")
    bench.forget()
    assert since(bench.counts(received + 3), before) == (0, 3, 0)
    bench.forget()
    heard = bench.listen(PointCloud2, "points")
    label, other = bench.camera("/label"), bench.camera("/depth")
    other.publish(depth(4))
    label.publish(labels(5))
    other.publish(depth(5))
    bench.spin_until(lambda: heard, "points")
    assert [message.header for message in heard] == [header(5)]


@pytest.mark.parametrize("output", ["points", "obstacles", "grid"])
def test_every_output_counts(bench: CloudBench, publish: Callable[..., Any], output: str) -> None:
    kind = occupancy_grid_type() if output == "grid" else PointCloud2
    if kind is None:
        pytest.skip("nav_msgs is not installed")
    bench.start(GROUND | {"lazy": True, "with_confidence": True})
    inputs = publish("/label"), publish("/confidence")
    bench.listen(kind, output)
    for publisher in inputs:
        bench.spin_until(publisher.get_subscription_count, f"it listens to {publisher.topic_name}")
    bench.forget()
    for publisher in inputs:
        bench.spin_until(
            lambda publisher=publisher: not publisher.get_subscription_count(),
            f"it leaves {publisher.topic_name}",
        )


def test_lazy_takes_effect_at_once(bench: CloudBench, publish: Callable[..., Any]) -> None:
    bench.start({"lazy": False})
    label = publish("/label")
    told = bench.statuses()
    bench.spin_until(label.get_subscription_count, "it listens without a subscriber")
    bench.spin_until(lambda: told, "a diagnosis")
    assert told[0].message == "0.0 frames/s"
    bench.set({"lazy": True})
    bench.spin_until(lambda: not label.get_subscription_count(), "it leaves")
    bench.spin_until(lambda: told[-1].message == IDLE, "it says so")
    bench.set({"lazy": False})
    bench.spin_until(label.get_subscription_count, "it listens again")


def test_transitions_with_and_without_a_subscriber(
    bench: CloudBench, publish: Callable[..., Any]
) -> None:
    label = publish("/label")

    def listens() -> None:
        bench.spin_until(label.get_subscription_count, "it listens")

    def leaves() -> None:
        bench.spin_until(lambda: not label.get_subscription_count(), "it does not listen")

    bench.start({"lazy": True})
    assert bench.change(DEACTIVATE)
    assert bench.change(ACTIVATE)
    bench.listen(PointCloud2, "points")
    listens()
    assert bench.change(DEACTIVATE)
    leaves()
    assert bench.change(ACTIVATE)
    listens()
    for transition in (DEACTIVATE, CLEANUP, CONFIGURE):
        assert bench.change(transition)
        leaves()
    assert bench.change(ACTIVATE)
    listens()
    assert bench.change(DEACTIVATE)
    bench.forget()
    assert bench.change(ACTIVATE)
    told = bench.diagnoses(OK, re.escape(IDLE))
    bench.spin_until(lambda: told, "idle")
    leaves()
    assert bench.state() == "active"


def test_a_segmentation_node_is_idle_while_the_cloud_node_behind_it_is(
    shared_bench: Bench, tmp_path: Path
) -> None:
    shared_bench.reset()
    shared_bench.start({"lazy": True})
    camera = shared_bench.node.create_publisher(Image, "/image", 10)
    log = tmp_path / "node.log"
    with start_process(
        log,
        {"autostart": True},
        command=COMMAND,
        name="labeled_cloud",
        namespace="/robot",
        ros_arguments=["-r", "label:=/segmentation/label"],
    ) as process:
        cloud = CloudBench(process, Path())
        cloud.wait_for_log("active: waiting for /segmentation/label")
        told = cloud.diagnoses(OK, "idle until someone subscribes to an image output")
        cloud.spin_until(lambda: told, "the segmentation node is idle")
        assert not camera.get_subscription_count()
        cloud.listen(PointCloud2, "points")
        cloud.spin_until(camera.get_subscription_count, "both nodes listen")
        cloud.forget()
        cloud.spin_until(lambda: not camera.get_subscription_count(), "both nodes leave")
        cloud.close()
        assert process.stop() == 0
    shared_bench.node.destroy_publisher(camera)


def test_installed_node_starts_by_itself_and_ends_on_sigint(tmp_path: Path) -> None:
    log = tmp_path / "node.log"
    executable = Path(get_package_prefix("bisenet_ros"), "lib/bisenet_ros/labeled_cloud_node")
    file = Path(get_package_share_directory("bisenet_ros"), "config/labeled_cloud.yaml")
    with start_process(
        log,
        {"autostart": True, "geometry": "cloud"},
        command=[str(executable)],
        name="labeled_cloud",
        ros_arguments=["--params-file", str(file)],
    ) as process:
        other = CloudBench(process, Path())
        other.wait_for_log("active: waiting for /label and /cloud")
        other.close()
        assert process.stop() == 0
    assert "Traceback" not in log.read_text()


def test_the_node_does_not_import_pytorch() -> None:
    """It takes as long as all else, and half the memory."""
    program = "import sys, bisenet_ros.ros.labeled_cloud_node; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_point_layout_is_what_struct_reads(bench: CloudBench) -> None:
    """The bytes of the first point, without NumPy."""
    sent = {"camera_info": camera_info(), "depth": depth(), "label": labels()}
    message = heard_points(bench, sent)
    assert struct.unpack("<3f2I", bytes(message.data[:20])) == (-1.0, -0.25, 2.0, 0xFF8000, CAR)
