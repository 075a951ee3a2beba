"""Graceful stop of a run on ctrl-C or SIGTERM."""

import signal
from types import FrameType


class GracefulStop:
    """Records SIGINT and SIGTERM, so that a run can stop after the current iteration.

    Args:
        ignore_repeats: If False, a second signal raises KeyboardInterrupt at once. Set it under
            torchrun, which forwards a ctrl-C that the terminal has already sent to all processes,
            and kills those that take too long.
    """

    def __init__(self, *, ignore_repeats: bool) -> None:
        self._ignore_repeats = ignore_repeats
        self._requested = False

    def __call__(self) -> bool:
        """Return whether a signal was received."""
        return self._requested

    def __enter__(self) -> "GracefulStop":
        signals = (signal.SIGINT, signal.SIGTERM)
        self._before = {number: signal.signal(number, self._request) for number in signals}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, signum: int, frame: FrameType | None) -> None:
        if self._requested and not self._ignore_repeats:
            raise KeyboardInterrupt
        self._requested = True
