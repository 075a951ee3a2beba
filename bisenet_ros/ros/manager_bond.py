"""The bond by which Nav2's lifecycle manager notices that an active node has died."""

from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node

from bisenet_ros.ros.parameter_set import parameter_field

HEARTBEAT_PERIOD = "bond_heartbeat_period"
"""Parameter of a node, named as in Nav2."""

TIMEOUT_S = 4.0
"""Time without a heartbeat after which a bond is broken, as in Nav2."""

ANSWER_TIMEOUT_S = 1.0
"""Time that ``break_bond`` waits for the manager, which answers at once if it runs."""


def heartbeat_period_field() -> float:
    """Return ``HEARTBEAT_PERIOD`` as a field of a node's parameters."""
    return parameter_field(
        0.1,
        "Heartbeat period of the bond to Nav2's lifecycle manager, which needs bondpy [s]; 0 = no "
        "bond.",
        minimum=0.0,
        maximum=TIMEOUT_S / 2,
    )


class ManagerBond:
    """A bond as Nav2's own nodes have it: on the topic ``bond``, under the node's name.

    Args:
        node: is bound until ``close``.
        period: of heartbeats [s], above 0.

    Raises:
        ImportError: bondpy is not installed.
    """

    def __init__(self, node: Node, period: float) -> None:
        self._node = node
        self._bond = _bond_type()(node, "bond", node.get_name())
        self._bond.heartbeat_period = period
        self._bond.heartbeat_timeout = TIMEOUT_S
        self._bond.start()

    def break_bond(self) -> None:
        """Tell the manager, and wait until it knows; not to be called on the executor's thread."""
        self._bond.break_bond()
        self._bond.wait_until_broken(Duration(seconds=ANSWER_TIMEOUT_S))

    def close(self) -> None:
        """Destroy what the bond has of the node; to be called on the executor's thread."""
        self._bond.shutdown()
        # bondpy destroys both but leaves them in the node, where the executor would use them.
        self._node.destroy_subscription(self._bond.sub)
        self._node.destroy_publisher(self._bond.pub)


def form_bond(node: Node) -> ManagerBond | None:
    """Return a bond of ``node``, or None if ``HEARTBEAT_PERIOD`` is 0 or bondpy not installed."""
    period = node.get_parameter(HEARTBEAT_PERIOD).value
    if not period:
        return None
    try:
        return ManagerBond(node, period)
    except ImportError:
        if not node.get_parameter("autostart").value:
            node.get_logger().info(
                "no bond to a lifecycle manager: install bondpy for that of Nav2 "
                "(apt: ros-$ROS_DISTRO-bondpy), or set its bond_timeout to 0.0"
            )
        return None


def _bond_type() -> Any:
    """Return bondpy's class without what disturbs a node.

    Raises:
        ImportError: bondpy is not installed.
    """
    from bondpy.bondpy import Bond

    class QuietBond(Bond):  # type: ignore[misc]  # of type Any
        def _publish(self, active: bool) -> None:
            # bondpy publishes on a thread of its own, which a signal to the process does not stop.
            try:
                super()._publish(active)
            except Exception:
                if self.node.context.ok():
                    raise

        def _on_heartbeat_timeout(self) -> None:
            """Do nothing: as in Nav2, a manager that hangs does not end the bond.

            bondpy would declare a parameter here, each time anew, which raises.
            """

    return QuietBond
