"""Which messages match, and which are dropped."""

from typing import Any

import pytest

pytest.importorskip("rclpy")

from sensor_msgs.msg import Image

from bisenet_ros.ros.synchronizer import Synchronizer

MS = 10**6


def at(milliseconds: int) -> Image:
    message = Image()
    message.header.stamp.sec, rest = divmod(milliseconds, 1000)
    message.header.stamp.nanosec = rest * MS
    return message


def stamps(messages: dict[str, Any] | None) -> dict[str, int] | None:
    if messages is None:
        return None
    return {
        topic: message.header.stamp.sec * 1000 + message.header.stamp.nanosec // MS
        for topic, message in messages.items()
    }


def synchronizer(tolerance_ms: int = 0, depth: int = 5) -> Synchronizer:
    return Synchronizer(("label", "depth"), tolerance_ms * MS, depth)


def test_equal_stamps_match_whichever_comes_first() -> None:
    matches = synchronizer()
    assert matches.add("depth", at(1000)).messages is None
    assert matches.add("depth", at(1033)).messages is None
    assert stamps(matches.add("label", at(1000)).messages) == {"label": 1000, "depth": 1000}
    assert matches.add("label", at(1066)).messages is None
    assert stamps(matches.add("depth", at(1066)).messages) == {"label": 1066, "depth": 1066}


def test_one_topic_matches_alone() -> None:
    alone = Synchronizer(("label",), 0, 5)
    assert stamps(alone.add("label", at(1)).messages) == {"label": 1}


def test_three_topics_match_when_all_are_there() -> None:
    three = Synchronizer(("label", "depth", "confidence"), 0, 5)
    assert three.add("confidence", at(1)).messages is None
    assert three.add("label", at(1)).messages is None
    assert three.add("depth", at(1)).messages is not None


def test_the_nearest_within_the_tolerance_matches() -> None:
    matches = synchronizer(tolerance_ms=10)
    for stamp in (980, 995, 1004, 1011):
        assert matches.add("depth", at(stamp)).messages is None
    assert stamps(matches.add("label", at(1000)).messages) == {"label": 1000, "depth": 1004}
    assert matches.add("label", at(1022)).messages is None
    assert stamps(matches.add("depth", at(1032)).messages) == {"label": 1022, "depth": 1032}
    assert matches.add("label", at(1100)).messages is None
    assert matches.add("depth", at(1111)).messages is None


def test_labels_without_a_match_are_counted_once() -> None:
    matches = synchronizer(depth=2)
    dropped = [matches.add("label", at(stamp)).dropped for stamp in (1, 2, 3, 4)]
    assert dropped == [0, 0, 1, 1]
    found = matches.add("depth", at(4))
    assert stamps(found.messages) == {"label": 4, "depth": 4}
    assert found.dropped == 1  # that at 3, which came before
    assert [matches.add("depth", at(stamp)).dropped for stamp in (5, 6, 7, 8)] == [0, 0, 0, 0]


def test_stamps_that_jump_back_match_again() -> None:
    matches = synchronizer()
    for stamp in (5000, 1000, 1033):
        matches.add("depth", at(stamp))
        assert stamps(matches.add("label", at(stamp)).messages) == {"label": stamp, "depth": stamp}


def test_the_gap_between_stamps() -> None:
    matches = synchronizer(depth=3)
    assert matches.gap_ns("depth") is None
    matches.add("label", at(1000))
    assert matches.gap_ns("depth") is None
    matches.add("depth", at(900))
    matches.add("depth", at(1040))
    assert matches.gap_ns("depth") == 40 * MS
    for stamp in (1050, 1060, 1070):  # those of the time of the label have left
        matches.add("depth", at(stamp))
    assert matches.gap_ns("depth") == -50 * MS


def test_labels_wait_until_they_match() -> None:
    matches = synchronizer()
    for milliseconds in (1000, 1033, 1066):
        matches.add("label", at(milliseconds))
    matches.add("depth", at(900))
    assert matches.waiting == 3
    matches.add("depth", at(1033))
    assert matches.waiting == 1
