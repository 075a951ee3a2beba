"""Names that config/sros2_policy.xml allows, and those that a node has in the ROS graph."""

from importlib.util import find_spec
from pathlib import PurePosixPath
from xml.etree import ElementTree

from node_fixture import Bench

from bisenet_ros.resources import share_directory

KINDS = ("publish", "subscribe", "reply", "request")

Names = set[tuple[str, str]]
"""Of a topic or service, with what the node does there, of ``KINDS``."""


def names_in_policy(node: str) -> Names:
    """Return what the policy allows ``node``, without the bond where bondpy is not installed."""
    root = ElementTree.parse(share_directory() / "config" / "sros2_policy.xml").getroot()
    (enclave,) = root.findall(f"enclaves/enclave[@path='/{node}']")
    (profile,) = enclave.findall("profiles/profile")
    namespace = profile.attrib["ns"]
    assert profile.attrib["node"] == node
    found = set()
    for entries in profile:
        (kind,) = (kind for kind in KINDS if kind in entries.attrib)
        assert entries.attrib[kind] == "ALLOW"
        for entry in entries:
            assert entry.text
            name = entry.text.replace("~", f"{namespace.rstrip('/')}/{node}")
            # As sros2 does, whose names are those of the graph.
            found.add((kind, str(PurePosixPath(namespace, name))))
    bond = {("publish", "/bond"), ("subscribe", "/bond")}
    assert found >= bond
    return found if find_spec("bondpy") else found - bond


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


def wait_for_names(bench: Bench, allowed: Names) -> None:
    """Wait until the node has all ``allowed`` names in the graph, and check that it has no more."""
    seen: Names = set()

    def complete() -> bool:
        seen.clear()
        seen.update(names_in_graph(bench))
        return seen >= allowed

    try:
        bench.spin_until(complete, "all that the policy allows is in the graph")
    finally:
        assert seen == allowed
