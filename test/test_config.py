"""Files in config/ and launch/ are consistent with the code."""

import ast
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import pytest
import rclpy
import yaml
from rclpy.node import Node

from bisenet_ros.classes import palette, read_classes
from bisenet_ros.resources import share_directory
from bisenet_ros.ros.cloud_parameters import CLOUD_PARAMETERS
from bisenet_ros.ros.parameter_set import ParameterSet
from bisenet_ros.ros.parameters import OUTPUTS, PARAMETERS
from bisenet_ros.ros.publishers import ImagePublishers
from bisenet_ros.ros.qos import qos_profile
from bisenet_ros.training.settings import read_settings

CONFIG = share_directory() / "config"
NODES: list[tuple[str, ParameterSet[Any]]] = [
    ("segment", PARAMETERS),
    ("labeled_cloud", CLOUD_PARAMETERS),
]
"""Base name of each launch and parameter file, and the parameters of its node."""


@pytest.fixture
def context() -> Iterator[rclpy.Context]:
    context = rclpy.Context()
    rclpy.init(context=context)
    yield context
    context.try_shutdown()


def declared(
    context: rclpy.Context, parameters: ParameterSet[Any], *ros_arguments: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of a node's parameters, and the rejected ones."""
    node = Node("node", context=context, cli_args=["--ros-args", *ros_arguments])
    try:
        of_any_node = node.get_parameters_by_prefix("").keys()
        refused = parameters.declare(node)
        values = {
            name: list(p.value) if isinstance(p.value, (list, tuple)) else p.value
            for name, p in node.get_parameters_by_prefix("").items()
            if name not in of_any_node
        }
    finally:
        node.destroy_node()
    return values, refused


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            values |= flat(value, f"{prefix}{name}.")
        else:
            values[prefix + name] = value
    return values


def typed(values: dict[str, Any]) -> dict[str, tuple[type, Any]]:
    """Return values with their types: 0, 0.0 and False are equal, but differ as parameters."""
    return {name: (type(value), value) for name, value in values.items()}


@pytest.mark.parametrize(("name", "parameters"), NODES)
def test_parameter_file_has_every_parameter_with_its_default(
    context: rclpy.Context, name: str, parameters: ParameterSet[Any]
) -> None:
    document = yaml.safe_load((CONFIG / f"{name}.yaml").read_text())
    defaults, _ = declared(context, parameters)
    assert typed(flat(document["/**"]["ros__parameters"])) == typed(defaults)
    assert len(defaults) > 10


@pytest.mark.parametrize(("name", "parameters"), NODES)
def test_node_accepts_the_parameter_file(
    context: rclpy.Context, name: str, parameters: ParameterSet[Any]
) -> None:
    arguments = "--params-file", str(CONFIG / f"{name}.yaml")
    assert declared(context, parameters, *arguments) == (declared(context, parameters)[0], {})


def launch_file(name: str = "segment") -> ast.Module:
    return ast.parse((share_directory() / "launch" / f"{name}.launch.py").read_text())


@pytest.mark.parametrize(("name", "parameters"), NODES)
def test_launch_arguments_are_parameters_of_the_node(
    context: rclpy.Context, name: str, parameters: ParameterSet[Any]
) -> None:
    (arguments,) = (
        ast.literal_eval(statement.value)
        for statement in launch_file(name).body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and statement.targets[0].id == "PARAMETERS"
    )
    values, _ = declared(context, parameters)
    assert {*arguments} <= values.keys()
    assert arguments
    # Launch arguments are strings, and "" means not given.
    assert all(isinstance(values[name], str) for name in arguments)


def test_launch_file_checks_log_level() -> None:
    (declaration,) = (
        node
        for node in ast.walk(launch_file())
        if isinstance(node, ast.Call)
        and node.args
        and ast.unparse(node.args[0]) == "'log_level'"
        and ast.unparse(node.func) == "DeclareLaunchArgument"
    )
    (choices,) = (each.value for each in declaration.keywords if each.arg == "choices")
    assert ast.literal_eval(choices) == ("debug", "info", "warn", "error", "fatal")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("segment", "parameters import DEFINITIONS"), ("labeled_cloud", "cloud_parameters import ")],
)
def test_launch_file_imports_only_what_ros2_launch_has(name: str, parameters: str) -> None:
    ours = [
        ast.unparse(statement)
        for statement in launch_file(name).body
        if isinstance(statement, ast.ImportFrom) and statement.module.startswith("bisenet_ros")
    ]
    assert any(line.startswith(f"from bisenet_ros.ros.{parameters}") for line in ours)
    # None in sys.modules makes an import fail.
    lacking = ("torch", "cv2", "safetensors", "openvino", "onnx", "scipy", "PIL", "bisenet_ros.msg")
    program = [f"import sys; sys.modules.update(dict.fromkeys({lacking}))", *ours]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(program)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_rviz_config_shows_published_topics_and_the_overlay_first(context: rclpy.Context) -> None:
    node = Node("segmentation", context=context)
    qos = qos_profile("reliable", "volatile", 2)
    ImagePublishers(node.create_publisher, tuple(OUTPUTS), qos, palette([]))
    published = {
        topic
        for topic, types in node.get_publisher_names_and_types_by_node("segmentation", "/")
        if types == ["sensor_msgs/msg/Image"]
    }
    node.destroy_node()

    manager = yaml.safe_load((CONFIG / "segment.rviz").read_text())["Visualization Manager"]
    displays = manager["Displays"]
    topics = [display["Topic"]["Value"] for display in displays]
    assert set(topics) <= published
    assert topics == [f"/segmentation/{name}" for name in ("overlay", "color", "label")]
    assert [display["Enabled"] for display in displays] == [True, True, False]
    assert {display["Class"] for display in displays} == {"rviz_default_plugins/Image"}
    assert {display["Topic"]["Reliability Policy"] for display in displays} == {"Reliable"}
    assert manager["Global Options"]["Fixed Frame"] == "camera"


