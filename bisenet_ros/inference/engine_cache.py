"""Engines that take minutes to build, and what was found out about them, kept on disk.

An entry is one file: a line with the format's version, the SHA-256 of all that follows, a line of
JSON with the entry's key, and the engine. An engine is code that runs on the GPU, so it is taken
only from where nobody but this user and root can write. A record is a file of the same form with a
JSON value in the engine's place; kernels, which some engines compile when they are first loaded,
are a third kind.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import filelock
import platformdirs

from bisenet_ros.atomic import atomic_write, remove_partial_files
from bisenet_ros.errors import EngineCacheError, UnusableEngineError
from bisenet_ros.inference.secure_paths import check_file, check_folder, make_folder
from bisenet_ros.model.metadata import to_json

if TYPE_CHECKING:
    from bisenet_ros.inference.backend import EngineOptions
    from bisenet_ros.model.file import Model

T = TypeVar("T")

Key = Mapping[str, str]
"""All that an engine depends on, such as ``{"model": "...", "gpu": "NVIDIA L4", ...}``."""

logger = logging.getLogger(__name__)

KEPT = 64
"""Files of each kind that a folder keeps: those that were used last."""

_ENGINE, _RECORD, _KERNELS = ".engine", ".record", ".kernels"
_NOT_USED = "%s %s is not used and built again: %s"

_VERSION = b"bisenet_ros engine 2\n"


@dataclass(frozen=True)
class Entry:
    """One file of the cache, ``size`` bytes long.

    ``key`` is None where the file cannot be used, and ``problem`` says why.
    """

    path: Path
    size: int
    key: Key | None
    problem: str = ""


def cache_folder(cache: str | Path | None = None) -> Path:
    """Where engines lie in the folder ``cache``; None stands for the user's own cache folder."""
    return Path(cache or platformdirs.user_cache_path("bisenet_ros")) / "engines"


def engine_key(
    model: "Model",
    options: "EngineOptions",
    *,
    engine: str,
    precision: str,
    device: str,
    content: bytes,
    build: str = "",
) -> Key:
    """Return what an engine depends on, and what a reader of the cache's list wants to know.

    Args:
        model: for its name only.
        options: for resolution and confidence.
        engine: the library and its exact version.
        precision: what is computed in.
        device: all of the device that matters.
        content: what the engine is made of: the ONNX file, which has the weights, the calibration
            and all that the exporter makes of them, so that no engine outlives a change of any;
            where there is no file, ``model_content``.
        build: what is asked of the compiler besides.
    """
    width, height = options.resolution_for(model)
    return {
        "backend": engine,
        "model": model.name,
        "resolution": f"{width}x{height}",
        "precision": precision,
        "confidence": "yes" if options.confidence else "no",
        "device": device,
        "build": build,
        "content": hashlib.sha256(content).hexdigest(),
    }


def model_content(model: "Model") -> bytes:
    """Return the weights and all metadata of ``model``, scores and calibration included."""
    document = json.dumps(to_json(model.metadata), sort_keys=True, default=str).encode()
    tensors = (tensor.numpy().tobytes() for tensor in model.network.state_dict().values())
    return b"".join((document, *tensors))


