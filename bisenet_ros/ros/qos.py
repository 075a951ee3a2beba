"""Quality of service (QoS) profiles, by name."""

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
    """Return a keep-last profile.

    Args:
        reliability: key of ``RELIABILITY``.
        durability: key of ``DURABILITY``.
        depth: of the queue [messages].
    """
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=RELIABILITY[reliability],
        durability=DURABILITY[durability],
    )


LATCHED = qos_profile("reliable", "transient_local", 1)
"""For messages that are published once and must reach late joiners."""

SENSOR = qos_profile("best_effort", "volatile", 1)
"""For messages that repeat, from publishers of either reliability."""
