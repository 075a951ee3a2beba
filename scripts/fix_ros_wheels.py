"""Makes the ROS 2 wheels in this virtual environment fit to build against.

Run by scripts/make_env.sh with the environment's own Python. Safe to run twice.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import numpy as np

prefix = Path(sys.prefix)


def fix_cmake_exports() -> None:
    """Give the message packages' CMake targets the include folders of this Python and NumPy.

    The wheels name those of the machine that built them, and CMake refuses a target whose include
    folders do not exist.
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
    """Make the environment a prefix that colcon recognizes and that can be sourced.

    Only what the wheels do not do by themselves: Python finds its modules by the virtual
    environment, and the shared libraries by the ros_wheels_bootstrapper that every start loads.
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
