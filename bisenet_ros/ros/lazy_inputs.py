"""Parameter ``lazy``: a node leaves its inputs while nobody subscribes to its outputs."""

from collections.abc import Callable

from rclpy.event_handler import PublisherEventCallbacks
from rclpy.parameter import Parameter

from bisenet_ros.ros.managed_node import ManagedNode


class LazyInputs:
    """Knows when a node may leave its inputs, and when to look again.

    - ``events``: for the publishers of the outputs whose subscribers count.

    Args:
        node: has the parameter ``lazy``.
        listen: subscribes to the inputs that are wanted, and to no others. It is called on the
            worker's thread after a subscriber has come or gone, or the parameter was set.
    """

    def __init__(self, node: ManagedNode, listen: Callable[[], None]) -> None:
        self._node = node
        self._listen = listen
        # The reports of a node would notice a subscriber too, but up to a second later.
        self.events = PublisherEventCallbacks(matched=self._matched)
        node.add_post_set_parameters_callback(self._parameters_changed)

    def idle_reason(self, wanted: bool, outputs: str) -> str:
        """Return why inputs are left, or "".

        Args:
            wanted: whether an output is.
            outputs: those that count, as the end of a sentence.
        """
        if wanted or not self._node.get_parameter("lazy").value:
            return ""
        return f"idle until someone subscribes to {outputs} (parameter lazy)"

    def _matched(self, _: object) -> None:
        self._node.run_on_worker(self._listen)

    def _parameters_changed(self, changes: list[Parameter]) -> None:
        if any(change.name == "lazy" for change in changes):
            self._node.run_on_worker(self._listen)
