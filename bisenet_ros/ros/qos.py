"""Quality of service from the words of a parameter file."""

from typing import Any

from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.subscription import Subscription

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


def explain_silence(node: Node, subscription: Subscription, qos: QoSProfile) -> str:
    """Why nothing may arrive at ``subscription`` with ``qos``, and what to do about it."""
    topic = subscription.topic_name
    message: Any = subscription.msg_type
    wanted = f"{message.__module__.split('.')[0]}/msg/{message.__name__}"
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        raw = topic.removesuffix("/compressed")
        sibling, transport = (raw, "raw") if raw != topic else (f"{raw}/compressed", "compressed")
        if node.get_publishers_info_by_topic(sibling):
            return (
                f"nobody publishes {topic}, but somebody {sibling}: set input_transport to "
                f"'{transport}'"
            )
        return f"nobody publishes {topic}: remap 'image' to the camera's topic"
    for publisher in publishers:
        if publisher.topic_type != wanted:
            return (
                f"{publisher.node_name} publishes {topic} as {publisher.topic_type}, and the node "
                f"listens for {wanted}: remap 'image' to a raw image topic, or, for the one that "
                "ends in /compressed, to its name without that, and set input_transport to "
                "'compressed'"
            )
        compatibility, reason = qos_check_compatible(publisher.qos_profile, qos)
        if compatibility == QoSCompatibility.ERROR:
            return (
                f"{publisher.node_name} publishes {topic} with a QoS that does not match "
                f"({reason.strip()}): set image_qos.reliability and image_qos.durability to its own"
            )
    return (
        f"{publishers[0].node_name} publishes {topic} with a QoS that matches: it may be paused, "
        "or its images are too large for the transport: start the camera driver with Fast DDS's "
        "profile config/fastdds_images.xml, see there"
    )
