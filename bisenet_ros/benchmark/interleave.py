"""Rounds in which engines take turns, so that what the machine does besides hits them alike."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

FRAMES_PER_TURN = 4
"""Counted calls of a turn, fewer if engines are slow. One more comes before them and is not
counted: it finds the caches full of the engine before it, whose threads may still spin, and neither
happens to an engine alone."""
MIN_ROUNDS = 2
"""One in each direction."""
OVERHEAD_SECONDS = 28.0
"""Allowed beyond ``Budget.seconds``, mostly to load engines. With Python's start and the files that
are written at the end it makes the 30 seconds that users are promised."""
ROUNDS_SHARE = 0.75
"""The share of ``Budget.seconds`` that rounds may use; the rest is for matrix products and peak
memory."""


@dataclass
class Budget:
    """How long one resolution may take, from when this object is made.

    - ``seconds``: for rounds, matrix products and peak memory; ``OVERHEAD_SECONDS`` come on top.
    - ``rounds``: if not 0, exactly so many are run, and there is no limit of time.
    - ``clock``: seconds since any moment.
    """

    seconds: float
    rounds: int = 0
    clock: Callable[[], float] = time.monotonic
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self._started = self.clock()

    def left(self) -> float:
        """Return the seconds after which everything must be done."""
        if self.rounds:
            return math.inf
        return self._started + self.seconds + OVERHEAD_SECONDS - self.clock()

    def extended(self, missing: float, share: float = 1.0) -> int:
        """Return ``seconds`` with which ``missing`` more are left to what has a ``share`` of it."""
        return math.ceil(self.seconds + missing / share)


def take_turns(
    calls: Sequence[Callable[[], T]], budget: Budget, seconds: Sequence[float]
) -> list[list[T]]:
    """Return what each of ``calls`` returned when it was counted.

    Every second round goes backwards, so a machine that slows down steadily favors none. There are
    at least ``MIN_ROUNDS``, and after them only rounds that are expected to end in time.

    Args:
        calls: one for each engine.
        budget: of the resolution.
        seconds: how long one call of each took before.
    """
    results: list[list[T]] = [[] for _ in calls]
    expected = list(seconds)
    end = budget.clock() + ROUNDS_SHARE * min(budget.seconds, budget.left())
    done = 0
    while turn := _plan_turn(budget, done, sum(expected), end):
        uncounted, counted = turn
        order = range(len(calls)) if done % 2 == 0 else reversed(range(len(calls)))
        for index in order:
            started = budget.clock()
            for _ in range(uncounted):
                calls[index]()
            results[index] += [calls[index]() for _ in range(counted)]
            expected[index] = (budget.clock() - started) / (uncounted + counted)
        done += 1
    return results


def _plan_turn(budget: Budget, done: int, seconds: float, end: float) -> tuple[int, int] | None:
    """Return uncounted and counted calls of each turn in the next round; None if there is none.

    Args:
        budget: of the resolution.
        done: rounds so far.
        seconds: how long one call of every engine takes, in all.
        end: when rounds should be over, by the budget's clock.
    """
    if budget.rounds:
        return (1, FRAMES_PER_TURN) if done < budget.rounds else None
    rounds = max(MIN_ROUNDS - done, 1)
    for counted in range(FRAMES_PER_TURN, 0, -1):
        if budget.clock() + rounds * (1 + counted) * seconds <= end:
            return 1, counted
    if done >= MIN_ROUNDS:
        return None
    return (1 if rounds * 2 * seconds <= budget.left() else 0), 1
