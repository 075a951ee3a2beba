"""Forwarding of Python logging to ROS."""

import logging
from collections.abc import Iterator

import pytest
import rclpy.logging

from bisenet_ros.errors import MAX_MESSAGE
from bisenet_ros.ros.log_forwarding import forward_log


@pytest.fixture
def source() -> Iterator[logging.Logger]:
    """A logger of the package, whose records a ROS logger gets."""
    package = logging.getLogger("bisenet_ros")
    before = package.handlers[:], package.level
    forward_log(rclpy.logging.get_logger("python_log_test"))
    yield logging.getLogger("bisenet_ros.inference.engine_cache")
    package.handlers[:], package.level = before


def test_records_have_their_severity(
    source: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(2):  # rclpy refuses a second severity from one place
        source.error("e%d", number)
        source.warning("w%d", number)
        source.info("i%d", number)
        source.debug("not wanted")
    lines = [line for line in capfd.readouterr().err.splitlines() if "python_log_test" in line]
    found = [(line.split("]")[0].strip("["), line.rsplit(maxsplit=1)[1]) for line in lines]
    once = [("ERROR", "e"), ("WARN", "w"), ("INFO", "i")]
    assert found == [(level, f"{letter}{n}") for n in range(2) for level, letter in once]


def test_long_records_are_shortened_and_escaped(
    source: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    source.info("\x1b[2J%s", "x" * 10**6)
    line = capfd.readouterr().err
    assert len(line) < MAX_MESSAGE + 100
    assert "\\x1b[2Jxxx" in line
    assert "\x1b[2J" not in line
