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
"""Variable with the profile's path, by package: Fast DDS 2 (Jazzy), and 3 (Kilted and later), which
warns of the variable of 2."""

OWN_SETTINGS = (*PROFILE_VARIABLES.values(), "FASTDDS_BUILTIN_TRANSPORTS")
OWN_FILES = ("DEFAULT_FASTRTPS_PROFILES.xml", "DEFAULT_FASTDDS_PROFILES.xml")

MIN_AGE_S = 5.0
"""Age of a lock file below which its owner may still be about to lock it."""

NEEDED_BYTES = 2 * 64 * 1024**2
"""Two segments of fastdds_images.xml: one for the camera's process, one for the node's."""


def profile_environment(
    environ: Mapping[str, str], shared_memory: Path = Path("/dev/shm")
) -> dict[str, str]:
    """Return variables to add to ``environ`` so that Fast DDS reads config/fastdds_images.xml.

    They take effect in processes started with them, and in this one before ``rclpy.init``. Other
    middleware ignores them. Empty if there is a ``shm_unavailable_reason``.
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
    """Return which settings of the user take precedence; empty if none do.

    These are other middleware than Fast DDS, and Fast DDS settings in ``environ`` or the working
    directory.
    """
    middleware = environ.get("RMW_IMPLEMENTATION", "")
    if middleware and "fastrtps" not in middleware:
        return f"RMW_IMPLEMENTATION is {middleware}, which is not Fast DDS"
    for name in OWN_SETTINGS:
        if environ.get(name):
            return f"{name} is set, and your own settings of Fast DDS stay"
    for name in OWN_FILES:
        if Path(name).is_file():
            return f"{name} is in the working directory, and your own settings of Fast DDS stay"
    return ""


def shm_unavailable_reason(
    environ: Mapping[str, str], shared_memory: Path = Path("/dev/shm")
) -> str:
    """Return why Fast DDS cannot use the profile, and the remedy; empty if it can.

    Either there is a ``user_override_reason``, or ``shared_memory`` lacks room for the profile's
    segments, while Fast DDS's smaller default still fits.
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
    ``MIN_AGE_S`` are left alone.

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
