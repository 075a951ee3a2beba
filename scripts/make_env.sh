#!/usr/bin/env bash
# Makes .venv: everything that bisenet_ros needs, on top of a sourced ROS 2 where there is one.
#   PYTHON  interpreter to build on
#   TORCH   arguments for `pip install` that give torch (requirements/README.md); empty: none
set -euo pipefail
cd "$(dirname "$0")/.."

# An active .venv would be its own base.
PATH=${PATH//"$PWD/.venv/bin:"/}
unset VIRTUAL_ENV PYTHONHOME
PYTHON=${PYTHON:-python3}
TORCH=${TORCH-torch==2.13.0+cpu}

fail() {
  printf 'make env: %s\n' "$@" >&2
  exit 1
}

command -v "$PYTHON" > /dev/null || fail "there is no $PYTHON: name another one by PYTHON=..."

# Bytecode is made by the first import: compiling all of torch here would cost half a minute.
pip_install() { .venv/bin/python -m pip install -qq --disable-pip-version-check --no-compile "$@"; }

on_system_ros() {
  "$PYTHON" -c 'import cv2, numpy' ||
    fail "ROS 2 $ROS_DISTRO is sourced, but its Python lacks OpenCV. Try: sudo apt install python3-opencv"
  command -v colcon > /dev/null ||
    fail "ROS 2 $ROS_DISTRO is sourced, but colcon is missing. Try: sudo apt install python3-colcon-common-extensions"
  "$PYTHON" -m venv --system-site-packages .venv ||
    fail "Python cannot make virtual environments. Try: sudo apt install python3-venv"
  # The distribution's cv_bridge is compiled for the distribution's NumPy (1.x up to Jazzy and
  # Kilted; NumPy 2 breaks it), so no package may bring another one.
  "$PYTHON" -c 'import numpy; print("numpy==" + numpy.__version__)' > .venv/constraints.txt
  echo "setuptools<80" >> .venv/constraints.txt # newer ones lack what ROS's own build tools import
  export PIP_CONSTRAINT=$PWD/.venv/constraints.txt
  pip_install -r requirements/runtime.txt
  "$PYTHON" -c 'from ament_index_python import get_package_prefix as p; print(p("rclpy"))' > .venv/ros_prefix
}

on_wheels() {
  "$PYTHON" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' ||
    fail "ROS 2 from wheels needs Python 3.10 to 3.13; $PYTHON is $("$PYTHON" --version 2>&1)." \
      "Name another one: make env PYTHON=python3.12"
  [[ $(uname -sm) == "Linux x86_64" ]] ||
    fail "ROS 2 wheels exist for Linux x86_64 only; this is $(uname -sm)." \
      "Install ROS 2 (docs.ros.org), source it, and run make env again."
  "$PYTHON" -m venv .venv || fail "$PYTHON cannot make virtual environments."
  # Wheels whose versions are all known need no resolver: a few seconds instead of a minute.
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
  # PyPI's torch brings gigabytes of CUDA. The CPU builds lie on PyTorch's own index, unless pip is
  # set up with a source that has them.
  [[ $TORCH != *+cpu ]] || cpu_index=(--index-url https://download.pytorch.org/whl/cpu)
  pip_install "${arguments[@]}" 2> /dev/null ||
    pip_install "${cpu_index[@]}" "${arguments[@]}" ||
    fail "torch could not be installed (TORCH=$TORCH)."
}

if [[ -n ${ROS_DISTRO:-} ]] && "$PYTHON" -c 'import rclpy' 2> /dev/null; then
  "$PYTHON" -c 'from rclpy.node import Node; Node.add_post_set_parameters_callback' 2> /dev/null ||
    fail "ROS 2 $ROS_DISTRO is sourced, which is too old: Jazzy or a later one is needed."
  echo "make env: building on the sourced ROS 2 $ROS_DISTRO"
  on_system_ros
elif [[ -n ${ROS_DISTRO:-} && -n ${AMENT_PREFIX_PATH:-} ]]; then
  fail "ROS 2 $ROS_DISTRO is sourced, but $PYTHON ($(command -v "$PYTHON")) cannot import rclpy." \
    "Name ROS's own Python: make env PYTHON=/usr/bin/python3"
else
  echo "make env: no ROS 2 is sourced, installing ROS 2 Jazzy from PyPI wheels"
  on_wheels
fi
install_torch
printf '%s' "$TORCH" > .venv/torch # for the next make
