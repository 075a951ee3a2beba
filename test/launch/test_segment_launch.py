"""The launch file under launch_testing; test_installed_node.py is its twin without launch."""

import atexit
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from ament_index_python.packages import get_package_share_directory
from segmentation_check import check_segmentation, check_subscription
from tiny_model import make_model

pytest.importorskip("launch_testing", reason="launch_testing is not installed")

import launch_testing.actions
import launch_testing.asserts
import launch_testing.markers
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription

LAUNCH_FILE = Path(get_package_share_directory("bisenet_ros"), "launch/segment.launch.py")


@pytest.mark.launch_test
@launch_testing.markers.keep_alive
def generate_test_description() -> tuple[LaunchDescription, dict[str, Any]]:
    """Start the node by the launch file, in a namespace, with a model and a camera's topic."""
    folder = TemporaryDirectory()
    atexit.register(folder.cleanup)
    model = make_model(Path(folder.name, "tiny.safetensors"))
    arguments = {"model": str(model), "namespace": "robot", "image": "front/image_raw"}
    description = LaunchDescription(
        [
            IncludeLaunchDescription(str(LAUNCH_FILE), launch_arguments=arguments.items()),
            launch_testing.actions.ReadyToTest(),
        ]
    )
    return description, {"model": model}


class TestWhileItRuns(unittest.TestCase):
    """The node is up."""

    def test_labels_an_image(self, model: Path) -> None:
        check_segmentation("/robot/segmentation", "/robot/front/image_raw", model)

    def test_listens_to_the_camera_info_beside_the_image(self) -> None:
        check_subscription("/robot/front/camera_info", "sensor_msgs/msg/CameraInfo")


@launch_testing.post_shutdown_test()
class TestAfterwards(unittest.TestCase):
    """launch has sent SIGINT."""

    def test_node_ended_in_order(self, proc_info: Any) -> None:
        launch_testing.asserts.assertExitCodes(proc_info, process="segmentation_node")
