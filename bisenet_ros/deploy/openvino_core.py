"""The process's only OpenVINO Core."""

from functools import cache

import openvino


@cache
def openvino_core() -> openvino.Core:
    """Return the process's only Core, which lives as long as the process.

    The CPU plugin of each Core installs a signal stack in the thread that first uses it, and
    restores the previous one when it ends. If two Cores do not end in reverse order, the thread
    keeps a freed stack, and Python's next signal handler crashes the process.
    """
    return openvino.Core()
