"""Report what does not arrive, why that may be, and when it arrives again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo

from bisenet_ros.ros.image_messages import CHOOSE_IMAGE_TOPIC

REPORT_PERIOD_S = 1.0
SILENT_REPORTS = 5
"""Number of reports without a message after which its absence is logged."""


class Logger(Protocol):
    """The part of rclpy's logger that an ``Alarm`` uses."""

    def warning(self, message: str, /) -> Any:
        """Log one line."""

    def info(self, message: str, /) -> Any:
        """Log one line."""


class Alarm:
    """A problem that is logged once it has lasted, when its reason changes, and when it is over.

    - ``reason``: the one logged last; empty while there is no problem.

    A reason counts when two successive reports give it: while DDS discovers the graph, the first
    may be wrong.

    Args:
        logger: of the node.
        over: logged when a problem that was logged is over.
    """

    def __init__(self, logger: Logger, over: str) -> None:
        self.reason = ""
        self._logger = logger
        self._over = over
        self._previous = ""

    def report(self, reason: str, problem: str) -> None:
        """Note ``reason``; once it counts, ``problem`` is logged with it."""
        if reason == self._previous != self.reason:
            self.reason = reason
            self._logger.warning(f"{problem}: {reason}")
        self._previous = reason

    def clear(self) -> None:
        """Note that there is no problem."""
        if self.reason:
            self._logger.info(self._over)
        self.reason = self._previous = ""


Diagnose = Callable[[Node, Subscription, QoSProfile], str]
"""Returns why nothing may arrive at a subscription with this QoS, and what to do about it."""


class TopicWatchdog:
    """Logs that nothing arrives; ``report`` is to be called every ``REPORT_PERIOD_S``.

    Args:
        node: has the subscription.
        subscription: what is watched.
        qos: its QoS.
        what: name of a message, such as "image".
        diagnose: finds the reason.
    """

    def __init__(
        self,
        node: Node,
        subscription: Subscription,
        qos: QoSProfile,
        what: str,
        diagnose: Diagnose,
    ) -> None:
        self._node = node
        self._subscription = subscription
        self._qos = qos
        self._what = what
        self._diagnose = diagnose
        self._alarm = Alarm(node.get_logger(), f"{what}s arrive on {subscription.topic_name}")
        self._received = 0
        self._silent = 0

    @property
    def reason(self) -> str:
        """Why nothing arrives; empty while something does, and until ``SILENT_REPORTS`` without."""
        return self._alarm.reason

    def report(self, received: int) -> None:
        """Compare ``received``, the messages since the activation, with the last call's."""
        # A latched message comes once.
        latched = self._qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
        silent = received == self._received and not (received and latched)
        self._received = received
        self._silent = self._silent + 1 if silent else 0
        if not silent:
            self._alarm.clear()
        elif self._silent >= SILENT_REPORTS - 1:  # the alarm needs the reason twice
            reason = self._diagnose(self._node, self._subscription, self._qos)
            seconds = self._silent * REPORT_PERIOD_S
            self._alarm.report(reason, f"no {self._what} for {seconds:.0f} s")


class ImageWatchdog(TopicWatchdog):
    """Logs that no image of the camera arrives; arguments as of ``TopicWatchdog``."""

    def __init__(self, node: Node, images: Subscription, qos: QoSProfile) -> None:
        super().__init__(node, images, qos, "image", diagnose_no_messages)


class ConditionWatchdog:
    """Logs a condition that has lasted; ``report`` is to be called every ``REPORT_PERIOD_S``.

    Args:
        logger: of the node.
        problem: what the condition leads to.
        over: logged when a condition that was logged is over.
    """

    def __init__(self, logger: Logger, problem: str, over: str) -> None:
        self._alarm = Alarm(logger, over)
        self._problem = problem
        self._reports = 0

    @property
    def reason(self) -> str:
        """The condition; empty without one, and until it has lasted for ``SILENT_REPORTS``."""
        return self._alarm.reason

    def report(self, reason: str) -> None:
        """Note the condition that is met now; empty without one."""
        self._reports = self._reports + 1 if reason else 0
        if not reason:
            self._alarm.clear()
        elif self._reports >= SILENT_REPORTS - 1:  # the alarm needs the reason twice
            self._alarm.report(reason, self._problem)


