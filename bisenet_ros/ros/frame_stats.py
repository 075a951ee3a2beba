"""Frame counts and stage times since the activation."""

import math
from collections import deque
from dataclasses import astuple, dataclass, fields
from typing import NamedTuple

import numpy as np

from bisenet_ros.inference.segmenter import StageTimes
from bisenet_ros.msg import SegmentationStats
from bisenet_ros.ros.frame_counts import WINDOW, FrameCounts


@dataclass(frozen=True, kw_only=True)
class FrameTimes(StageTimes):
    """Time of each stage of one frame [ms].

    SegmentationStats has fields of the same names.
    """

    decode_ms: float
    publish_ms: float


class _Times(NamedTuple):
    stages: FrameTimes
    latency_ms: float


class FrameStats(FrameCounts):
    """Frame counts and times, written by the executor's thread and the worker's."""

    def __init__(self) -> None:
        super().__init__()
        self._times: deque[_Times] = deque(maxlen=WINDOW)

    def frame_processed(self, now: float, times: FrameTimes, latency_ms: float) -> None:
        """Count a published frame.

        Args:
            now: end of publishing on a monotonic clock [s].
            times: of the stages.
            latency_ms: from the stamp in the image's header to ``now`` [ms]; NaN if the stamp
                cannot be used.
        """
        with self._lock:
            self._times.append(_Times(times, latency_ms))
        self.frame_published(now)

    def fill(self, message: SegmentationStats, now: float) -> None:
        """Set the message's counts, rates and times; ``now`` as in ``frame_processed``."""
        for name, value in self.values(now).items():
            setattr(message, name, value)
        with self._lock:
            frames = list(self._times)
        if not frames:
            return
        means = np.mean([astuple(frame.stages) for frame in frames], axis=0)
        for stage, mean in zip(fields(FrameTimes), means, strict=True):
            setattr(message, stage.name, float(mean))
        message.inference_p50_ms = float(np.median([each.stages.inference_ms for each in frames]))
        latencies = [each.latency_ms for each in frames if not math.isnan(each.latency_ms)]
        p50, p95 = np.percentile(latencies or [math.nan], (50, 95))
        message.latency_p50_ms, message.latency_p95_ms = float(p50), float(p95)
