"""Time that passes only where a test says so."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class FakeClock:
    """A monotonic clock: ``now``, in seconds, grows by what calls are said to take."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def taking(self, seconds: float, call: Callable[[], T]) -> Callable[[], T]:
        """Return ``call``, which takes ``seconds`` of this clock's time."""

        def run() -> T:
            self.now += seconds
            return call()

        return run
