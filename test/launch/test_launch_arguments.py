"""Arguments of the launch files: what they refuse, and which topics they give the node."""

import re

import pytest

pytest.importorskip("launch_testing", reason="launch_testing is not installed")

from launch import LaunchContext
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.launch_description_sources import get_launch_description_from_python_launch_file
from launch_ros.actions import Node

from bisenet_ros.resources import share_directory


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        ("segment", "log_level", "verbose"),
        ("segment", "respawn", "yes"),
        ("segment", "use_sim_time", "on"),
        ("labeled_cloud", "autostart", "yes"),
    ],
)
def test_a_value_that_is_none_of_the_choices_is_refused(file: str, name: str, value: str) -> None:
    path = share_directory() / "launch" / f"{file}.launch.py"
    entities = get_launch_description_from_python_launch_file(str(path)).entities
    (argument,) = (
        each for each in entities if isinstance(each, DeclareLaunchArgument) and each.name == name
    )
    context = LaunchContext()
    context.launch_configurations[name] = value
    with pytest.raises(RuntimeError, match=f'"{name}" provided value "{value}" is not valid'):
        argument.execute(context)


def start(file: str, **arguments: str) -> dict[str, str]:
    """Run the launch file up to the start of its one node.

    Returns:
        The topic that each name becomes.
    """
    path = share_directory() / "launch" / f"{file}.launch.py"
    context = LaunchContext()
    context.launch_configurations.update(arguments)
    nodes: list[Node] = []
    for entity in get_launch_description_from_python_launch_file(str(path)).entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.execute(context)
        elif isinstance(entity, OpaqueFunction):
            nodes += entity.execute(context)
    (node,) = nodes
    node._perform_substitutions(context)
    return dict(node.expanded_remapping_rules)


@pytest.mark.parametrize("value", ["front", "[1, 2]", "[]", "[front", "{front: 1}"])
def test_cameras_that_are_no_list_of_names_are_refused_with_an_example(value: str) -> None:
    reason = f"cameras is '{value}': give a list of names, such as [front, rear]"
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        start("segment", cameras=value)


@pytest.mark.parametrize(
    ("name", "topic"),
    [("image", "/camera/image_raw"), ("image", "~/image_raw"), ("camera_info", "/info")],
)
def test_several_cameras_cannot_share_a_topic(name: str, topic: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} is '{topic}', the same topic for all cameras:"):
        start("segment", **{"cameras": "[front, rear]", name: topic})


def test_a_single_camera_with_a_name_may_have_any_topic() -> None:
    topics = start("segment", cameras="[front]", image="/camera/image_raw")
    assert topics["front/image"] == "/camera/image_raw"


@pytest.mark.parametrize(
    ("arguments", "prefix", "class_map"),
    [
        ({}, "segmentation", "segmentation/class_map"),
        ({"camera": "front"}, "segmentation/front", "segmentation/class_map"),
        ({"camera": "front", "segmentation": "/a/b"}, "/a/b/front", "/a/b/class_map"),
    ],
)
def test_labels_are_those_of_the_camera_and_the_class_map_is_that_of_the_node(
    arguments: dict[str, str], prefix: str, class_map: str
) -> None:
    topics = start("labeled_cloud", **arguments)
    for name in ("label", "confidence", "camera_info"):
        assert topics[name] == f"{prefix}/{name}"
    assert topics["class_map"] == class_map


def test_a_topic_that_is_given_counts() -> None:
    topics = start("labeled_cloud", camera="front", label="/mask", class_map="classes")
    assert topics == {
        "label": "/mask",
        "confidence": "segmentation/front/confidence",
        "camera_info": "segmentation/front/camera_info",
        "class_map": "classes",
        "depth": "depth",
        "cloud": "cloud",
    }
