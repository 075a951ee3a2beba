"""Node status as diagnostic_msgs (REP 107)."""

from collections.abc import Mapping

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from bisenet_ros.msg import SegmentationStats

_VALUES = [name for name in SegmentationStats.get_fields_and_field_types() if name != "header"]


def state_diagnosis(node: str, now: Time, state: str, failure: str) -> DiagnosticArray:
    """Return the status of a node that is not active: WARN, or ERROR after a failed transition.

    Args:
        node: fully qualified name.
        now: stamp.
        state: label of the lifecycle state.
        failure: why the latest transition failed; empty if it succeeded.
    """
    status = DiagnosticStatus(
        level=DiagnosticStatus.ERROR if failure else DiagnosticStatus.WARN,
        name=_name(node),
        message=failure or f"{state}: no frames",
        values=[KeyValue(key="state", value=state)],
    )
    return DiagnosticArray(header=Header(stamp=now), status=[status])


def frames_diagnosis(
    node: str, stats: SegmentationStats, error: str, warning: str
) -> DiagnosticArray:
    """Return the status of an active node: ERROR, WARN, or OK with the frames per second.

    Args:
        node: fully qualified name.
        stats: current statistics; their stamp is the message's.
        error: why a frame was lost since the last report; empty if none was.
        warning: why no image arrives, or why stamps cannot be used; empty if neither.
    """
    values = {name: getattr(stats, name) for name in _VALUES}
    array = active_diagnosis(node, stats.header.stamp, values, error, warning)
    array.status[0].hardware_id = stats.device
    return array


def active_diagnosis(
    node: str, now: Time, values: Mapping[str, object], error: str, warning: str
) -> DiagnosticArray:
    """Return the status of an active node: ERROR, WARN, or OK with the frames per second.

    Args:
        node: fully qualified name.
        now: stamp.
        values: by name; ``fps`` is one of them.
        error: why a frame was lost since the last report; empty if none was.
        warning: why nothing is published; empty if something is.
    """
    level, message = DiagnosticStatus.OK, f"{values['fps']:.1f} frames/s"
    if warning:
        level, message = DiagnosticStatus.WARN, warning
    if error:
        level, message = DiagnosticStatus.ERROR, error
    status = DiagnosticStatus(
        level=level,
        name=_name(node),
        message=message,
        values=[KeyValue(key=name, value=_text(value)) for name, value in values.items()],
    )
    return DiagnosticArray(header=Header(stamp=now), status=[status])


def _name(node: str) -> str:
    return f"{node.strip('/')}: frames"


def _text(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