class CameraInfoWatchdog:
    """Logs that no camera_info arrives, though images do and someone listens to the node's own.

    Args:
        node: has the subscription.
        topic: absolute name of the camera's topic.
        sink: publishes camera_info at the size of the labels.
    """

    def __init__(self, node: Node, topic: str, sink: Publisher) -> None:
        self._node = node
        self._topic = topic
        self._sink = sink
        self._alarm = Alarm(node.get_logger(), f"camera_info arrives on {topic}")
        self._missing = 0

    def report(self, has_arrived: bool, images: int) -> None:
        """Note whether a camera_info has arrived, and the number of images received."""
        wanted = images and self._sink.get_subscription_count()
        if has_arrived or not wanted:
            self._missing = 0
            self._alarm.clear()
            return
        self._missing += 1
        if self._missing >= SILENT_REPORTS - 1:
            problem = f"{self._sink.topic_name} has a listener and nothing to publish"
            self._alarm.report(self._diagnose(), problem)

    def _diagnose(self) -> str:
        publishers = self._node.get_publishers_info_by_topic(self._topic)
        if publishers:
            return f"{_name(publishers[0])} publishes {self._topic}, but has sent nothing yet"
        return (
            f"nobody publishes {self._topic}: choose the camera's topic (launch file: "
            "camera_info:=TOPIC; else remap 'camera_info')"
        )


class ClockWatchdog:
    """Logs that simulated time is wanted and does not run."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._alarm = Alarm(node.get_logger(), "time arrives on /clock")

    def report(self) -> None:
        """Look at the node's clock."""
        if self._node.get_clock().now().nanoseconds:  # never 0 unless simulated
            self._alarm.clear()
        else:
            self._alarm.report(
                "start the simulator, or ros2 bag play --clock, or set use_sim_time to false",
                "use_sim_time is true and nothing arrives on /clock",
            )


def diagnose_no_messages(node: Node, subscription: Subscription, qos: QoSProfile) -> str:
    """Return why no image may arrive at ``subscription`` with ``qos``, and what to do about it."""
    topic = subscription.topic_name
    if not node.get_publishers_info_by_topic(topic):
        raw = topic.removesuffix("/compressed")
        sibling, transport = (raw, "raw") if raw != topic else (f"{raw}/compressed", "compressed")
        if node.get_publishers_info_by_topic(sibling):
            return (
                f"nobody publishes {topic}, but somebody {sibling}: set input_transport to "
                f"'{transport}'"
            )
    return diagnose_silence(node, subscription, qos, _IMAGE_REMEDIES)


@dataclass(frozen=True)
class Remedies:
    """What to do about a topic on which nothing arrives, by the reason."""

    nobody: str
    wrong_type: str
    wrong_qos: str
    silent: str


_IMAGE_REMEDIES = Remedies(
    nobody=f"choose the camera's topic {CHOOSE_IMAGE_TOPIC}",
    wrong_type=f"choose a topic of raw images {CHOOSE_IMAGE_TOPIC}, or, for one that ends in "
    "/compressed, its name without that, and set input_transport to 'compressed'",
    wrong_qos="set image_qos.reliability and image_qos.durability to match",
    silent="it may be paused, or its images are too large for the transport: start the camera "
    "driver with the Fast DDS profile config/fastdds_images.xml, see there",
)


def diagnose_silence(
    node: Node, subscription: Subscription, qos: QoSProfile, remedies: Remedies
) -> str:
    """Return why nothing may arrive at ``subscription`` with ``qos``, with the remedy for that."""
    topic = subscription.topic_name
    message: Any = subscription.msg_type
    wanted = f"{message.__module__.split('.')[0]}/msg/{message.__name__}"
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        return f"nobody publishes {topic}: {remedies.nobody}"
    for publisher in publishers:
        if publisher.topic_type != wanted:
            return (
                f"{_name(publisher)} publishes {topic} as {publisher.topic_type}, and the node "
                f"listens for {wanted}: {remedies.wrong_type}"
            )
        compatibility, reason = qos_check_compatible(publisher.qos_profile, qos)
        if compatibility == QoSCompatibility.ERROR:
            return (
                f"{_name(publisher)} publishes {topic} with a QoS that does not match "
                f"({reason.strip()}): {remedies.wrong_qos}"
            )
    return f"{_name(publishers[0])} publishes {topic} with a QoS that matches: {remedies.silent}"


def _name(publisher: TopicEndpointInfo) -> str:
    """Return the node's name, which DDS discovers after the publisher."""
    unknown = publisher.node_name.startswith("_NODE_NAME_UNKNOWN_")
    return "another node" if unknown else publisher.node_name
