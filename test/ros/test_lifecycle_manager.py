"""Both nodes under a lifecycle manager that asks what Nav2's asks, with and without a bond.

Where bondpy is not installed, a stand-in takes its place in the node and in the manager.
"""

import os
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

pytest.importorskip("rclpy")

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from node_fixture import (
    ACTIVATE,
    CLEANUP,
    CONFIGURE,
    DEACTIVATE,
    SERVICES,
    Bench,
    frame,
    header,
    start_process,
)
from rclpy.node import Node
from sensor_msgs.msg import Image

BondType = Callable[..., Any]

ROUNDS = 20
STAND_IN = str(Path(__file__).with_name("stand_in"))
AFTER = {
    CONFIGURE: State.PRIMARY_STATE_INACTIVE,
    ACTIVATE: State.PRIMARY_STATE_ACTIVE,
    DEACTIVATE: State.PRIMARY_STATE_INACTIVE,
    CLEANUP: State.PRIMARY_STATE_UNCONFIGURED,
}
"""The state that the manager expects after each transition."""


class Manager:
    """nav2_lifecycle_manager, as of August 2026, for one node and in its namespace."""

    def __init__(self, bench: Bench, bond_type: BondType | None) -> None:
        self._bench = bench
        self._bond_type = bond_type
        self.bond: Any = None

    def change(self, transition: int) -> None:
        """Request a transition as ``changeStateForNode`` does."""
        assert self._bench.change(transition), self._bench.log()
        state = self._bench.call(GetState, GetState.Request()).current_state.id
        assert state == AFTER[transition]
        if self._bond_type is None:
            return
        if transition == ACTIVATE:
            self._form_bond(self._bond_type)
        elif transition == DEACTIVATE:
            # The manager just forgets its own, but then the node would have no part in this.
            self._bench.spin_until(self.bond.is_broken, "the node breaks the bond")
            self.forget_bond()

    def _form_bond(self, bond_type: BondType) -> None:
        formed: list[bool] = []
        node, path = self._bench.node, PurePosixPath(self._bench.process.name)
        topic = str(path.with_name("bond"))
        self.bond = bond_type(node, topic, path.name, on_formed=lambda: formed.append(True))
        self.bond.heartbeat_period = 0.25
        self.bond.start()
        self._bench.spin_until(lambda: formed, "the bond is formed")

    def forget_bond(self) -> None:
        self.bond.shutdown()
        self._bench.node.destroy_subscription(self.bond.sub)
        self._bench.node.destroy_publisher(self.bond.pub)

    def check_bond(self) -> None:
        """Assert as ``checkBondConnections`` does."""
        assert self.bond is None or not self.bond.is_broken()


class CloudBench(Bench):
    services = SERVICES


class BondedBench(Bench):
    bond_type: BondType


@pytest.fixture
def bond_type(monkeypatch: pytest.MonkeyPatch) -> Iterator[BondType]:
    """bondpy's class of bonds, or the stand-in's, in this process and those that it starts."""
    stands_in = find_spec("bondpy") is None
    if stands_in:
        monkeypatch.syspath_prepend(STAND_IN)
        paths = [STAND_IN, *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    from bondpy.bondpy import Bond

    yield Bond
    if stands_in:
        for name in ("bondpy", "bondpy.bondpy"):
            del sys.modules[name]


@pytest.fixture
def bonded(bond_type: BondType, tiny_model: Path, tmp_path: Path) -> Iterator[BondedBench]:
    """A segmentation node of the test's own, in the namespace ``/robot``."""
    log = tmp_path / "node.log"
    with start_process(log, {"model": str(tiny_model)}, namespace="/robot") as process:
        bench = BondedBench(process, tiny_model)
        bench.bond_type = bond_type
        bench.reset()
        yield bench
        bench.close()
        assert process.stop() == 0
    assert "Traceback" not in log.read_text()


def entities(node: Node, topic: str) -> int:
    return node.count_publishers(topic) + node.count_subscribers(topic)


def go_round(bench: Bench, manager: Manager, image: str, number: int) -> None:
    """Configure, activate, label a frame from topic ``image``, deactivate and clean up."""
    manager.change(CONFIGURE)
    manager.change(ACTIVATE)
    labels = bench.listen(Image, "label")
    bench.camera(image).publish(frame(number))
    bench.spin_until(lambda: labels, f"label {number}")
    assert labels[0].header == header(number)
    manager.check_bond()
    manager.change(DEACTIVATE)
    manager.change(CLEANUP)
    bench.forget()


def test_rounds_without_a_bond(bench: Bench) -> None:
    bench.set({"bond_heartbeat_period": 0.0})
    manager = Manager(bench, None)
    for number in range(ROUNDS):
        go_round(bench, manager, "/image", number)
        assert not entities(bench.node, "/bond")


def test_rounds_with_a_bond(bonded: BondedBench) -> None:
    manager = Manager(bonded, bonded.bond_type)
    for number in range(ROUNDS):
        go_round(bonded, manager, "/robot/image", number)
        bonded.spin_until(lambda: not entities(bonded.node, "/robot/bond"), "both leave the bond")


def test_a_manager_that_hangs_does_not_end_the_bond(bonded: BondedBench) -> None:
    manager = Manager(bonded, bonded.bond_type)
    manager.change(CONFIGURE)
    manager.change(ACTIVATE)
    heard: list[Any] = []
    kind, topic = manager.bond.pub.msg_type, manager.bond.topic
    listener = bonded.node.create_subscription(kind, topic, heard.append, 10)
    bonded.spin_until(lambda: len(heard) > 20, "heartbeats of both")
    manager.bond.is_shutdown = True  # ends its thread silently
    heard.clear()
    bonded.spin_until(lambda: len(heard) > 60, "more heartbeats than in the 4 s of a timeout")
    bonded.node.destroy_subscription(listener)
    manager.forget_bond()


def test_a_node_that_ends_by_a_signal_has_no_traceback(bonded: BondedBench) -> None:
    manager = Manager(bonded, bonded.bond_type)
    bonded.set({"bond_heartbeat_period": 0.001})  # so that one is due meanwhile
    manager.change(CONFIGURE)
    manager.change(ACTIVATE)
    assert bonded.process.stop() == 0
    manager.forget_bond()


def test_the_labeled_cloud_node_has_a_bond(bond_type: BondType, tmp_path: Path) -> None:
    log = tmp_path / "node.log"
    command = (sys.executable, "-m", "bisenet_ros.ros.labeled_cloud_node")
    with start_process(log, {}, command=command, name="labeled_cloud") as process:
        bench = CloudBench(process, Path())
        manager = Manager(bench, bond_type)
        for _ in range(2):
            manager.change(CONFIGURE)
            manager.change(ACTIVATE)
            manager.check_bond()
            manager.change(DEACTIVATE)
            manager.change(CLEANUP)
            bench.spin_until(lambda: not entities(bench.node, "/bond"), "both leave the bond")
        bench.close()
        assert process.stop() == 0
    assert "Traceback" not in log.read_text()


def test_without_bondpy_a_node_that_waits_for_a_manager_says_so(bench: Bench) -> None:
    bench.start()
    said = "no bond to a lifecycle manager: install bondpy for that of Nav2"
    assert (said in bench.log()) == (find_spec("bondpy") is None)
    assert bool(entities(bench.node, "/bond")) == (find_spec("bondpy") is not None)
