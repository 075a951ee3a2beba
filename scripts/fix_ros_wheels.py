"""Patch the ROS 2 wheels in this virtual environment so that packages build against them.

Run by scripts/make_env.sh with the environment's own Python. Idempotent.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import numpy as np

prefix = Path(sys.prefix)


def fix_cmake_exports() -> None:
    """Set the include folders of the message packages' CMake targets to this Python and NumPy.

    The wheels contain paths of the machine that built them, and CMake rejects targets whose
    include folders do not exist.
    """
    include = {
        r'/[^;"]*/include/python3\.\d+': sysconfig.get_path("include"),
        r'/[^;"]*/numpy/_?core/include': np.get_include(),
    }
    for export in prefix.glob("share/*/cmake/*rosidl_generator_pyExport.cmake"):
        text = original = export.read_text()
        for pattern, folder in include.items():
            text = re.sub(pattern, folder, text)
        if text != original:
            export.write_text(text)


def write_local_setup() -> None:
    """Write local_setup files, so that the environment is a prefix for colcon and the shell.

    They set only what is missing: Python finds modules through the virtual environment, and shared
    libraries through ros_wheels_bootstrapper, which is loaded at every start.
    """
    text = f"""# Written by scripts/fix_ros_wheels.py: the ROS 2 wheels as an ament prefix.
for _variable in AMENT_PREFIX_PATH CMAKE_PREFIX_PATH; do
  eval "_value=\\${{$_variable:-}}"
  case ":$_value:" in
    *":{prefix}:"*) ;;
    *) export "$_variable={prefix}${{_value:+:$_value}}" ;;
  esac
done
unset _variable _value
"""
    for shell in ("sh", "bash", "zsh"):
        (prefix / f"local_setup.{shell}").write_text(text)


fix_cmake_exports()
write_local_setup()
