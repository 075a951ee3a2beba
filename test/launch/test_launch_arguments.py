"""Arguments of the launch files that they refuse before they start anything."""

import pytest

pytest.importorskip("launch_testing", reason="launch_testing is not installed")

from launch import LaunchContext
from launch.actions import DeclareLaunchArgument
from launch.launch_description_sources import get_launch_description_from_python_launch_file

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
