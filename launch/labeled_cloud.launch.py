"""Start the labeled cloud node beside a segmentation node that runs already.

    ros2 launch bisenet_ros labeled_cloud.launch.py depth:=/camera/aligned_depth_to_color/image_raw
    ros2 launch bisenet_ros labeled_cloud.launch.py geometry:=ground params_file:=FILE
    ros2 launch bisenet_ros labeled_cloud.launch.py camera:=front depth:=/front/depth

The node configures and activates itself (parameter `autostart`).
"""

from pathlib import PurePosixPath

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    PopLaunchConfigurations,
    PushLaunchConfigurations,
)
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.descriptions import ParameterValue

from bisenet_ros.resources import expand_home, share_directory
from bisenet_ros.ros.cloud_parameters import CLOUD_PARAMETERS

CONFIG = share_directory() / "config"

PARAMETERS = ("geometry", "robot_frame")
"""Parameters of the node that are launch arguments too."""

CAMERA_INPUTS = ("label", "confidence", "camera_info")
"""Topics of a camera of the segmentation node."""

INPUTS = (*CAMERA_INPUTS, "class_map")
"""Topics of the segmentation node."""

SWITCH = ("true", "false", "True", "False")


def generate_launch_description() -> LaunchDescription:
    """Return the node and its arguments."""
    return LaunchDescription(
        [
            # Arguments of this file must not leak into launch files that include it.
            PushLaunchConfigurations(),
            DeclareLaunchArgument(
                "segmentation",
                default_value="segmentation",
                description="Name of the segmentation node; a relative one is in the namespace.",
            ),
            DeclareLaunchArgument(
                "camera",
                default_value="",
                description="Which of the segmentation node's cameras. Empty: the one without a "
                "name.",
            ),
            *(
                DeclareLaunchArgument(
                    name,
                    default_value="",
                    description=f"Topic of {name}. Empty: that of the segmentation node.",
                )
                for name in INPUTS
            ),
            DeclareLaunchArgument(
                "depth",
                default_value="depth",
                description="Topic of the registered depth image, with geometry:=depth.",
            ),
            DeclareLaunchArgument(
                "cloud",
                default_value="cloud",
                description="Topic of the organized point cloud, with geometry:=cloud.",
            ),
            *(
                DeclareLaunchArgument(
                    name,
                    default_value="",
                    description=f"{_describe(name)} Empty: as in params_file.",
                )
                for name in PARAMETERS
            ),
            DeclareLaunchArgument(
                "params_file",
                default_value=str(CONFIG / "labeled_cloud.yaml"),
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
                "node_name", default_value="labeled_cloud", description="Name of the node."
            ),
            OpaqueFunction(function=_labeled_cloud),
            PopLaunchConfigurations(),
        ]
    )


def _describe(name: str) -> str:
    """Return the description of the node's parameter."""
    definition = CLOUD_PARAMETERS.definitions[name]
    valid = f" Valid: {definition.valid}." if definition.valid else ""
    return definition.description + valid


def _parameter(name: str, kind: type) -> ParameterValue:
    """Return the argument as a parameter of type ``kind``, without guessing by YAML."""
    return ParameterValue(LaunchConfiguration(name), value_type=kind)


def _labeled_cloud(context: LaunchContext) -> list[Action]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    params_file = expand_home(value("params_file"))
    if not params_file.is_file():
        # launch_ros would warn and go on without it.
        raise FileNotFoundError(
            f"no parameter file at '{params_file}': check params_file, or leave it out to use "
            f"{CONFIG / 'labeled_cloud.yaml'}"
        )
    node = PurePosixPath(value("segmentation"))
    places = dict.fromkeys(CAMERA_INPUTS, node / value("camera")) | {"class_map": node}
    remappings = [(name, value(name) or str(place / name)) for name, place in places.items()]
    remappings += [(name, value(name)) for name in ("depth", "cloud")]
    # An argument that was not given must not reach the node: it would hide the file's value.
    parameters = {name: _parameter(name, str) for name in PARAMETERS if value(name)}
    parameters["autostart"] = _parameter("autostart", bool)
    if value("use_sim_time"):
        parameters["use_sim_time"] = _parameter("use_sim_time", bool)
    return [
        Node(
            package="bisenet_ros",
            executable="labeled_cloud_node",
            name=value("node_name"),
            # Given even if empty, see segment.launch.py.
            namespace=value("namespace"),
            parameters=[str(params_file), parameters],
            remappings=remappings,
            output="screen",
        )
    ]
