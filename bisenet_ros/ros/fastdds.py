"""Shared memory of Fast DDS: segments that hold camera images, and those that were left behind."""

import fcntl
import os
import re
import time
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

MIN_AGE_S = 5.0

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


def remove_stale_segments(shared_memory: Path = Path("/dev/shm")) -> int:
    """Remove the segments of processes that were killed, as ``fastdds shm clean`` does.

    A living process holds a lock on FILE_el beside each of its segments. Locks younger than
    ``MIN_AGE_S`` are left alone, since their owner may be about to take them.

    Returns:
        The size of what was removed [bytes].
    """
    freed = 0
    for lock in shared_memory.glob("fastrtps_*_el"):
        if not re.fullmatch(r"fastrtps_[0-9a-f]{16}_el", lock.name):
            continue  # ports, which several processes share and Fast DDS checks by itself
        segment = lock.with_name(lock.name.removesuffix("_el"))
        try:
            if time.time() - lock.stat().st_mtime < MIN_AGE_S or _is_held(lock):
                continue
            size = segment.stat().st_size
            segment.unlink()
            lock.unlink()
        except OSError:  # removed meanwhile, or of another user
            continue
        freed += size
    return freed


def _is_held(lock: Path) -> bool:
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
