"""Rounds in which engines take turns, so that what the machine does besides hits them alike."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

FRAMES_PER_TURN = 4
"""Counted calls of a turn. One more comes before them and is not counted: it finds the caches full
of the engine before it, whose threads may still spin, and neither happens to an engine alone."""
MIN_ROUNDS = 2
"""One in each direction."""


@dataclass(frozen=True)
class Length:
    """How long to measure: ``rounds``, or with 0 as many as fit into ``seconds``, at least two."""

    seconds: float
    rounds: int = 0

    def reached(self, rounds: int, started: float) -> bool:
        """Whether ``rounds`` are enough, the first of which began at ``time.monotonic()``."""
        if self.rounds:
            return rounds >= self.rounds
        return rounds >= MIN_ROUNDS and time.monotonic() - started >= self.seconds


def take_turns(calls: Sequence[Callable[[], T]], length: Length) -> list[list[T]]:
    """What each of ``calls`` returned when it was counted.

    Every second round goes backwards, so a machine that slows down steadily favours none.
    """
    results: list[list[T]] = [[] for _ in calls]
    started = time.monotonic()
    done = 0
    while not length.reached(done, started):
        order = range(len(calls)) if done % 2 == 0 else reversed(range(len(calls)))
        for index in order:
            calls[index]()
            results[index] += [calls[index]() for _ in range(FRAMES_PER_TURN)]
        done += 1
    return results
