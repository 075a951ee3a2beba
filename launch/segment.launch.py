"""Start the segmentation node and, on request, RViz.

    ros2 launch bisenet_ros segment.launch.py image:=/camera/image_raw rviz:=true
    ros2 launch bisenet_ros segment.launch.py cameras:="[front, rear]" image:=image_raw

The node configures and activates itself (parameter `autostart`). Set autostart:=false for a
lifecycle manager; that of Nav2 also needs bondpy.
"""

import os
from pathlib import PurePosixPath
from typing import Any

import yaml
from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    LogInfo,
    OpaqueFunction,
    PopLaunchConfigurations,
    PushLaunchConfigurations,
)
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.descriptions import ParameterValue

from bisenet_ros.resources import expand_home, share_directory
from bisenet_ros.ros.fastdds import profile_environment, shm_unavailable_reason
from bisenet_ros.ros.parameters import DEFINITIONS

CONFIG = share_directory() / "config"

PARAMETERS = (
    "model",
    "classes",
    "backend",
    "device",
    "precision",
    "engine_cache",
    "resolution",
    "input_transport",
)
"""Parameters of the node that are launch arguments too."""

SWITCH = ("true", "false", "True", "False")


def generate_launch_description() -> LaunchDescription:
    """Return the node, RViz, and their arguments."""
    parameters = [
        DeclareLaunchArgument(
            name, default_value="", description=f"{_describe(name)} Empty: as in params_file."
        )
        for name in PARAMETERS
    ]
    return LaunchDescription(
        [
            # Arguments of this file must not leak into launch files that include it and declare a
            # params_file or namespace of their own.
            PushLaunchConfigurations(),
            DeclareLaunchArgument(
                "image",
                default_value="image",
                description="Topic of the camera's images; a relative one is in the namespace; "
                "one that ends in /compressed sets input_transport, too. With cameras: below each, "
                "as in /front/image_raw.",
            ),
            DeclareLaunchArgument(
                "cameras",
                default_value="",
                description=f"{_describe('cameras')} Empty: as in params_file, and image and "
                "camera_info do not apply to the cameras there.",
            ),
            DeclareLaunchArgument(
                "camera_info",
                default_value="",
                description="Topic of the camera's CameraInfo. Empty: camera_info beside image. "
                "With cameras: below each.",
            ),
            *parameters,
            DeclareLaunchArgument(
                "params_file",
                default_value=str(CONFIG / "segment.yaml"),
                description="Parameter file of the node; the arguments above override it.",
            ),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                choices=SWITCH,
                description=f"{_describe('autostart')} Overrides params_file.",
            ),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value="",
                choices=("", *SWITCH),
                description="Take the time from /clock, of a simulator or a bag. Empty: as in "
                "params_file.",
            ),
            DeclareLaunchArgument(
                "namespace", default_value="", description="Namespace of the node and its topics."
            ),
            DeclareLaunchArgument(
                "node_name",
                default_value="segmentation",
                description="Name of the segmentation node.",
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                choices=("debug", "info", "warn", "error", "fatal"),
                description="Log level of the node.",
            ),
            DeclareLaunchArgument(
                "respawn",
                default_value="false",
                choices=SWITCH,
                description="Start the node again when it ends by itself.",
            ),
            DeclareLaunchArgument(
                "shared_memory",
                default_value="false",
                choices=SWITCH,
                description="Give Fast DDS enough shared memory for the images that the node "
                "publishes (config/fastdds_images.xml). Your own settings of Fast DDS take "
                "precedence. For the images that it receives, start the camera driver with that "
                "file, too.",
            ),
            DeclareLaunchArgument(
                "rviz",
                default_value="false",
                choices=SWITCH,
                description="Show the overlay in RViz.",
            ),
            Node(
                condition=IfCondition(LaunchConfiguration("rviz")),
                package="rviz2",
                executable="rviz2",
                namespace=LaunchConfiguration("namespace"),
                arguments=["--display-config", str(CONFIG / "segment.rviz")],
                # The file names the topics of a node in the root namespace.
                remappings=[
                    (f"/segmentation/{output}", [LaunchConfiguration("node_name"), f"/{output}"])
                    for output in ("overlay", "color", "label")
                ],
                output="screen",
            ),
            # Last: if RViz is not installed, launch ends above and would leave the node running.
            OpaqueFunction(function=_segmentation),
            PopLaunchConfigurations(),
        ]
    )