@pytest.mark.parametrize(
    ("name", "number"), [("camvid", 11), ("cityscapes", 19), ("cocostuff", 171)]
)
def test_class_files_can_be_read(name: str, number: int) -> None:
    classes = read_classes(CONFIG / "classes" / f"{name}.yaml")
    assert len(classes) == number
    assert {"road", "car"} <= {entry.name for entry in classes}


def test_shared_memory_profile_has_room_for_images_and_keeps_udp() -> None:
    space = {"dds": "http://www.eprosima.com"}
    root = ET.parse(CONFIG / "fastdds_images.xml").getroot()
    transports = {
        entry.findtext("dds:transport_id", namespaces=space): entry
        for entry in root.iterfind(".//dds:transport_descriptor", space)
    }
    participant = root.find(".//dds:participant[@is_default_profile='true']", space)
    assert participant is not None
    used = [
        transports[entry.text]
        for entry in participant.iterfind(".//dds:userTransports/dds:transport_id", space)
    ]
    kinds = {entry.findtext("dds:type", namespaces=space): entry for entry in used}
    assert kinds.keys() == {"SHM", "UDPv4"}
    size = int(kinds["SHM"].findtext("dds:segment_size", "0", space))
    assert size >= 64 * 1024**2


@pytest.mark.parametrize(
    ("name", "iterations", "weight_decay", "crop"),
    [
        # The paper crops Cityscapes to 2048x1024 and halves the crop.
        ("cityscapes", 150_000, 5e-4, (1024, 512)),
        ("camvid", 10_000, 5e-4, (960, 720)),
        ("cocostuff", 20_000, 1e-4, (640, 640)),
    ],
)
def test_recipes_of_the_paper(
    name: str, iterations: int, weight_decay: float, crop: tuple[int, int]
) -> None:
    settings = read_settings(CONFIG / "training" / f"{name}.yaml")
    assert (settings.iterations, settings.weight_decay) == (iterations, weight_decay)
    assert (settings.crop, settings.resolution) == (crop, crop)
    assert settings.scales == (0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
    assert (settings.optimizer, settings.learning_rate, settings.poly_power) == ("sgd", 0.05, 0.9)
    assert (settings.batch_size, settings.flip, settings.color_jitter) == (16, True, 0.0)
    assert not settings.class_weights
    assert settings.ohem > 0
