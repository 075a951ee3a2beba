"""Logging of lost frames, at a bounded rate."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from traceback import walk_tb
from typing import Any, Protocol

from bisenet_ros.errors import EXPECTED, UserError, describe, describe_bug

SUMMARY_PERIOD_S = 60.0
"""Time between two log lines on errors of one kind."""

_Kind = tuple[tuple[type[BaseException], str, int], ...]


class Logger(Protocol):
    """The part of rclpy's logger that ``FrameErrorLog`` uses."""

    def error(self, message: str, /) -> Any:
        """Log one line."""


@dataclass
class _Lost:
    """Frames lost by one kind of error since its latest line in the log."""

    logged_s: float
    count: int = 0
    latest: str = ""


class FrameErrorLog:
    """Logs the first error of each kind at once, then a count every ``SUMMARY_PERIOD_S``.

    The kind is the exception's type and the line of code that raised it. It is not taken from the
    text, which contains what the sender of the image chose.

    Args:
        logger: gets one message a kind and period, of at most ``errors.MAX_MESSAGE`` characters
            and a few words.
        clock: monotonic [s].
    """

    def __init__(self, logger: Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._kinds: dict[_Kind, _Lost] = {}
        self._latest = ""

    def frame_lost(self, error: Exception) -> None:
        """Note ``error``: its message if a user can fix it, else its traceback."""
        explained = isinstance(error, EXPECTED)
        reason = f"frame lost: {describe(error) if explained else describe_bug(error)}"
        self._latest = reason
        kind = _kind(error)
        lost = self._kinds.get(kind)
        if lost is None:
            self._kinds[kind] = _Lost(self._clock())
            self._logger.error(reason)
        else:
            lost.count += 1
            lost.latest = reason

    def summarize(self) -> None:
        """Log how many more frames were lost, for each kind whose period is over."""
        now = self._clock()
        for lost in self._kinds.values():
            if lost.count and now - lost.logged_s >= SUMMARY_PERIOD_S:
                seconds = now - lost.logged_s
                self._logger.error(f"{lost.count} more in {seconds:.0f} s, the last {lost.latest}")
                lost.logged_s, lost.count = now, 0

    def take_latest(self) -> str:
        """Return why a frame was lost since the last call; empty if none was."""
        latest, self._latest = self._latest, ""
        return latest


def _kind(error: BaseException) -> _Kind:
    """Return where ``error`` and the errors of this package that caused it were raised."""
    places = []
    at: BaseException | None = error
    while at is not None:
        frames = [(frame.f_code.co_filename, line) for frame, line in walk_tb(at.__traceback__)]
        places.append((type(at), *(frames[-1] if frames else ("", 0))))
        # Beyond them damaged data fails at a hundred places of a library.
        at = at.__cause__ if isinstance(at.__cause__, UserError) else None
    return tuple(places)
