"""Atomic and durable replacement of files."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = ".partial."


@contextmanager
def atomic_write(path: str | Path, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path of the same name; move what is written there to ``path`` at the end.

    Readers see the old file or the new one, never a part of one, also after a crash or a power cut.
    If the body raises, the old file stays. The body may also create a folder there, if ``path`` is
    none yet; its files are not synced. Files that the body writes beside the temporary path are
    moved along. Missing parent folders are created. If ``path`` is a symlink, its target is
    replaced.

    A killed writer leaves its temporary folder behind; see ``remove_partial_files``.

    Args:
        path: file to create or replace.
        mode: permission bits of the files; None keeps those that they were written with.

    Raises:
        OSError: a folder or file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.resolve()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{_PREFIX}{path.name}.") as folder:
        yield Path(folder) / path.name
        for written in sorted(Path(folder).iterdir()):
            if mode is not None:
                written.chmod(mode)
            _sync(written)
            written.replace(path.parent / written.name)
        _sync(path.parent)


def remove_partial_files(folder: Path) -> None:
    """Delete what killed writers left in ``folder``.

    Call this under a lock that all writers of ``folder`` hold: it would delete the files of a
    running one.

    Raises:
        OSError: a file cannot be deleted.
    """
    for partial in folder.glob(f"{_PREFIX}*"):
        shutil.rmtree(partial)


def _sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # the file system cannot sync folders
            raise
    finally:
        os.close(descriptor)
