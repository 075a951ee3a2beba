"""Latency from stamps, and stamps that give none."""

import math

import pytest

pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time

from bisenet_ros.ros.stamps import latency_ms

NOW_NS = 1_700_000_000_250_000_000


@pytest.mark.parametrize("age_s", [0.0, 0.25, 3600.0, -0.1])
def test_latency_is_the_age_of_the_stamp(age_s: float) -> None:
    stamped = NOW_NS - round(1e9 * age_s)
    stamp = Time(sec=stamped // 10**9, nanosec=stamped % 10**9)
    latency, problem = latency_ms(stamp, NOW_NS)
    assert latency == pytest.approx(1e3 * age_s, abs=0.01)
    assert problem == ""


@pytest.mark.parametrize(
    ("stamp", "now_ns", "words"),
    [
        (Time(), NOW_NS, "images are stamped 0: let the camera driver"),
        (Time(sec=1_699_996_400), NOW_NS, "images are stamped 1.0 h ago"),
        (Time(sec=-5), NOW_NS, "h ago"),
        (Time(sec=1_700_000_001), NOW_NS, "images are stamped 0.8 s in the future"),
        (Time(sec=1_700_000_000), 0, "clock is at 0: use_sim_time is true"),
        (Time(), 0, "clock is at 0"),
    ],
)
def test_a_stamp_that_gives_no_latency(stamp: Time, now_ns: int, words: str) -> None:
    latency, problem = latency_ms(stamp, now_ns)
    assert math.isnan(latency)
    assert words in problem
