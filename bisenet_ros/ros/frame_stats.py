"""Counts and times of the frames since the node became active."""

import threading
from collections import deque
from dataclasses import astuple, dataclass, fields

import numpy as np

from bisenet_ros.msg import SegmentationStats

WINDOW = 100
"""Frames over which times are taken."""

RATE_WINDOW_S = 10.0
"""Seconds over which the rate is taken, at most; two frames where they are longer apart."""


@dataclass(frozen=True)
class FrameTimes:
    """Times of one frame in milliseconds, in the order of the message's fields."""

    decode_ms: float
    resize_ms: float
    inference_ms: float
    postprocess_ms: float
    publish_ms: float
    latency_ms: float


class FrameStats:
    """Written by the executor's thread and the worker, read by the worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received = self._dropped = self._processed = self._rejected = 0
        self._frames: deque[tuple[float, FrameTimes]] = deque(maxlen=WINDOW)

    def frame_received(self) -> None:
        """Count a frame; before the worker can have it, so that no other count is ahead of it."""
        with self._lock:
            self._received += 1

    def frame_dropped(self) -> None:
        """Count a waiting frame that a newer one replaced, or one too many for ``max_rate``."""
        with self._lock:
            self._dropped += 1

    def frame_rejected(self) -> None:
        """Count a frame that could not be processed."""
        with self._lock:
            self._rejected += 1

    def frame_processed(self, now: float, times: FrameTimes) -> None:
        """Count a published frame; ``now`` in seconds of a monotonic clock."""
        with self._lock:
            self._processed += 1
            self._frames.append((now, times))

    def fill(self, message: SegmentationStats, now: float) -> None:
        """Set the message's counts, rates and times; ``now`` as in ``frame_processed``."""
        with self._lock:
            message.received = self._received
            message.processed = self._processed
            message.dropped = self._dropped
            message.rejected = self._rejected
            frames = list(self._frames)
        if not frames:
            return
        at = [time for time, _ in frames]
        recent = [time for time in at if now - time <= RATE_WINDOW_S]
        counted = recent if len(recent) > 1 else at[-2:]
        # Until now, and not until the last frame: after it the rate must fall.
        seconds = now - counted[0]
        message.fps = (len(counted) - 1) / seconds if seconds > 0 else 0.0
        table = np.array([astuple(times) for _, times in frames])
        means = zip(fields(FrameTimes), table.mean(axis=0), strict=True)
        for stage, mean in list(means)[:-1]:  # the last is the latency
            setattr(message, stage.name, float(mean))
        p50, p95 = np.percentile(table[:, -1], (50, 95))
        message.latency_p50_ms, message.latency_p95_ms = float(p50), float(p95)
