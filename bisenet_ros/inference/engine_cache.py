"""On-disk cache of engines that take minutes to build, and of measurements about them.

An entry is one file: a line with the version of the format, the SHA-256 of the rest, a line of JSON
with the entry's key, and the engine. Engines are code that runs on the GPU, so the cache reads only
files that nobody but this user and root can write to. A record has the same format, with a JSON
value instead of an engine. A third kind of file stores kernels, which some engines compile when
they are first loaded.
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
from bisenet_ros.documents import parse_json
from bisenet_ros.errors import EngineCacheError, UnusableEngineError
from bisenet_ros.inference.secure_paths import check_file, check_folder, make_folder
from bisenet_ros.model.metadata import to_json

if TYPE_CHECKING:
    from bisenet_ros.inference.backend import EngineOptions
    from bisenet_ros.model.file import Model

T = TypeVar("T")

Key = Mapping[str, str]
"""Inputs that an engine is built from, such as ``{"model": "...", "gpu": "NVIDIA L4", ...}``."""

logger = logging.getLogger(__name__)

KEPT = 64
"""Files of each kind that a folder keeps; the least recently used are deleted."""

_ENGINE, _RECORD, _KERNELS = ".engine", ".record", ".kernels"
_UNUSABLE = "%s %s cannot be used and will be rebuilt: %s"

MAX_BYTES = 4 * 1024**3
"""Largest file that is read: ten times the largest engine."""

MAX_HEADER = 64 * 1024
"""Longest line of JSON before an engine, in bytes."""

_VERSION = b"bisenet_ros engine 2\n"


@dataclass(frozen=True)
class Entry:
    """One engine in the cache.

    - ``size``: of the file, in bytes.
    - ``key``: None if the file cannot be used.
    - ``problem``: why it cannot be used; empty if it can.
    """

    path: Path
    size: int
    key: Key | None
    problem: str = ""


def cache_folder(cache: str | Path | None = None) -> Path:
    """Return the folder of engines in ``cache``, or in the user's cache folder if it is None."""
    if not cache:
        try:
            cache = platformdirs.user_cache_path("bisenet_ros")
        except RuntimeError:  # the user has no home folder; older platformdirs leave the ~, too
            cache = "~/.cache/bisenet_ros"
    return Path(cache) / "engines"


def engine_key(
    model: "Model",
    options: "EngineOptions",
    *,
    engine: str,
    precision: str,
    device: str,
    content: str,
    build: str = "",
) -> Key:
    """Return the key of an engine, readable enough for a listing of the cache.

    Args:
        model: only its name is used.
        options: only resolution, batch size and confidence are used.
        engine: the library and its exact version.
        precision: precision of the computation.
        device: all properties of the device that engines depend on.
        content: digest of what the engine is made from. This is ``Graph.digest``: the ONNX file
            contains weights, calibration and the exporter's decisions, so that a change of any
            gives another key; without an ONNX file, ``model_digest``.
        build: other options of the compiler.
    """
    width, height = options.resolution_for(model)
    return {
        "backend": engine,
        "model": model.name,
        "resolution": f"{width}x{height}",
        "batch size": str(options.batch_size),
        "precision": precision,
        "confidence": "yes" if options.confidence else "no",
        "device": device,
        "build": build,
        "content": content,
    }


