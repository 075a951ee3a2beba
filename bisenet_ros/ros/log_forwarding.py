"""Forward Python logging to the ROS logger."""

import logging

from rclpy.impl.rcutils_logger import RcutilsLogger

from bisenet_ros.errors import describe


class RosHandler(logging.Handler):
    """Passes records on to a ROS logger, from any thread.

    At most ``errors.MAX_MESSAGE`` characters of each, control characters escaped.
    """

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        message = describe(self.format(record))
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
    """Have ``logger`` repeat what this package logs through ``logging``, from INFO upwards."""
    ours = logging.getLogger("bisenet_ros")
    ours.addHandler(RosHandler(logger))
    ours.setLevel(logging.INFO)
