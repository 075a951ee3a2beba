"""Engines take turns: equal numbers of calls, every second round backwards."""

from functools import partial

import pytest

from bisenet_ros.inference.benchmark.turns import FRAMES_PER_TURN, MIN_ROUNDS, Length, take_turns


@pytest.fixture
def calls() -> list[str]:
    """The names of the engines in the order in which they were called."""
    return []


def engine(calls: list[str], name: str) -> int:
    calls.append(name)
    return len(calls)


def test_every_second_round_goes_backwards(calls: list[str]) -> None:
    take_turns([partial(engine, calls, name) for name in "abc"], Length(0.0, rounds=3))
    turns = [calls[i : i + FRAMES_PER_TURN + 1] for i in range(0, len(calls), FRAMES_PER_TURN + 1)]
    assert all(len(set(turn)) == 1 for turn in turns)
    assert [turn[0] for turn in turns] == list("abccbaabc")


def test_the_first_call_of_each_turn_is_not_counted(calls: list[str]) -> None:
    first, second = take_turns([partial(engine, calls, name) for name in "ab"], Length(0.0, 2))
    turn = FRAMES_PER_TURN + 1

    def counted(number: int) -> list[int]:
        return list(range(number * turn + 2, (number + 1) * turn + 1))

    assert first == counted(0) + counted(3)
    assert second == counted(1) + counted(2)


def test_without_time_each_direction_has_a_round(calls: list[str]) -> None:
    take_turns([partial(engine, calls, name) for name in "ab"], Length(0.0))
    assert len(calls) == MIN_ROUNDS * 2 * (FRAMES_PER_TURN + 1)


def test_rounds_go_on_until_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    (results,) = take_turns([lambda: 0], Length(5.0))
    # The clock was asked for the start, and from the second round's end on.
    assert len(results) == (MIN_ROUNDS + 4) * FRAMES_PER_TURN
