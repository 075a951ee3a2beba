"""config/sros2_policy.xml allows what the running node has in the ROS graph, and nothing else."""

import pytest

pytest.importorskip("rclpy")

from node_fixture import CLEANUP, DEACTIVATE, Bench
from sros2_names import names_in_policy, wait_for_names

from bisenet_ros.ros.class_messages import label_info_type
from bisenet_ros.ros.parameters import OUTPUTS


def test_the_policy_allows_what_the_node_has_in_the_graph_and_nothing_else(bench: Bench) -> None:
    allowed = names_in_policy("segmentation")
    if label_info_type() is None:
        allowed.remove(("publish", "/segmentation/label_info"))
    raw, compressed = ("subscribe", "/image"), ("subscribe", "/image/compressed")
    bench.set({"outputs": list(OUTPUTS), "use_sim_time": True})
    try:
        for transport, absent in (("raw", compressed), ("compressed", raw)):
            bench.start({"input_transport": transport})
            wait_for_names(bench, allowed - {absent})
            assert bench.change(DEACTIVATE)
            assert bench.change(CLEANUP)
    finally:
        bench.set({"use_sim_time": False})
