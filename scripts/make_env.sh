#!/usr/bin/env bash
# Create .venv with all dependencies of bisenet_ros, on top of a sourced ROS 2 if there is one.
#   PYTHON  interpreter to use
#   TORCH   arguments of `pip install` for torch (requirements/README.md); empty to install none
set -euo pipefail
cd "$(dirname "$0")/.."

# Deactivate .venv, which must not be based on itself.
PATH=${PATH//"$PWD/.venv/bin:"/}
unset VIRTUAL_ENV PYTHONHOME
PYTHON=${PYTHON:-python3}
TORCH=${TORCH-torch==2.13.0+cpu}

fail() {
  printf 'make env: %s\n' "$@" >&2
  exit 1
}

command -v "$PYTHON" > /dev/null || fail "no $PYTHON found: set PYTHON=... to another interpreter"

# Leave compiling bytecode to the first import: all of torch would take half a minute.
pip_install() { .venv/bin/python -m pip install -qq --disable-pip-version-check --no-compile "$@"; }

on_system_ros() {
  "$PYTHON" -c 'import cv2, numpy' ||
    fail "ROS 2 $ROS_DISTRO is sourced, but its Python lacks OpenCV. Try: sudo apt install python3-opencv"
  command -v colcon > /dev/null ||
    fail "ROS 2 $ROS_DISTRO is sourced, but colcon is missing. Try: sudo apt install python3-colcon-common-extensions"
  "$PYTHON" -m venv --system-site-packages .venv ||
    fail "Python cannot create virtual environments. Try: sudo apt install python3-venv"
  # Pin NumPy: the distribution's cv_bridge is compiled for the distribution's NumPy (1.x up to
  # Kilted) and breaks with NumPy 2.
  "$PYTHON" -c 'import numpy; print("numpy==" + numpy.__version__)' > .venv/constraints.txt
  echo "setuptools<80" >> .venv/constraints.txt # ROS's build tools need an older version
  export PIP_CONSTRAINT=$PWD/.venv/constraints.txt
  pip_install -r requirements/runtime.txt
  "$PYTHON" -c 'from ament_index_python import get_package_prefix as p; print(p("rclpy"))' > .venv/ros_prefix
}

on_wheels() {
  "$PYTHON" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' ||
    fail "ROS 2 from wheels needs Python 3.10 to 3.13; $PYTHON is $("$PYTHON" --version 2>&1)." \
      "Use another one: make env PYTHON=python3.12"
  [[ $(uname -sm) == "Linux x86_64" ]] ||
    fail "ROS 2 wheels exist for Linux x86_64 only; this is $(uname -sm)." \
      "Install ROS 2 (docs.ros.org), source it, and run make env again."
  "$PYTHON" -m venv .venv || fail "$PYTHON cannot create virtual environments."
  # All versions are pinned; skipping the resolver takes seconds instead of a minute.
  pip_install --no-deps -r requirements/ros-jazzy.txt
  pip_install -r requirements/build.txt -r requirements/runtime.txt -r requirements/wheels.txt
  .venv/bin/python scripts/fix_ros_wheels.py
  echo "$PWD/.venv" > .venv/ros_prefix
}

install_torch() {
  local arguments cpu_index=()
  read -ra arguments <<< "$TORCH"
  [[ ${#arguments[@]} -gt 0 ]] || return 0
  echo "make env: installing $TORCH"
  # PyPI's torch depends on gigabytes of CUDA. CPU builds are on PyTorch's own index, which is used
  # unless pip's configured index has them.
  [[ $TORCH != *+cpu ]] || cpu_index=(--index-url https://download.pytorch.org/whl/cpu)
  pip_install "${arguments[@]}" 2> /dev/null ||
    pip_install "${cpu_index[@]}" "${arguments[@]}" ||
    fail "Cannot install torch (TORCH=$TORCH)."
}

if [[ -n ${ROS_DISTRO:-} ]] && "$PYTHON" -c 'import rclpy' 2> /dev/null; then
  "$PYTHON" -c 'from rclpy.node import Node; Node.add_post_set_parameters_callback' 2> /dev/null ||
    fail "ROS 2 $ROS_DISTRO is sourced, but too old: use Jazzy or later."
  echo "make env: building on the sourced ROS 2 $ROS_DISTRO"
  on_system_ros
elif [[ -n ${ROS_DISTRO:-} && -n ${AMENT_PREFIX_PATH:-} ]]; then
  fail "ROS 2 $ROS_DISTRO is sourced, but $PYTHON ($(command -v "$PYTHON")) cannot import rclpy." \
    "Use ROS's Python: make env PYTHON=/usr/bin/python3"
else
  echo "make env: no ROS 2 sourced, installing ROS 2 Jazzy from PyPI wheels"
  on_wheels
fi
install_torch
printf '%s' "$TORCH" > .venv/torch # default of the next make