def _describe(name: str) -> str:
    """Return the description of the node's parameter."""
    definition = DEFINITIONS[name]
    valid = f" Valid: {definition.valid}." if definition.valid else ""
    return definition.description + valid


def _parameter(name: str, kind: type) -> ParameterValue:
    """Return the argument as a parameter of type ``kind``, without guessing by YAML."""
    return ParameterValue(LaunchConfiguration(name), value_type=kind)


def _strings(name: str, value: str) -> list[str]:
    try:
        strings = yaml.safe_load(value)
    except yaml.YAMLError:
        strings = None
    # launch_ros takes no empty list.
    if strings and isinstance(strings, list) and all(isinstance(each, str) for each in strings):
        return strings
    raise ValueError(f"{name} is '{value}': give a list of names, such as [front, rear]")


def _is_true(name: str, context: LaunchContext) -> bool:
    return IfCondition(LaunchConfiguration(name)).evaluate(context)


def _segmentation(context: LaunchContext) -> list[Action]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    image = value("image").removesuffix("/compressed")
    jpegs = image != value("image")
    camera_info = value("camera_info") or str(PurePosixPath(image).with_name("camera_info"))
    params_file = expand_home(value("params_file"))
    if not params_file.is_file():
        # launch_ros would warn and go on without it.
        raise FileNotFoundError(
            f"no parameter file at '{params_file}': check params_file, or leave it out to use "
            f"{CONFIG / 'segment.yaml'}"
        )
    # An argument that was not given must not reach the node: it would hide the file's value.
    given: dict[str, Any] = {name: _parameter(name, str) for name in PARAMETERS if value(name)}
    if jpegs and "input_transport" not in given:
        given["input_transport"] = "compressed"
    cameras = [""]
    if value("cameras"):
        given["cameras"] = cameras = _strings("cameras", value("cameras"))
    for name, topic in (("image", image), ("camera_info", camera_info)):
        if len(cameras) > 1 and topic.startswith(("/", "~")):
            raise ValueError(
                f"{name} is '{topic}', the same topic for all cameras: give its name below each "
                "camera's, such as image_raw for /front/image_raw and /rear/image_raw"
            )
    if value("use_sim_time"):
        given["use_sim_time"] = _parameter("use_sim_time", bool)
    shared_memory = _is_true("shared_memory", context)
    reason = shm_unavailable_reason(os.environ) if shared_memory else ""
    # Not a LifecycleNode: launch would create a node to drive the transitions, which this node
    # drives itself.
    warnings = [LogInfo(msg=f"shared_memory:=true is without effect: {reason}")] if reason else []
    return [
        *warnings,
        Node(
            package="bisenet_ros",
            executable="segmentation_node",
            name=value("node_name"),
            # Given even if empty: only then launch_ros knows the node's full name, under which it
            # passes the parameters below, so that no key in the file is closer to the node.
            namespace=value("namespace"),
            parameters=[
                str(params_file),
                {**given, "autostart": _parameter("autostart", bool)},
            ],
            remappings=[
                (str(PurePosixPath(camera, name)), str(PurePosixPath(camera, topic)))
                for camera in cameras
                for name, topic in (("image", image), ("camera_info", camera_info))
            ],
            additional_env=profile_environment(os.environ) if shared_memory else {},
            arguments=["--ros-args", "--log-level", value("log_level")],
            respawn=_is_true("respawn", context),
            respawn_delay=2.0,
            output="screen",
        ),
    ]
