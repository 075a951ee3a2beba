# shellcheck shell=bash
# source env.sh: gives this bash or zsh the virtual environment, ROS 2, and the package as built.

_bisenet_root=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd)
_bisenet_shell=${ZSH_VERSION:+zsh}
_bisenet_shell=${_bisenet_shell:-bash}

# ROS's own setup files read variables that are not set.
case $- in
  *u*) _bisenet_nounset=-u ;;
  *) _bisenet_nounset=+u ;;
esac
set +u

if [ -f "$_bisenet_root/.venv/ros_prefix" ]; then
  # shellcheck disable=SC1091
  . "$_bisenet_root/.venv/bin/activate"
  _bisenet_ros=$(cat "$_bisenet_root/.venv/ros_prefix")
  case ":${AMENT_PREFIX_PATH:-$_bisenet_ros}:" in
    *":$_bisenet_ros:"*) ;;
    *) echo "env.sh: .venv was made with the ROS 2 in $_bisenet_ros, and another one is sourced:" \
      "take a new shell, or 'make distclean' and make .venv anew" >&2 ;;
  esac
  # shellcheck disable=SC1090
  . "$_bisenet_ros/local_setup.$_bisenet_shell"
else
  echo "env.sh: there is no .venv yet: run make env" >&2
fi
if [ -f "$_bisenet_root/install/setup.$_bisenet_shell" ]; then
  # shellcheck disable=SC1090
  . "$_bisenet_root/install/setup.$_bisenet_shell"
fi

set "$_bisenet_nounset"
unset _bisenet_root _bisenet_shell _bisenet_nounset _bisenet_ros
