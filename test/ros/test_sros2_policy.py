"""config/sros2_policy.xml allows what the running node has in the ROS graph, and nothing else."""

from pathlib import PurePosixPath
from xml.etree import ElementTree

import pytest

pytest.importorskip("rclpy")

from node_fixture import CLEANUP, DEACTIVATE, Bench

from bisenet_ros.resources import share_directory
from bisenet_ros.ros.class_messages import label_info_type
from bisenet_ros.ros.parameters import OUTPUTS

KINDS = ("publish", "subscribe", "reply", "request")

Names = set[tuple[str, str]]
"""Of a topic or service, with what the node does there, of ``KINDS``."""


def names_in_policy() -> Names:
    root = ElementTree.parse(share_directory() / "config" / "sros2_policy.xml").getroot()
    (profile,) = root.findall("enclaves/enclave/profiles/profile")
    namespace, node = profile.attrib["ns"], profile.attrib["node"]
    found = set()
    for entries in profile:
        (kind,) = (kind for kind in KINDS if kind in entries.attrib)
        assert entries.attrib[kind] == "ALLOW"
        for entry in entries:
            assert entry.text
            name = entry.text.replace("~", f"{namespace.rstrip('/')}/{node}")
            # As sros2 does, whose names are those of the graph.
            found.add((kind, str(PurePosixPath(namespace, name))))
    return found


def names_in_graph(bench: Bench) -> Names:
    path = PurePosixPath(bench.process.name)
    node = path.name, str(path.parent)
    graph = bench.node
    return {
        (kind, name)
        for kind, look in (
            ("publish", graph.get_publisher_names_and_types_by_node),
            ("subscribe", graph.get_subscriber_names_and_types_by_node),
            ("reply", graph.get_service_names_and_types_by_node),
            ("request", graph.get_client_names_and_types_by_node),
        )
        for name, _ in look(*node)
    }


def test_the_policy_allows_what_the_node_has_in_the_graph_and_nothing_else(bench: Bench) -> None:
    allowed = names_in_policy()
    if label_info_type() is None:
        allowed.remove(("publish", "/segmentation/label_info"))
    raw, compressed = ("subscribe", "/image"), ("subscribe", "/image/compressed")
    bench.set({"outputs": list(OUTPUTS), "use_sim_time": True})
    try:
        for transport, absent in (("raw", compressed), ("compressed", raw)):
            bench.start({"input_transport": transport})
            seen: Names = set()

            def complete(absent: tuple[str, str] = absent, seen: Names = seen) -> bool:
                seen.clear()
                seen |= names_in_graph(bench)
                return seen >= allowed - {absent}

            try:
                bench.spin_until(complete, "all that the policy allows is in the graph")
            finally:
                assert seen == allowed - {absent}
            assert bench.change(DEACTIVATE)
            assert bench.change(CLEANUP)
    finally:
        bench.set({"use_sim_time": False})
