"""Node status as diagnostic_msgs (REP 107)."""

from collections.abc import Mapping

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from bisenet_ros.msg import SegmentationStats

_VALUES = [name for name in SegmentationStats.get_fields_and_field_types() if name != "header"]


def diagnostic_array(now: Time, *statuses: DiagnosticStatus) -> DiagnosticArray:
    """Return the message for /diagnostics, stamped ``now``."""
    return DiagnosticArray(header=Header(stamp=now), status=statuses)


def state_diagnosis(node: str, state: str, failure: str) -> DiagnosticStatus:
    """Return the status of a node that is not active: WARN, or ERROR after a failed transition.

    Args:
        node: fully qualified name.
        state: label of the lifecycle state.
        failure: why the latest transition failed; empty if it succeeded.
    """
    return DiagnosticStatus(
        level=DiagnosticStatus.ERROR if failure else DiagnosticStatus.WARN,
        name=_name(node),
        message=failure or f"{state}: no frames",
        values=[KeyValue(key="state", value=state)],
    )


def frames_diagnosis(
    node: str, camera: str, stats: SegmentationStats, *, error: str, warning: str, idle: str
) -> DiagnosticStatus:
    """Return the status of a camera of an active segmentation node.

    Args:
        stats: current statistics.
        node, camera, error, warning, idle: see ``active_diagnosis``.
    """
    values = {name: getattr(stats, name) for name in _VALUES}
    status = active_diagnosis(node, values, error, warning, idle, camera)
    status.hardware_id = stats.device
    return status


def active_diagnosis(
    node: str,
    values: Mapping[str, object],
    error: str,
    warning: str,
    idle: str = "",
    camera: str = "",
) -> DiagnosticStatus:
    """Return the status of an active node: ERROR, WARN, or OK with the frames per second.

    Args:
        node: fully qualified name.
        values: by name; ``fps`` is one of them.
        error: why a frame was lost since the last report; empty if none was.
        warning: why nothing is published, or why stamps cannot be used; empty if neither.
        idle: why nothing is wanted, shown instead of the frames per second; empty if it is.
        camera: its name; "" for the one camera of a node.
    """
    level, message = DiagnosticStatus.OK, idle or f"{values['fps']:.1f} frames/s"
    if warning:
        level, message = DiagnosticStatus.WARN, warning
    if error:
        level, message = DiagnosticStatus.ERROR, error
    return DiagnosticStatus(
        level=level,
        name=_name(node, camera),
        message=message,
        values=[KeyValue(key=key, value=_text(value)) for key, value in values.items()],
    )


def _name(node: str, camera: str = "") -> str:
    return f"{node.strip('/')}: {camera or 'frames'}"


def _text(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
