"""Quality of service from the words of a parameter file."""

from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
)

RELIABILITY = {
    "best_effort": ReliabilityPolicy.BEST_EFFORT,
    "reliable": ReliabilityPolicy.RELIABLE,
}
DURABILITY = {
    "volatile": DurabilityPolicy.VOLATILE,
    "transient_local": DurabilityPolicy.TRANSIENT_LOCAL,
}


def qos_profile(reliability: str, durability: str, depth: int) -> QoSProfile:
    """A keep-last profile; the words are the keys of ``RELIABILITY`` and ``DURABILITY``."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=RELIABILITY[reliability],
        durability=DURABILITY[durability],
    )


LATCHED = qos_profile("reliable", "transient_local", 1)
"""For what is said once and must reach those who come later."""

SENSOR = qos_profile("best_effort", "volatile", 1)
"""For what comes again soon, from publishers of either reliability."""
