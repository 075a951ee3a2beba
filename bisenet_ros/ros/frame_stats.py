"""Frame counts and stage times since the activation."""

import math
import threading
from collections import deque
from dataclasses import astuple, dataclass, fields
from typing import NamedTuple

import numpy as np

from bisenet_ros.inference.segmenter import StageTimes
from bisenet_ros.msg import SegmentationStats

WINDOW = 100
"""Number of frames over which times are averaged."""

RATE_WINDOW_S = 10.0
"""Period over which the rate is computed [s]; longer if it has fewer than two frames."""


@dataclass(frozen=True, kw_only=True)
class FrameTimes(StageTimes):
    """Time of each stage of one frame [ms].

    SegmentationStats has fields of the same names.
    """

    decode_ms: float
    publish_ms: float


class _Processed(NamedTuple):
    at_s: float  # on a monotonic clock
    times: FrameTimes
    latency_ms: float


class FrameStats:
    """Frame counts and times, written by the executor's thread and the worker's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received = self._dropped = self._processed = self._rejected = 0
        self._frames: deque[_Processed] = deque(maxlen=WINDOW)

    def frame_received(self) -> None:
        """Count a frame; to be called before the worker gets it, so this count is never behind."""
        with self._lock:
            self._received += 1

    def frame_dropped(self) -> None:
        """Count a frame that a newer one replaced, or that exceeds ``max_rate``."""
        with self._lock:
            self._dropped += 1

    def frame_rejected(self) -> None:
        """Count a frame that could not be processed."""
        with self._lock:
            self._rejected += 1

    def frame_processed(self, now: float, times: FrameTimes, latency_ms: float) -> None:
        """Count a published frame.

        Args:
            now: end of publishing on a monotonic clock [s].
            times: of the stages.
            latency_ms: from the stamp in the image's header to ``now`` [ms]; NaN if the stamp
                cannot be used.
        """
        with self._lock:
            self._processed += 1
            self._frames.append(_Processed(now, times, latency_ms))

    def summary(self) -> str:
        """Return the counts in words."""
        with self._lock:
            return (
                f"{self._received} frames received, {self._processed} processed, "
                f"{self._dropped} dropped, {self._rejected} rejected"
            )

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
        at = [frame.at_s for frame in frames]
        recent = [time for time in at if now - time <= RATE_WINDOW_S]
        counted = recent if len(recent) > 1 else at[-2:]
        # Until now, not until the last frame: without frames the rate must fall.
        seconds = now - counted[0]
        message.fps = (len(counted) - 1) / seconds if seconds > 0 else 0.0
        means = np.mean([astuple(frame.times) for frame in frames], axis=0)
        for stage, mean in zip(fields(FrameTimes), means, strict=True):
            setattr(message, stage.name, float(mean))
        latencies = [each.latency_ms for each in frames if not math.isnan(each.latency_ms)]
        p50, p95 = np.percentile(latencies or [math.nan], (50, 95))
        message.latency_p50_ms, message.latency_p95_ms = float(p50), float(p95)
