"""Match messages of several topics by the stamps in their headers.

message_filters does the same, but is not among ROS 2's packages on PyPI, and does not tell what it
drops.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple


class Matched(NamedTuple):
    """Result of adding a message.

    - ``messages``: a message of each topic, by topic; None if there is no match yet.
    - ``dropped``: messages of the leading topic that cannot be matched any more.
    """

    messages: dict[str, Any] | None
    dropped: int


class Synchronizer:
    """Keeps the latest messages of each topic until there is one of each with the same stamp.

    Args:
        topics: the first one leads: stamps are compared with those of its messages.
        tolerance_ns: largest difference of stamps that count as the same.
        depth: messages of each topic that are kept.
    """

    def __init__(self, topics: Sequence[str], tolerance_ns: int, depth: int) -> None:
        self._leader = topics[0]
        self._tolerance_ns = tolerance_ns
        # Without maxlen: a message that leaves a full queue is counted.
        self._queues: dict[str, deque[tuple[int, Any]]] = {topic: deque() for topic in topics}
        self._depth = depth

    def add(self, topic: str, message: Any) -> Matched:
        """Add a message that has arrived on ``topic``.

        A match also removes what arrived before its messages, so matches are in order of arrival.
        Stamps may jump back, as when a bag is played again.
        """
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        queue = self._queues[topic]
        queue.append((stamp, message))
        leaders = self._queues[self._leader]
        if topic == self._leader:
            found = self._match(len(queue) - 1)
        else:
            near = (
                index
                for index in reversed(range(len(leaders)))
                if abs(leaders[index][0] - stamp) <= self._tolerance_ns
            )
            found = next(filter(None, map(self._match, near)), None)
        dropped = 0
        if found is None:
            if len(queue) > self._depth:
                queue.popleft()
                dropped = topic == self._leader
            return Matched(None, int(dropped))
        messages = {}
        for name, index in found.items():
            for _ in range(index):
                self._queues[name].popleft()
            messages[name] = self._queues[name].popleft()[1]
        return Matched(messages, found[self._leader])

    @property
    def waiting(self) -> int:
        """Number of messages of the leading topic that wait for their match."""
        return len(self._queues[self._leader])

    def gap_ns(self, topic: str) -> int | None:
        """Return the smallest difference of stamps between ``topic`` and the leader.

        None if either has no message that waits. It is negative if all that is kept of ``topic`` is
        newer than all of the leader.
        """
        ours = [stamp for stamp, _ in self._queues[topic]]
        theirs = [stamp for stamp, _ in self._queues[self._leader]]
        if not ours or not theirs:
            return None
        gap = min(abs(a - b) for a in ours for b in theirs)
        return -gap if min(ours) > max(theirs) else gap

    def _match(self, leader: int) -> dict[str, int] | None:
        """Return the index of the nearest message of each topic, or None if one is too far."""
        wanted = self._queues[self._leader][leader][0]
        found = {self._leader: leader}
        for topic, queue in self._queues.items():
            if topic == self._leader:
                continue
            if not queue:
                return None
            nearest = min(range(len(queue)), key=lambda index: abs(queue[index][0] - wanted))
            if abs(queue[nearest][0] - wanted) > self._tolerance_ns:
                return None
            found[topic] = nearest
        return found
