"""Files that take their place whole or not at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A path of the same name in a folder of its own, to write to.

    What was written there, and beside it, then takes its place beside ``path``, unless something
    raises: a reader sees the old file or the new one, never a part of one. Of a link what it leads
    to is replaced. The folder of ``path`` is made where there is none.

    Raises:
        OSError: the folder cannot be made or written to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.resolve()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        yield Path(folder) / path.name
        for written in sorted(Path(folder).iterdir()):
            written.replace(path.parent / written.name)
