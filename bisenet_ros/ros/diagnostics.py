"""Node status as diagnostic_msgs (REP 107), and why frames are lost, in the log."""

import re
from traceback import format_exception

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.impl.rcutils_logger import RcutilsLogger
from std_msgs.msg import Header

from bisenet_ros.errors import UserError, describe
from bisenet_ros.msg import SegmentationStats

_VALUES = [name for name in SegmentationStats.get_fields_and_field_types() if name != "header"]


def state_diagnosis(node: str, now: Time, state: str, failure: str) -> DiagnosticArray:
    """Return the status of a node that is not active: a warning, or an error if it failed to be.

    Args:
        node: its full name.
        now: the stamp.
        state: of its lifecycle.
        failure: why its latest transition failed; empty if it did not.
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
    """Return the status of an active node: an error or a warning if any, else frames per second.

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
        name=_name(node),
        message=message,
        hardware_id=stats.device,
        values=[KeyValue(key=name, value=_text(getattr(stats, name))) for name in _VALUES],
    )
    return DiagnosticArray(header=stats.header, status=[status])


def _name(node: str) -> str:
    return f"{node.strip('/')}: frames"


def _text(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


class FrameErrorLog:
    """Logs why frames are lost, and keeps the latest reason for the next report.

    A reason is logged when it first occurs; whatever follows, at most every 5 s.
    """

    def __init__(self, logger: RcutilsLogger) -> None:
        self._logger = logger
        self._logged: set[str] = set()
        self._latest = ""

    def frame_lost(self, error: Exception) -> None:
        """Log the message of ``error`` if a user can fix it, else its traceback."""
        explained = isinstance(error, (UserError, OSError))
        reason = f"frame lost: {describe(error) if explained else ''.join(format_exception(error))}"
        self._latest = reason
        # Sizes in it differ from frame to frame, and a line for each would fill the disk.
        kind = re.sub(r"\d+", "", reason)
        if kind not in self._logged:
            self._logged.add(kind)
            self._logger.error(reason)
        else:
            self._logger.error(reason, throttle_duration_sec=5.0)

    def take_latest(self) -> str:
        """Return why a frame was lost since the last call; empty if none was."""
        latest, self._latest = self._latest, ""
        return latest
