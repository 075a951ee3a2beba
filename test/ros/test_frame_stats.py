"""Counts, rates and percentiles of the statistics message."""

import math
from dataclasses import fields, replace

import pytest

pytest.importorskip("rclpy")

from bisenet_ros.msg import SegmentationStats

from bisenet_ros.ros.diagnostics import frames_diagnosis
from bisenet_ros.ros.frame_stats import WINDOW, FrameStats, FrameTimes

TIMES = FrameTimes(
    decode_ms=1.0, resize_ms=2.0, inference_ms=3.0, postprocess_ms=4.0, publish_ms=5.0
)


def test_each_stage_is_in_the_message_and_in_diagnostics() -> None:
    stages = {field.name for field in fields(FrameTimes)}
    message = SegmentationStats(**dict.fromkeys(stages, 1.5))
    status = frames_diagnosis("/node", "", message, error="", warning="", idle="")
    shown = {value.key for value in status.values if value.value == "1.5"}
    assert shown == stages
    times = {name for name in message.get_fields_and_field_types() if name.endswith("_ms")}
    assert times - stages == {"inference_p50_ms", "latency_p50_ms", "latency_p95_ms"}


def test_median_of_inference() -> None:
    statistics = FrameStats()
    for inference_ms in (9.0, 1.0, 2.0):
        statistics.frame_processed(0.0, replace(TIMES, inference_ms=inference_ms), 10.0)
    message = filled(statistics)
    assert (message.inference_ms, message.inference_p50_ms) == (4.0, 2.0)


def filled(statistics: FrameStats, now: float = 0.0) -> SegmentationStats:
    message = SegmentationStats()
    statistics.fill(message, now)
    return message


def test_before_the_first_frame_all_is_zero() -> None:
    message = filled(FrameStats())
    assert message == SegmentationStats()


def test_counts_and_times() -> None:
    statistics = FrameStats()
    for _ in range(7):
        statistics.frame_received()
    statistics.frame_dropped()
    statistics.frame_rejected()
    for at in range(5):  # one every half second, with latencies 10, 20, ... 50
        statistics.frame_processed(100 + at / 2, TIMES, 10.0 * (at + 1))
    message = filled(statistics, now=102.0)
    counts = (message.received, message.dropped, message.rejected, message.processed)
    assert counts == (7, 1, 1, 5)
    assert message.fps == pytest.approx(2.0)
    assert (message.decode_ms, message.resize_ms, message.inference_ms) == (1, 2, 3)
    assert (message.postprocess_ms, message.publish_ms) == (4, 5)
    assert message.latency_p50_ms == pytest.approx(30)
    assert message.latency_p95_ms == pytest.approx(48)
    # The camera has died since.
    assert filled(statistics, now=140.0).fps == pytest.approx(1 / 38.5)
    # It lives again, and what was before does not count.
    for at in range(11):
        statistics.frame_processed(700 + at / 10, TIMES, 10.0)
    assert filled(statistics, now=701.0).fps == pytest.approx(10)


def test_only_the_latest_frames_count_for_times() -> None:
    statistics = FrameStats()
    for at in range(3 * WINDOW):
        statistics.frame_processed(float(at), TIMES, 1000.0 if at < 2 * WINDOW else 10.0)
    message = filled(statistics, now=3.0 * WINDOW - 1)
    assert message.processed == 3 * WINDOW
    assert message.latency_p95_ms == pytest.approx(10)
    assert message.fps == pytest.approx(1.0)


def test_latency_is_that_of_frames_with_a_stamp_that_can_be_used() -> None:
    statistics = FrameStats()
    statistics.frame_processed(0.0, TIMES, math.nan)
    message = filled(statistics)
    assert math.isnan(message.latency_p50_ms)
    assert math.isnan(message.latency_p95_ms)
    assert message.decode_ms == 1
    statistics.frame_processed(1.0, TIMES, 10.0)
    assert filled(statistics).latency_p50_ms == pytest.approx(10)
    assert statistics.summary() == "0 frames received, 2 processed, 0 dropped, 0 rejected"
