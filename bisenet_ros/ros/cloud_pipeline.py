"""From matched messages to labeled points: read, locate, publish."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from bisenet_ros.errors import ImageError, ParameterError, quoted
from bisenet_ros.geometry.camera import Camera
from bisenet_ros.geometry.ground import GroundArea, GroundProjection
from bisenet_ros.geometry.pose import Pose
from bisenet_ros.msg import ClassMap
from bisenet_ros.ros.camera_model import camera_model
from bisenet_ros.ros.camera_pose import CameraPoses
from bisenet_ros.ros.cloud_parameters import CloudParameters
from bisenet_ros.ros.image_messages import read_channel
from bisenet_ros.ros.occupancy_grid import occupancy_grid, occupancy_grid_type
from bisenet_ros.ros.point_clouds import Floats, labeled_cloud, packed_colors, read_points

Advertise = Callable[[Any, str, QoSProfile], Publisher]
"""Creates a publisher from message type, topic and QoS."""

Labels = NDArray[np.uint8]

_LABELS = {"mono8": np.uint8, "8UC1": np.uint8}
_DEPTH: dict[str, type[np.number[Any]]] = {"16UC1": np.uint16, "32FC1": np.float32}


class CloudPublishers:
    """Publishers of the points and, with ``ground``, of obstacles and the grid.

    ``grid`` is None where nav_msgs is not installed.
    """

    def __init__(self, advertise: Advertise, ground: bool, qos: QoSProfile) -> None:
        self.points = advertise(PointCloud2, "~/points", qos)
        self.obstacles = advertise(PointCloud2, "~/obstacles", qos) if ground else None
        grid_type = occupancy_grid_type() if ground else None
        self.grid = advertise(grid_type, "~/grid", qos) if grid_type else None

    @property
    def are_wanted(self) -> bool:
        """Whether any output has a subscriber."""
        publishers = filter(None, (self.points, self.obstacles, self.grid))
        return any(each.get_subscription_count() for each in publishers)


class CloudPipeline:
    """Turns matched messages into published points; what the camera determines is kept.

    Args:
        values: parameters of the node.
        publishers: only what has subscribers is published.
        poses: of the camera; None unless ``values.geometry`` is ground.
    """

    def __init__(
        self, values: CloudParameters, publishers: CloudPublishers, poses: CameraPoses | None
    ) -> None:
        self._values = values
        self._publishers = publishers
        self._poses = poses
        self._rays: tuple[Camera, Floats] | None = None
        self._projection: tuple[Camera, Pose, GroundProjection] | None = None

    # With values that no camera has, positions overflow to infinity: no reason to warn.
    @np.errstate(over="ignore", invalid="ignore")
    def process(
        self,
        messages: Mapping[str, Any],
        camera_info: CameraInfo | None,
        class_map: ClassMap | None,
    ) -> None:
        """Locate the labels and publish them.

        Args:
            messages: by topic: label; depth or cloud unless the geometry is ground; confidence if
                it is a parameter.
            camera_info: unused if the geometry is cloud; else it must be there.
            class_map: colors and names of the classes; must be there if the geometry is ground.
                Without it all points are black.

        Raises:
            ImageError: a message is not what it should be, or has another size than the labels.
            CameraError: the camera's calibration or pose is unknown or cannot be used.
            ParameterError: ``ground.classes`` has a class that the model lacks.
        """
        limit = self._values.max_image_pixels
        message: Image = messages["label"]
        labels = read_channel(message, _LABELS, "label image", limit)
        confidence = None
        if "confidence" in messages:
            confidence = read_channel(messages["confidence"], _LABELS, "confidence image", limit)
            _check_size("confidence image", confidence.shape, labels.shape)
        colors = packed_colors(class_colors(class_map))
        if self._values.geometry == "ground":
            assert camera_info is not None and class_map is not None
            self._publish_ground(message.header, labels, confidence, colors, camera_info, class_map)
            return
        if not self._publishers.points.get_subscription_count():
            return
        if self._values.geometry == "cloud":
            source = messages["cloud"]
            points = read_points(source, limit)
            _check_size("point cloud", points[0].shape, labels.shape)
        else:
            assert camera_info is not None
            source = messages["depth"]
            depth = read_channel(source, _DEPTH, "depth image", limit)
            _check_size("depth image", depth.shape, labels.shape)
            points = _deproject(depth, self._camera(camera_info, labels)[1])
        # Positions are those of the depth camera, at its time.
        cloud = labeled_cloud(source.header, points, labels, colors, confidence)
        self._publishers.points.publish(cloud)

    def _publish_ground(
        self,
        header: Header,
        labels: Labels,
        confidence: Labels | None,
        colors: Floats,
        camera_info: CameraInfo,
        class_map: ClassMap,
    ) -> None:
        is_ground = ground_labels(class_map, self._values.ground_classes)
        assert self._poses is not None
        pose = self._poses.pose(header.frame_id, header.stamp)
        projection = self._ground_projection(camera_info, labels, pose)
        view = projection.view(labels, is_ground)
        header = Header(stamp=header.stamp, frame_id=self._values.robot_frame)

        def cloud(places: Floats, pixels: NDArray[np.intp]) -> PointCloud2:
            return labeled_cloud(
                header,
                (places[:, 0], places[:, 1], np.float32(0)),
                labels.reshape(-1)[pixels],
                colors,
                None if confidence is None else confidence.reshape(-1)[pixels],
            )

        publishers = self._publishers
        if publishers.points.get_subscription_count():
            places = np.concatenate((view.free, view.obstacles))
            pixels = np.concatenate((view.free_pixels, view.obstacle_pixels))
            publishers.points.publish(cloud(places, pixels))
        if publishers.obstacles is not None and publishers.obstacles.get_subscription_count():
            publishers.obstacles.publish(cloud(view.obstacles, view.obstacle_pixels))
        if publishers.grid is not None and publishers.grid.get_subscription_count():
            publishers.grid.publish(occupancy_grid(header, view.grid, self._area))

    @property
    def _area(self) -> GroundArea:
        return GroundArea(self._values.max_range, self._values.resolution)

    def _camera(self, info: CameraInfo, labels: Labels) -> tuple[Camera, Floats]:
        """Return the camera and its rays, which take longer than all else."""
        height, width = labels.shape
        camera = camera_model(info, width, height, self._values.rectified)
        if self._rays is None or self._rays[0] != camera:
            self._rays = camera, camera.pixel_rays()
        return self._rays

    def _ground_projection(self, info: CameraInfo, labels: Labels, pose: Pose) -> GroundProjection:
        camera, rays = self._camera(info, labels)
        if self._projection is None or self._projection[:2] != (camera, pose):
            projection = GroundProjection(camera, rays, pose, self._area)
            self._projection = camera, pose, projection
        return self._projection[2]


def class_colors(class_map: ClassMap | None) -> Labels:
    """Return the RGB color of every label value, uint8 [256,3]; black without class or map."""
    table = np.zeros((256, 3), np.uint8)
    for entry in class_map.classes if class_map is not None else ():
        color = np.nan_to_num([entry.color.r, entry.color.g, entry.color.b])
        table[entry.id] = np.rint(255 * np.clip(color, 0, 1))
    return table


def ground_labels(class_map: ClassMap, names: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return whether each label value is ground, bool [256].

    Raises:
        ParameterError: the model has no class of one of ``names``.
    """
    ids = {entry.name: entry.id for entry in class_map.classes}
    missing = [name for name in names if name not in ids]
    if missing:
        raise ParameterError(
            f"parameter 'ground.classes' has {quoted(missing)}, and model "
            f"{quoted(class_map.model)} has the classes {quoted(list(ids))}: choose from these"
        )
    table = np.zeros(256, np.bool_)
    table[[ids[name] for name in names]] = True
    return table


def _check_size(what: str, shape: tuple[int, ...], labels: tuple[int, ...]) -> None:
    if shape != labels:
        raise ImageError(
            f"the {what} has {shape[1]}x{shape[0]} pixels, and the label image "
            f"{labels[1]}x{labels[0]}: both must show the same pixels of one camera; register the "
            "depth image to the color camera, or let the segmentation node publish labels of that "
            f"size (label_size: network, and resolution {shape[1]}x{shape[0]} where that is valid)"
        )


def _deproject(depth: NDArray[Any], rays: Floats) -> tuple[Floats, Floats, Floats]:
    """Return x, y and z of the pixels of a depth image (REP 118), NaN where they are invalid."""
    z = depth.astype(np.float32)
    if depth.dtype.kind == "u":
        z *= np.float32(1e-3)
    # 0 in millimeters; in meters NaN, or an infinity where the range ends. A few drivers send 0.
    z[~((z > 0) & (z < np.inf))] = np.nan
    return rays[..., 0] * z, rays[..., 1] * z, z
