"""Parameters of the labeled cloud node: name, type, default, range and description of each."""

import math
from dataclasses import dataclass

from bisenet_ros.images.encoded import MAX_IMAGE_PIXELS
from bisenet_ros.ros.manager_bond import heartbeat_period_field
from bisenet_ros.ros.parameter_set import ParameterSet, parameter_field
from bisenet_ros.ros.qos import RELIABILITY

MAX_CELLS = 4000
"""Most cells a side of the grid: 16 MB."""


def _angle(name: str, description: str) -> float:
    return parameter_field(
        0.0, description, name=f"camera_pose.{name}", minimum=-math.pi, maximum=math.pi
    )


def _position(name: str, description: str) -> float:
    return parameter_field(
        0.0, description, name=f"camera_pose.{name}", minimum=-100.0, maximum=100.0
    )


@dataclass(frozen=True)
class CloudParameters:
    """Values of all parameters."""

    geometry: str = parameter_field(
        "depth",
        "Where the positions of pixels come from; depth = a registered depth image, cloud = an "
        "organized point cloud, ground = flat ground and the camera's pose, without a sensor.",
        choices=("depth", "cloud", "ground"),
    )
    with_confidence: bool = parameter_field(
        False, "Subscribe to confidence, and add it to the points as a field."
    )
    lazy: bool = parameter_field(
        True,
        "Leave the topics of labels, confidence, depth and cloud while no output has a subscriber.",
        effect="always",
    )
    rectified: bool = parameter_field(
        False,
        "True for images of image_proc, to which P of camera_info applies; else K and D do.",
    )
    sync_tolerance: float = parameter_field(
        0.0,
        "Largest difference of the stamps of labels and what is matched with them [s].",
        minimum=0.0,
        maximum=1.0,
    )
    sync_depth: int = parameter_field(
        15,
        "Messages of each topic that wait for their match; at least the latency of labels times "
        "the rate of depth images or clouds.",
        minimum=1,
        maximum=200,
    )
    max_image_pixels: int = parameter_field(
        MAX_IMAGE_PIXELS // 8,
        "Largest image or cloud that is processed, width x height; larger ones are rejected.",
        minimum=1024,
        maximum=1024**3,
    )
    robot_frame: str = parameter_field(
        "base_link",
        "Frame of the results with ground, whose plane z = 0 is the ground: base_footprint where "
        "base_link is above it.",
    )
    ground_classes: tuple[str, ...] = parameter_field(
        ("road", "pavement"),
        "Names of the classes that are ground; all others are obstacles.",
        name="ground.classes",
    )
    max_range: float = parameter_field(
        10.0,
        "Distance from the robot up to which the ground is looked at [m].",
        name="ground.max_range",
        minimum=0.1,
        maximum=100.0,
    )
    resolution: float = parameter_field(
        0.05, "Side of a cell [m].", name="ground.resolution", minimum=0.01, maximum=10.0
    )
    pose_source: str = parameter_field(
        "tf",
        "Where the camera's pose comes from; tf = the transform from the labels' frame to "
        "robot_frame, which needs tf2_ros, parameters = those below.",
        name="camera_pose.source",
        choices=("tf", "parameters"),
    )
    x: float = _position("x", "Camera ahead of robot_frame [m].")
    y: float = _position("y", "Camera left of robot_frame [m].")
    z: float = _position("z", "Height of the camera above the ground [m].")
    roll: float = _angle("roll", "Roll of the camera [rad]; positive tilts it to the right.")
    pitch: float = _angle("pitch", "Pitch of the camera [rad]; positive looks down.")
    yaw: float = _angle("yaw", "Yaw of the camera [rad]; positive looks to the left.")
    label_reliability: str = parameter_field(
        "reliable",
        "Reliability of the subscriptions to labels and confidence; the segmentation node is "
        "reliable unless told otherwise.",
        name="label_qos.reliability",
        choices=tuple(RELIABILITY),
    )
    position_reliability: str = parameter_field(
        "best_effort",
        "Reliability of the subscription to depth images or clouds; best_effort matches every "
        "publisher.",
        name="position_qos.reliability",
        choices=tuple(RELIABILITY),
    )
    output_reliability: str = parameter_field(
        "reliable",
        "Reliability of the publishers; reliable matches every subscriber.",
        name="output_qos.reliability",
        choices=tuple(RELIABILITY),
    )
    output_depth: int = parameter_field(
        2,
        "Queue depth of each publisher [messages].",
        name="output_qos.depth",
        minimum=1,
        maximum=100,
    )
    bond_heartbeat_period: float = heartbeat_period_field()
    autostart: bool = parameter_field(
        False, "Configure and activate at startup, without a lifecycle manager.", effect="start"
    )

    def conflicts(self) -> list[str]:
        """Return what is wrong with values that are each valid."""
        found: list[str] = []
        if self.geometry != "ground":
            return found
        if not self.robot_frame:
            found.append("robot_frame is empty: name a frame of the robot, such as base_footprint")
        if not self.ground_classes:
            found.append("ground.classes is empty: name the classes of the model that are ground")
        if 2 * self.max_range / self.resolution > MAX_CELLS:
            found.append(
                f"a square of 2 x {self.max_range:g} m has more than {MAX_CELLS} cells of "
                f"{self.resolution:g} m a side: raise ground.resolution or lower ground.max_range"
            )
        if self.pose_source == "parameters" and self.z <= 0:
            found.append(
                f"camera_pose.source is parameters and camera_pose.z {self.z:g}: set it to the "
                "height of the camera above the ground"
            )
        return found


CLOUD_PARAMETERS = ParameterSet(CloudParameters)
