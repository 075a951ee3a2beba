"""Checks that only this user and root can have modified a file or folder."""

import grp
import os
import pwd
import stat
from pathlib import Path


def make_folder(folder: Path) -> None:
    """Create ``folder`` and its missing parents, accessible to this user only.

    Raises:
        OSError: a folder cannot be created.
    """
    for part in (*reversed(folder.parents), folder):
        if not part.exists():
            part.mkdir(mode=0o700, exist_ok=True)


def check_folder(folder: Path) -> None:
    """Check that only this user and root can create or change files in ``folder``.

    Raises:
        PermissionError: another user can, at the part of the path that the message names.
        NotADirectoryError: ``folder`` is not a folder.
    """
    status = folder.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise PermissionError(f"{folder} is a symbolic link; name the folder that it points to")
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(f"{folder} is not a folder")
    _check_owner(folder, status)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(
            f"users other than its owner can write to it; run chmod go-w {folder}"
        )
    # Whoever can rename a parent folder can replace it.
    for part in {*folder.parents, *folder.resolve().parents}:
        status = part.lstat()
        _check_owner(part, status)
        if not stat.S_ISLNK(status.st_mode) and _others_can_rename_in(status):
            raise PermissionError(
                f"users other than its owner can write to {part}; run chmod go-w {part}"
            )


def check_file(path: Path, status: os.stat_result) -> None:
    """Check that only this user and root can have written the open file ``path``.

    Args:
        path: for the message.
        status: ``os.fstat`` of the open file.

    Raises:
        PermissionError: another user can have written it, or it is not a regular file.
    """
    if not stat.S_ISREG(status.st_mode):
        raise PermissionError("it is not a regular file")
    _check_owner(path, status)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"users other than its owner can write to it; run chmod go-w {path}")


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in (os.geteuid(), 0):
        raise PermissionError(
            f"{path} belongs to user {status.st_uid}; use a cache folder of your own"
        )


def _others_can_rename_in(status: os.stat_result) -> bool:
    # With the sticky bit, as on /tmp, users can rename only their own files.
    if status.st_mode & stat.S_ISVTX:
        return False
    if status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid):
        return True
    return bool(status.st_mode & stat.S_IWOTH)


def _is_own_group(gid: int) -> bool:
    """Return whether this user is the group's only member, as with Ubuntu's user groups."""
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return (
        group.gr_gid == user.pw_gid
        and group.gr_name == user.pw_name
        and set(group.gr_mem) <= {user.pw_name}
    )
