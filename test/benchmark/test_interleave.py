"""Engines take turns: equal numbers of calls, alternating order, within the time limit."""

from functools import partial

import pytest
from fake_clock import FakeClock

from bisenet_ros.benchmark.interleave import (
    FRAMES_PER_TURN,
    MIN_ROUNDS,
    OVERHEAD_SECONDS,
    ROUNDS_SHARE,
    Budget,
    take_turns,
)


@pytest.fixture
def calls() -> list[str]:
    """The names of the engines in the order in which they were called."""
    return []


def engine(calls: list[str], name: str) -> int:
    calls.append(name)
    return len(calls)


def timed(seconds: float, engines: int, budget: Budget, clock: FakeClock) -> list[int]:
    """Return the number of counted frames of each engine if a frame takes ``seconds``."""
    calls = [clock.taking(seconds, lambda: 0)] * engines
    return [len(each) for each in take_turns(calls, budget, [seconds] * engines)]


def test_every_second_round_is_in_reverse_order(calls: list[str]) -> None:
    take_turns([partial(engine, calls, name) for name in "abc"], Budget(0.0, rounds=3), [9.0] * 3)
    turns = [calls[i : i + FRAMES_PER_TURN + 1] for i in range(0, len(calls), FRAMES_PER_TURN + 1)]
    assert all(len(set(turn)) == 1 for turn in turns)
    assert [turn[0] for turn in turns] == list("abccbaabc")


def test_the_first_call_of_each_turn_is_not_counted(calls: list[str]) -> None:
    both = [partial(engine, calls, name) for name in "ab"]
    first, second = take_turns(both, Budget(0.0, rounds=2), [9.0, 9.0])
    turn = FRAMES_PER_TURN + 1

    def counted(number: int) -> list[int]:
        return list(range(number * turn + 2, (number + 1) * turn + 1))

    assert first == counted(0) + counted(3)
    assert second == counted(1) + counted(2)


def test_rounds_fill_their_share_of_the_time_and_end_in_it() -> None:
    clock = FakeClock()
    assert timed(0.1, 2, Budget(8.0, clock=clock), clock) == [6 * FRAMES_PER_TURN] * 2
    assert clock.now == pytest.approx(6.0)
    assert ROUNDS_SHARE * 8.0 == 6.0


def test_slow_engines_have_fewer_frames_a_turn() -> None:
    clock = FakeClock()
    # Two rounds of two engines in 12 seconds: a turn of three, the first of them not counted.
    assert timed(1.0, 2, Budget(16.0, clock=clock), clock) == [MIN_ROUNDS * 2] * 2
    assert clock.now == 12.0


def test_without_time_each_direction_has_a_round_of_one_frame() -> None:
    clock = FakeClock()
    assert timed(1.0, 2, Budget(0.0, clock=clock), clock) == [MIN_ROUNDS] * 2
    assert clock.now == MIN_ROUNDS * 2 * 2


def test_uncounted_calls_are_dropped_where_they_would_end_too_late() -> None:
    clock = FakeClock()
    budget = Budget(2.0, clock=clock)
    assert timed(5.0, 3, budget, clock) == [MIN_ROUNDS] * 3
    # 60 seconds with them; the budget's end is at 30.
    assert clock.now == MIN_ROUNDS * 3 * 5
    assert budget.left() == 2.0 + OVERHEAD_SECONDS - clock.now == 0.0


def test_engines_that_turn_out_slower_than_expected_have_fewer_frames() -> None:
    clock = FakeClock()
    (results,) = take_turns([clock.taking(2.0, lambda: 0)], Budget(20.0, clock=clock), [0.5])
    # Four frames and one in the first round leave 5 seconds for the second.
    assert len(results) == FRAMES_PER_TURN + 1
    assert clock.now == 14.0


def test_missing_time_is_reported_in_seconds() -> None:
    assert Budget(5.0).extended(2.5) == 8
    assert Budget(5.0).extended(2.5, share=0.25) == 15
