"""Frame counts and rate since the activation."""

import threading
from collections import deque

WINDOW = 100
"""Number of frames over which rate and times are averaged."""

RATE_WINDOW_S = 10.0
"""Period over which the rate is computed [s]; longer if it has fewer than two frames."""


class FrameCounts:
    """Frame counts, written by the executor's thread and the worker's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received = self._dropped = self._processed = self._rejected = 0
        self._published_s: deque[float] = deque(maxlen=WINDOW)

    @property
    def received(self) -> int:
        """Number of frames received."""
        return self._received

    def frame_received(self) -> None:
        """Count a frame; to be called before the worker gets it, so this count is never behind."""
        with self._lock:
            self._received += 1

    def frame_dropped(self) -> None:
        """Count a frame without fault that is not processed, such as one that a newer replaces."""
        with self._lock:
            self._dropped += 1

    def frame_rejected(self) -> None:
        """Count a frame that could not be processed."""
        with self._lock:
            self._rejected += 1

    def frame_published(self, now: float) -> None:
        """Count a processed frame.

        Args:
            now: end of publishing on a monotonic clock [s].
        """
        with self._lock:
            self._processed += 1
            self._published_s.append(now)

    def summary(self) -> str:
        """Return the counts in words."""
        with self._lock:
            return (
                f"{self._received} frames received, {self._processed} processed, "
                f"{self._dropped} dropped, {self._rejected} rejected"
            )

    def values(self, now: float) -> dict[str, int | float]:
        """Return the counts, and the rate as ``fps``; ``now`` as in ``frame_published``."""
        with self._lock:
            return {
                "received": self._received,
                "processed": self._processed,
                "dropped": self._dropped,
                "rejected": self._rejected,
                "fps": self._rate(now),
            }

    def _rate(self, now: float) -> float:
        at = list(self._published_s)
        if not at:
            return 0.0
        recent = [time for time in at if now - time <= RATE_WINDOW_S]
        counted = recent if len(recent) > 1 else at[-2:]
        # Until now, not until the last frame: without frames the rate must fall.
        seconds = now - counted[0]
        return (len(counted) - 1) / seconds if seconds > 0 else 0.0
