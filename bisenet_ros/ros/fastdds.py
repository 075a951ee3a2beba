"""Shared memory that holds camera images, for Fast DDS, where the user has not chosen otherwise."""

import os
from collections.abc import Mapping
from pathlib import Path

from bisenet_ros.resources import share_directory

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""What Fast DDS 2 (Jazzy) and Fast DDS 3 (Kilted and later) read the profile's path from."""

OWN_SETTINGS = (*PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS")
OWN_FILES = ("DEFAULT_FASTRTPS_PROFILES.xml", "DEFAULT_FASTDDS_PROFILES.xml")

NEEDED_BYTES = 2 * 64 * 1024**2
"""A segment of fastdds_images.xml for the camera's process and one for the node's."""


def profile_environment(
    environ: Mapping[str, str], shared_memory: Path = Path("/dev/shm")
) -> dict[str, str]:
    """Variables that make Fast DDS read config/fastdds_images.xml, to be added to ``environ``.

    They count for processes started with them, and for this one until ``rclpy.init``. Other
    middleware ignores them. Empty where the user has settings of his own for Fast DDS (a variable,
    or a file in the working directory), and where ``shared_memory`` lacks the room: there (a
    container has 64 MiB unless told otherwise) Fast DDS's smaller default works and this would not.
    """
    if any(environ.get(name) for name in OWN_SETTINGS):
        return {}
    if any(Path(name).is_file() for name in OWN_FILES):
        return {}
    try:
        disk = os.statvfs(shared_memory)
    except OSError:
        return {}
    if disk.f_bavail * disk.f_frsize < NEEDED_BYTES:
        return {}
    profile = str(share_directory() / "config" / "fastdds_images.xml")
    return dict.fromkeys(PROFILE_VARIABLES, profile)
