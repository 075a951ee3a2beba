"""The request to end a run between two iterations, by ctrl-C or SIGTERM."""

import signal
from types import FrameType


class GracefulStop:
    """Remembers ctrl-C and SIGTERM, for a run that ends after its iteration.

    The second one raises KeyboardInterrupt at once, unless ``ignore_repeats``: torchrun passes on
    a ctrl-C that the terminal has sent to all processes already, and kills those that take too
    long.
    """

    def __init__(self, *, ignore_repeats: bool) -> None:
        self._ignore_repeats = ignore_repeats
        self._requested = False

    def __call__(self) -> bool:
        """Return whether one has come."""
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
