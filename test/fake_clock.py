"""A clock that tests advance explicitly."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class FakeClock:
    """A monotonic clock whose time ``now`` [s] advances only through ``taking``."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def taking(self, seconds: float, call: Callable[[], T]) -> Callable[[], T]:
        """Return ``call`` wrapped so that it advances the clock by ``seconds``."""

        def run() -> T:
            self.now += seconds
            return call()

        return run