def model_digest(model: "Model") -> str:
    """Return the SHA-256 of weights and metadata of ``model``, with scores and calibration."""
    document = json.dumps(to_json(model.metadata), sort_keys=True, default=str)
    digest = hashlib.sha256(document.encode())
    for name, array in sorted(model.arrays().items()):
        digest.update(f"{name} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


class EngineCache:
    """A cache of engines in ``folder``, which is created on first use for this user only.

    A failing cache only costs time: problems with the folder or an entry are logged, and the engine
    is built.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._home = next((p for p in folder.parts[:1] if p.startswith("~")), "")

    def get(self, key: Key, build: Callable[[], bytes], load: Callable[[bytes], T]) -> T:
        """Load the engine stored under ``key``, or build, load and store it.

        A built engine is stored after it has been loaded. If ``load`` raises
        ``UnusableEngineError`` for a stored engine, a new one is built and then replaces it. If
        several processes request an engine at once, one builds it and the others wait. Beyond
        ``KEPT`` entries the least recently used is deleted.

        Args:
            key: see ``engine_key``.
            build: returns a serialized engine.
            load: turns a serialized engine into the result.

        Returns:
            The result of ``load``.

        Raises:
            Exception: other exceptions of ``build`` and ``load`` pass through; nothing is stored.
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
            # On file systems without locks, older filelock raises NotImplementedError.
            except (OSError, NotImplementedError) as error:
                logger.warning("the engine will not be stored in %s: %s", self.folder, error)
                return load(build())
            # Another process may have stored it in the meantime.
            found = _find(path, key, load, logging.DEBUG)
            if found is None:
                engine = build()
                found = load(engine)
                self._store(path, key, engine)
            return found

    def recall(self, key: Key) -> Any:
        """Return the JSON value stored by ``remember`` under ``key``, or None."""
        return self._recall(key, _RECORD, _parse)

    def remember(self, key: Key, value: Any) -> None:
        """Store a small JSON value, such as a measurement, beside the engines."""
        self._remember(key, _RECORD, json.dumps(value).encode())

    def recall_kernels(self, key: Key) -> bytes:
        """Return the kernels stored by ``remember_kernels`` under ``key``, or empty bytes."""
        return self._recall(key, _KERNELS, bytes) or b""

    def remember_kernels(self, key: Key, kernels: bytes) -> None:
        """Store kernels that were compiled for a loaded engine on the GPU named in ``key``."""
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
        """Create the folder; return False, with a warning, if it cannot be used."""
        try:
            self._require_home()
            make_folder(self.folder)
            check_folder(self.folder)
        except (OSError, ValueError) as error:  # ValueError: a NUL in its path
            logger.warning("engine cache %s is not used: %s", self.folder, error)
            return False
        return True

    def _require_home(self) -> None:
        # As for a user without HOME whom /etc/passwd does not have, in containers.
        if self._home:
            raise FileNotFoundError(
                f"{self._home} has no home folder; set HOME, or name the cache's folder in full"
            )

    def entries(self) -> list[Entry]:
        """Return the engines in the folder; none if it does not exist.

        Raises:
            EngineCacheError: the folder cannot be read, or other users can write to it.
        """
        entries = []
        try:
            self._require_home()
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
        """Delete all entries once no process is building; return the number of deleted engines.

        Raises:
            EngineCacheError: a file cannot be deleted, or other users can write to the folder.
        """
        try:
            self._require_home()
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
        """Acquire the lock of the folder, which the OS releases when its holder dies.

        It covers all engines: builders time kernels, and two builds would disturb each other.
        """
        lock = filelock.FileLock(self.folder / "lock", mode=0o600)
        try:
            return lock.acquire(timeout=0)
        except filelock.Timeout:
            logger.info("waiting for the process that builds an engine in %s", self.folder)
            return lock.acquire()

    def _store(self, path: Path, key: Key, engine: bytes) -> None:
        """Write the entry atomically; the caller holds the lock."""
        content = _header(key) + engine
        try:
            remove_partial_files(self.folder)
            if path.is_symlink():  # _read rejects it, and atomic_write would follow it
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
    """Return an engine and the measurements of its build as the content of an entry."""
    return json.dumps(dict(facts)).encode() + b"\n" + engine


def unpack(content: bytes) -> tuple[dict[str, float], bytes]:
    """Return the measurements and the engine that ``pack`` stored.

    Raises:
        UnusableEngineError: ``content`` is not a result of ``pack``.
    """
    header, _, engine = content.partition(b"\n")
    try:
        return _header_of(header), engine
    except ValueError as error:
        raise UnusableEngineError(f"it has no measurements ({error})") from error


def _header(key: Key) -> bytes:
    return json.dumps(dict(key), sort_keys=True).encode() + b"\n"


def _find(path: Path, key: Key, load: Callable[[bytes], T], level: int) -> T | None:
    """Load the entry in ``path``; log the reason and return None if it is unusable."""
    try:
        found, engine = _read(path)
        if found != key:
            raise ValueError(f"it was stored for another key, {found}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.log(level, _UNUSABLE, path.suffix[1:], path, error)
        return None
    try:
        loaded = load(engine)
        with suppress(OSError):  # a read-only folder needs no times: nothing is deleted there
            _mark_as_used(path)
        return loaded
    except UnusableEngineError as error:
        logger.log(level, _UNUSABLE, path.suffix[1:], path, error)
        return None


def _parse(record: bytes) -> Any:
    try:
        return parse_json(record.decode())
    except ValueError as error:
        raise UnusableEngineError(str(error)) from error


def _mark_as_used(path: Path) -> None:
    now = time.time_ns()  # the file system's clock has a resolution of milliseconds
    os.utime(path, ns=(now, now))


def _read(path: Path) -> tuple[Key, bytes]:
    """Return the key and the content of an entry.

    Raises:
        OSError: the file cannot be read, or other users can write to it.
        ValueError: it was not written by ``_store``.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        check_file(path, os.fstat(file.fileno()))
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES >> 30} GiB")
    if not data.startswith(_VERSION):
        raise ValueError("it was written by another version or program")
    start = len(_VERSION) + hashlib.sha256().digest_size
    content = data[start:]
    if hashlib.sha256(content).digest() != data[len(_VERSION) : start]:
        raise ValueError("its checksum is wrong, so it is damaged or incomplete")
    header, _, engine = content.partition(b"\n")
    return _header_of(header), engine


def _header_of(line: bytes) -> dict[str, Any]:
    """Return the mapping in a line of JSON, or raise ValueError."""
    header = parse_json(line.decode()) if len(line) <= MAX_HEADER else None
    if not isinstance(header, dict):
        raise ValueError("its header is no mapping, or too long")
    return header
