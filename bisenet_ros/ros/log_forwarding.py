"""What the folders without ROS tell Python's log, in the node's log."""

import logging

from rclpy.impl.rcutils_logger import RcutilsLogger


class RosHandler(logging.Handler):
    """Passes records on to a ROS logger, from any thread."""

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        message = self.format(record)
        # A call for each severity: rclpy refuses a second one from the same line.
        if record.levelno >= logging.ERROR:
            self._logger.error(message)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(message)
        elif record.levelno >= logging.INFO:
            self._logger.info(message)
        else:
            self._logger.debug(message)


def forward_log(logger: RcutilsLogger) -> None:
    """From now on ``logger`` says what this package tells Python's log, from INFO upwards."""
    ours = logging.getLogger("bisenet_ros")
    ours.addHandler(RosHandler(logger))
    ours.setLevel(logging.INFO)
