"""Stand-in for bondpy 4.1, which is not on PyPI, with its threads and side effects.

It has the part that nodes use. Its messages are of another type, so it bonds with itself only.
"""

import threading
import uuid
from collections.abc import Callable

from diagnostic_msgs.msg import KeyValue
from rclpy.duration import Duration
from rclpy.node import Node

Callback = Callable[[], object]


class Bond:
    def __init__(
        self,
        node: Node,
        topic: str,
        bond_id: str,
        on_broken: Callback | None = None,
        on_formed: Callback | None = None,
    ) -> None:
        self.node, self.topic, self.id = node, topic, bond_id
        self.instance_id = str(uuid.uuid4())
        self.on_broken, self.on_formed = on_broken, on_formed
        self.heartbeat_period, self.heartbeat_timeout = 1.0, 4.0
        self.is_shutdown = False
        self._state = "waiting"
        self._timer = threading.Timer(0.0, self._on_heartbeat_timeout)
        self._condition = threading.Condition(threading.RLock())
        self.pub = node.create_publisher(KeyValue, topic, 1)

    def start(self) -> None:
        self.sub = self.node.create_subscription(KeyValue, self.topic, self._on_status, 1)
        threading.Thread(target=self._run, daemon=True).start()

    def is_broken(self) -> bool:
        return self._state == "dead"

    def break_bond(self) -> None:
        with self._condition:
            self._die() if self._state == "waiting" else self._enter("dying")
            self._publish(False)

    def wait_until_broken(self, timeout: Duration) -> bool:
        with self._condition:
            return self._condition.wait_for(self.is_broken, timeout.nanoseconds / 1e9)

    def shutdown(self) -> None:
        if self.is_shutdown:
            return
        # Not by the node, which keeps both in its lists.
        self.sub.destroy()
        with self._condition:
            self.is_shutdown = True
            if not self.is_broken():
                self.break_bond()
            self.pub.destroy()
            self._condition.notify_all()

    def _run(self) -> None:
        with self._condition:
            while not (self.is_shutdown or self.is_broken()):
                self._publish(self._state != "dying")
                self._condition.wait(0.05 if self._state == "dying" else self.heartbeat_period)

    def _publish(self, active: bool) -> None:
        self.pub.publish(KeyValue(key=self.id, value=f"{self.instance_id} {int(active)}"))

    def _on_status(self, message: KeyValue) -> None:
        instance_id, active = message.value.split()
        if message.key != self.id or instance_id == self.instance_id:
            return
        with self._condition:
            if not int(active):
                if self._state == "alive":
                    self._publish(False)  # so that the other one knows
                self._die()
            elif self._state == "waiting":
                self._enter("alive")
                if self.on_formed:
                    self.on_formed()
            elif self._state == "alive":
                self._timer.cancel()
                self._timer = threading.Timer(self.heartbeat_timeout, self._on_heartbeat_timeout)
                self._timer.daemon = True
                self._timer.start()

    def _on_heartbeat_timeout(self) -> None:
        with self._condition:
            self._die()

    def _die(self) -> None:
        self._timer.cancel()
        if not self.is_broken() and self.on_broken:
            self.on_broken()
        self._enter("dead")

    def _enter(self, state: str) -> None:
        if not self.is_broken():
            self._state = state
            self._condition.notify_all()
