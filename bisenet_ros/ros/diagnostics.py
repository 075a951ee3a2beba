"""How the node is, in the form that monitors of a robot gather (REP-107)."""

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from bisenet_ros.msg import SegmentationStats

_VALUES = (
    "model",
    "backend",
    "device",
    "precision",
    "width",
    "height",
    "fps",
    "latency_p95_ms",
    "received",
    "processed",
    "dropped",
    "rejected",
)


def diagnostics(node: str, stats: SegmentationStats, error: str, warning: str) -> DiagnosticArray:
    """One status: an error or a warning if there is one, else how many frames a second.

    Args:
        node: its full name.
        stats: of now, whose stamp is taken.
        error: why a frame was lost since the last report; empty if none was.
        warning: why no image comes; empty if one does.
    """
    level, message = DiagnosticStatus.OK, f"{stats.fps:.1f} frames/s"
    if warning:
        level, message = DiagnosticStatus.WARN, warning
    if error:
        level, message = DiagnosticStatus.ERROR, error
    status = DiagnosticStatus(
        level=level,
        name=f"{node.strip('/')}: frames",
        message=message,
        hardware_id=stats.device,
        values=[KeyValue(key=name, value=_text(getattr(stats, name))) for name in _VALUES],
    )
    return DiagnosticArray(header=stats.header, status=[status])


def _text(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
