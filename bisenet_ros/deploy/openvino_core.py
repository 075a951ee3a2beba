"""OpenVINO's entry point, of which a process has one."""

from functools import cache

import openvino


@cache
def openvino_core() -> openvino.Core:
    """Return the process's only Core, which lives as long as the process.

    The CPU plugin of each Core installs a signal stack in the thread that first uses it, and puts
    back what it found when it ends. Where two do not end in the reverse order, the thread is left
    with a stack that is gone, and Python's next signal handler crashes the process.
    """
    return openvino.Core()
