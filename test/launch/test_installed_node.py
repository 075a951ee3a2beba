"""What the launch file starts, without launch: the installed executable and parameter file."""

from pathlib import Path

from ament_index_python.packages import get_package_prefix, get_package_share_directory
from segmentation_check import check_segmentation

from bisenet_ros.ros.node_process import NodeProcess

EXECUTABLE = Path(get_package_prefix("bisenet_ros"), "lib/bisenet_ros/segmentation_node")
PARAMS_FILE = Path(get_package_share_directory("bisenet_ros"), "config/segment.yaml")


def test_node_of_the_parameter_file_labels_an_image(tmp_path: Path, tiny_model: Path) -> None:
    with NodeProcess(
        tmp_path / "node.log",
        namespace="/robot",
        parameters={"model": str(tiny_model), "autostart": True},
        ros_arguments=["--params-file", str(PARAMS_FILE), "-r", "image:=front/image_raw"],
        command=[str(EXECUTABLE)],
    ) as node:
        check_segmentation(
            "/robot/segmentation", "/robot/front/image_raw", tiny_model, node.check_running
        )
        assert node.stop() == 0, node.log_tail()
