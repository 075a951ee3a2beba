"""Interleaved measurement: engines take turns, so that other load affects all of them alike."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

FRAMES_PER_TURN = 4
"""Counted calls per turn, fewer if engines are slow. An uncounted call precedes them, since after
another engine's turn the caches are cold and its threads may still spin."""
MIN_ROUNDS = 2
"""Least number of rounds: one in each direction."""
OVERHEAD_SECONDS = 28.0
"""Time allowed beyond ``Budget.seconds``, mainly to load engines. Together with Python's start and
the files written at the end it makes the documented 30 seconds."""
ROUNDS_SHARE = 0.75
"""Share of ``Budget.seconds`` for rounds; the rest is for matrix products and peak memory."""


@dataclass
class Budget:
    """Time budget of one resolution, starting when this object is constructed.

    - ``seconds``: for rounds, matrix products and peak memory, in addition to
      ``OVERHEAD_SECONDS``.
    - ``rounds``: if not 0, run exactly this number of rounds without a time limit.
    - ``clock``: current time in seconds.
    """

    seconds: float
    rounds: int = 0
    clock: Callable[[], float] = time.monotonic
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self._started = self.clock()

    def left(self) -> float:
        """Return the remaining time in seconds; infinite if ``rounds`` is set."""
        if self.rounds:
            return math.inf
        return self._started + self.seconds + OVERHEAD_SECONDS - self.clock()

    def extended(self, missing: float, share: float = 1.0) -> int:
        """Return the least ``seconds`` that would leave more time.

        Args:
            missing: additional time that is needed, in seconds.
            share: share of ``seconds`` that is available to what needs it.
        """
        return math.ceil(self.seconds + missing / share)


def take_turns(
    calls: Sequence[Callable[[], T]], budget: Budget, seconds: Sequence[float]
) -> list[list[T]]:
    """Run ``calls`` in rounds and return the results of each one's counted calls.

    Every second round is in reverse order, so that a machine that slows down steadily favors none.
    At least ``MIN_ROUNDS`` are run, and more as long as they are expected to end in time.

    Args:
        calls: one for each engine.
        budget: of the resolution.
        seconds: time of an earlier call of each.
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
    """Return the uncounted and counted calls per turn of the next round, or None to stop.

    Args:
        budget: of the resolution.
        done: number of finished rounds.
        seconds: total time of one call of each engine.
        end: time by the budget's clock when rounds should end.
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
