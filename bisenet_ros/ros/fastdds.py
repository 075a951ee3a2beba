"""Shared memory that holds camera images, for Fast DDS, where the user has not chosen otherwise."""

import os
from collections.abc import Mapping
from pathlib import Path

from bisenet_ros.resources import share_directory

PROFILE_VARIABLES = {
    "fastrtps": "FASTRTPS_DEFAULT_PROFILES_FILE",
    "fastdds": "FASTDDS_DEFAULT_PROFILES_FILE",
}
"""What Fast DDS 2 (Jazzy) and Fast DDS 3 (Kilted and later) read the profile's path from, by the
name of their package. The newer one warns of the older one's."""

OWN_SETTINGS = (*PROFILE_VARIABLES.values(), "FASTDDS_BUILTIN_TRANSPORTS")
OWN_FILES = ("DEFAULT_FASTRTPS_PROFILES.xml", "DEFAULT_FASTDDS_PROFILES.xml")

NEEDED_BYTES = 2 * 64 * 1024**2
"""A segment of fastdds_images.xml for the camera's process and one for the node's."""


def profile_environment(
    environ: Mapping[str, str], shared_memory: Path = Path("/dev/shm")
) -> dict[str, str]:
    """Variables that make Fast DDS read config/fastdds_images.xml, to be added to ``environ``.

    They count for processes started with them, and for this one until ``rclpy.init``. Other
    middleware ignores them. Empty where there is an ``shm_unavailable_reason``.
    """
    if shm_unavailable_reason(environ, shared_memory):
        return {}
    profile = str(share_directory() / "config" / "fastdds_images.xml")
    prefixes = [Path(prefix) for prefix in environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)]
    installed = {
        variable: profile
        for package, variable in PROFILE_VARIABLES.items()
        if any((prefix / "share" / package).is_dir() for prefix in prefixes)
    }
    return installed or dict.fromkeys(PROFILE_VARIABLES.values(), profile)


def user_override_reason(environ: Mapping[str, str]) -> str:
    """What the user has chosen himself: middleware other than Fast DDS, or how that sends.

    A variable, or a file in the working directory; empty where there is none.
    """
    middleware = environ.get("RMW_IMPLEMENTATION", "")
    if middleware and "fastrtps" not in middleware:
        return f"RMW_IMPLEMENTATION is {middleware}, which is not Fast DDS"
    for name in OWN_SETTINGS:
        if environ.get(name):
            return f"{name} is set, and your own settings of Fast DDS stay"
    for name in OWN_FILES:
        if Path(name).is_file():
            return f"{name} lies in the working directory, and your own settings of Fast DDS stay"
    return ""


def shm_unavailable_reason(
    environ: Mapping[str, str], shared_memory: Path = Path("/dev/shm")
) -> str:
    """Why Fast DDS must do without the profile, and what to do about it; empty if it need not.

    There are ``user_override_reason``, or ``shared_memory`` lacks the room, where Fast DDS's
    smaller default works and the profile would not.
    """
    reason = user_override_reason(environ)
    if reason:
        return reason
    try:
        disk = os.statvfs(shared_memory)
    except OSError as error:
        return f"there is no {shared_memory} ({error.strerror}): images go by UDP; mount one"
    free = disk.f_bavail * disk.f_frsize
    if free < NEEDED_BYTES:
        return (
            f"{shared_memory} has {free >> 20} MiB free and {NEEDED_BYTES >> 20} are needed: give "
            "the container more, as by docker run --shm-size=512m, or delete what ended "
            "processes left, fastdds shm clean"
        )
    return ""
