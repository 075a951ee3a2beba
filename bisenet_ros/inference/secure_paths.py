"""Files and folders that nobody but their user and root can have tampered with."""

import grp
import os
import pwd
import stat
from pathlib import Path


def make_folder(folder: Path) -> None:
    """Make ``folder`` and what is missing above it, for this user alone."""
    for part in (*reversed(folder.parents), folder):
        if not part.exists():
            part.mkdir(mode=0o700, exist_ok=True)


def check_folder(folder: Path) -> None:
    """Make sure that nobody but this user and root can put or change a file in ``folder``.

    Raises:
        PermissionError: with the part of its path where another could, and the remedy.
        NotADirectoryError: it is none.
    """
    status = folder.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise PermissionError(f"{folder} is a symbolic link; name the folder that it points to")
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(f"{folder} is not a folder")
    _check_owner(folder, status)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"others than its owner may write in it; chmod go-w {folder}")
    # Who can rename a folder above can put another in its place.
    for part in {*folder.parents, *folder.resolve().parents}:
        status = part.lstat()
        _check_owner(part, status)
        if not stat.S_ISLNK(status.st_mode) and _others_can_rename_in(status):
            raise PermissionError(f"others than its owner may write in {part}; chmod go-w {part}")


def check_file(path: Path, status: os.stat_result) -> None:
    """Make sure that nobody but this user and root could have written the open file ``path``.

    Raises:
        PermissionError: with the remedy.
    """
    if not stat.S_ISREG(status.st_mode):
        raise PermissionError("it is not a plain file")
    _check_owner(path, status)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"others than its owner may write to it; chmod go-w {path}")


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in (os.geteuid(), 0):
        raise PermissionError(
            f"{path} belongs to user {status.st_uid}; use a cache folder of your own"
        )


def _others_can_rename_in(status: os.stat_result) -> bool:
    """Where the sticky bit is set, as in /tmp, only what is one's own can be renamed."""
    if status.st_mode & stat.S_ISVTX:
        return False
    if status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid):
        return True
    return bool(status.st_mode & stat.S_IWOTH)


def _is_own_group(gid: int) -> bool:
    """Whether the group is this user alone: such groups are why umask is 002 on Ubuntu."""
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return (
        group.gr_gid == user.pw_gid
        and group.gr_name == user.pw_name
        and set(group.gr_mem) <= {user.pw_name}
    )