class EngineCache:
    """The engines in ``folder``, which is made, for this user alone, when first needed.

    A cache that fails costs time and nothing else: whatever is wrong with the folder or an entry
    is logged, and the engine is built.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    def get(self, key: Key, build: Callable[[], bytes], load: Callable[[bytes], T]) -> T:
        """What ``load`` makes of the engine stored under ``key``, or of what ``build`` gives.

        What is built is stored once it is loaded. Where ``load`` refuses the stored engine by an
        ``UnusableEngineError``, another is built, and takes its place only when it is there. Of
        several processes that ask at once, one builds and the others wait for it. What else
        ``build`` and ``load`` raise is raised here, and nothing is stored. Beyond ``KEPT`` entries
        the one that was not used for longest is deleted.
        """
        path = self._path(key, _ENGINE)
        if not self._prepare():
            return load(build())
        found = _find(path, key, load, logging.WARNING)
        if found is not None:
            return found
        with ExitStack() as stack:
            try:
                stack.enter_context(self._lock())
            # Some file systems have no locks: older filelock says so by a NotImplementedError.
            except (OSError, NotImplementedError) as error:
                logger.warning("the engine will not be stored in %s: %s", self.folder, error)
                return load(build())
            # Another process may have stored it while this one waited.
            found = _find(path, key, load, logging.DEBUG)
            if found is None:
                engine = build()
                found = load(engine)
                self._store(path, key, engine)
            return found

    def recall(self, key: Key) -> Any:
        """Return the JSON value that ``remember`` stored under ``key``, or None."""
        return self._recall(key, _RECORD, json.loads)

    def remember(self, key: Key, value: Any) -> None:
        """Store a small JSON value, such as a measurement, beside the engines."""
        self._remember(key, _RECORD, json.dumps(value).encode())

    def recall_kernels(self, key: Key) -> bytes:
        """Return what ``remember_kernels`` stored under ``key``, or nothing."""
        return self._recall(key, _KERNELS, bytes) or b""

    def remember_kernels(self, key: Key, kernels: bytes) -> None:
        """Store what was compiled for a loaded engine; ``key`` names the GPU besides the engine."""
        self._remember(key, _KERNELS, kernels)

    def _recall(self, key: Key, suffix: str, load: Callable[[bytes], T]) -> T | None:
        if not self._prepare():
            return None
        return _find(self._path(key, suffix), key, load, logging.WARNING)

    def _remember(self, key: Key, suffix: str, content: bytes) -> None:
        if not self._prepare():
            return
        try:
            with self._lock():
                self._store(self._path(key, suffix), key, content)
        except (OSError, NotImplementedError) as error:
            logger.warning("%s is not stored in %s: %s", key, self.folder, error)

    def _prepare(self) -> bool:
        """Make the folder; False, with a warning, where it cannot be used."""
        try:
            make_folder(self.folder)
            check_folder(self.folder)
        except OSError as error:
            logger.warning("engine cache %s is not used: %s", self.folder, error)
            return False
        return True

    def entries(self) -> list[Entry]:
        """What the folder holds; nothing where there is no folder.

        Raises:
            EngineCacheError: the folder cannot be read, or others could write in it.
        """
        entries = []
        try:
            for path in self._paths(_ENGINE):
                size = path.lstat().st_size
                try:
                    entries.append(Entry(path, size, _read(path)[0]))
                except (OSError, ValueError) as error:
                    entries.append(Entry(path, size, None, str(error)))
        except OSError as error:
            raise EngineCacheError(f"cannot list engine cache {self.folder}: {error}") from error
        return entries

    def clear(self) -> int:
        """Delete all, once no process is building an engine; returns how many engines there were.

        Raises:
            EngineCacheError: they cannot be deleted, or others could write in the folder.
        """
        try:
            if not self.folder.exists():
                return 0
            check_folder(self.folder)
            with self._lock():
                paths = self._paths(_ENGINE)
                others = (*self._paths(_RECORD), *self._paths(_KERNELS))
                for path in (*paths, *others):
                    path.unlink(missing_ok=True)
                remove_partial_files(self.folder)
        except OSError as error:
            raise EngineCacheError(f"cannot clear engine cache {self.folder}: {error}") from error
        return len(paths)

    def _paths(self, suffix: str) -> list[Path]:
        if not self.folder.exists():
            return []
        check_folder(self.folder)
        return sorted(path for path in self.folder.iterdir() if path.suffix == suffix)

    def _path(self, key: Key, suffix: str) -> Path:
        return self.folder / f"{hashlib.sha256(_header(key)).hexdigest()[:32]}{suffix}"

    def _lock(self) -> AbstractContextManager[object]:
        """One for the folder: builders choose kernels by their times, which two would spoil.

        The kernel frees it when its holder dies.
        """
        lock = filelock.FileLock(self.folder / "lock", mode=0o600)
        try:
            return lock.acquire(timeout=0)
        except filelock.Timeout:
            logger.info("waiting for the process that builds an engine in %s", self.folder)
            return lock.acquire()

    def _store(self, path: Path, key: Key, engine: bytes) -> None:
        """Write the entry, under the lock; readers see the whole of it or nothing."""
        content = _header(key) + engine
        try:
            remove_partial_files(self.folder)
            if path.is_symlink():  # readers refuse it, and atomic_write would follow it
                path.unlink()
            with atomic_write(path, mode=0o600) as written:
                written.write_bytes(_VERSION + hashlib.sha256(content).digest() + content)
            _mark_as_used(path)
            by_use = sorted(self._paths(path.suffix), key=lambda entry: entry.lstat().st_mtime_ns)
            for entry in by_use[:-KEPT]:
                entry.unlink(missing_ok=True)
        except OSError as error:
            what = path.suffix[1:]
            logger.warning("the %s is not stored in %s: %s", what, self.folder, error)


def pack(facts: Mapping[str, float], engine: bytes) -> bytes:
    """Return what ``unpack`` takes apart: an engine with what was measured when it was built."""
    return json.dumps(dict(facts)).encode() + b"\n" + engine


def unpack(content: bytes) -> tuple[dict[str, float], bytes]:
    """Return facts and engine.

    Raises:
        UnusableEngineError: ``content`` is not from ``pack``.
    """
    header, _, engine = content.partition(b"\n")
    try:
        facts: dict[str, float] = json.loads(header)
    except ValueError as error:
        raise UnusableEngineError(f"it has no facts ({error})") from error
    return facts, engine


def _header(key: Key) -> bytes:
    return json.dumps(dict(key), sort_keys=True).encode() + b"\n"


def _find(path: Path, key: Key, load: Callable[[bytes], T], level: int) -> T | None:
    """The engine of ``key`` in ``path``; None, with the reason in the log, if there is none."""
    try:
        found, engine = _read(path)
        if found != key:
            raise ValueError(f"it is for {found}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.log(level, _NOT_USED, path.suffix[1:], path, error)
        return None
    try:
        loaded = load(engine)
        with suppress(OSError):  # a read-only folder deletes nothing either
            _mark_as_used(path)
        return loaded
    except UnusableEngineError as error:
        logger.log(level, _NOT_USED, path.suffix[1:], path, error)
        return None


def _mark_as_used(path: Path) -> None:
    now = time.time_ns()  # the file system's own clock has steps of milliseconds
    os.utime(path, ns=(now, now))


def _read(path: Path) -> tuple[Key, bytes]:
    """Key and engine.

    Raises:
        OSError: the file cannot be read, or others could have written it.
        ValueError: it is not what ``_store`` wrote.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        check_file(path, os.fstat(file.fileno()))
        data = file.read()
    if not data.startswith(_VERSION):
        raise ValueError("it has another format, of another version or program")
    start = len(_VERSION) + hashlib.sha256().digest_size
    content = data[start:]
    if hashlib.sha256(content).digest() != data[len(_VERSION) : start]:
        raise ValueError("its checksum is wrong, so it is damaged or incomplete")
    header, _, engine = content.partition(b"\n")
    return json.loads(header), engine
