"""The latency that the stamp of an image gives, and why it may give none."""

import math

from builtin_interfaces.msg import Time

MAX_AGE_S = 3600.0
"""Older images were recorded, or stamped by another clock."""

MAX_AHEAD_S = 0.1
"""How far a synchronized clock may be ahead."""


def stamp_age_s(stamp: Time, now_ns: int) -> float:
    """Return the age of ``stamp`` [s] at the time ``now_ns`` [ns]."""
    stamp_ns: int = 10**9 * stamp.sec + stamp.nanosec
    return 1e-9 * (now_ns - stamp_ns)


def latency_ms(stamp: Time, now_ns: int) -> tuple[float, str]:
    """Return the age of ``stamp`` [ms] and "", or NaN and why the stamp cannot be used.

    Args:
        stamp: of an image's header.
        now_ns: time of the node's clock [ns].
    """
    age_s = stamp_age_s(stamp, now_ns)
    if not now_ns:
        return math.nan, "the node's clock is at 0: use_sim_time is true and nothing is on /clock"
    if not stamp.sec and not stamp.nanosec:
        return math.nan, "images are stamped 0: let the camera driver set header.stamp"
    if age_s > MAX_AGE_S:
        return math.nan, (
            f"images are stamped {age_s / 3600:.1f} h ago: for a bag or a simulator publish /clock "
            "(ros2 bag play --clock) and set use_sim_time to true, else synchronize the clocks"
        )
    if age_s < -MAX_AHEAD_S:
        return math.nan, (
            f"images are stamped {-age_s:.1f} s in the future: synchronize the clocks of camera "
            "and node, or set use_sim_time on both or neither"
        )
    return 1e3 * age_s, ""
