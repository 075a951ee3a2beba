"""The engine cache with real files and processes; engines are arbitrary bytes."""

import grp
import logging
import multiprocessing
import os
import pwd
import resource
import shutil
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bisenet_ros.errors import EngineCacheError, UnusableEngineError
from bisenet_ros.inference.engine_cache import KEPT, EngineCache, cache_folder, pack, unpack

KEY = {"model": "a1b2", "resolution": "1024x512", "gpu": "NVIDIA L4", "tensorrt": "10.13.0.35"}
OTHER_KEY = {**KEY, "tensorrt": "10.3.0"}
ENGINE = bytes(range(256)) * 500
PATIENCE_S = 60  # time limit of processes that hang; normally they take less than a second
NOBODY = 65534

processes = multiprocessing.get_context("spawn")


def build() -> bytes:
    return ENGINE


def build_never() -> bytes:
    raise AssertionError("built although the cache has it")


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "cache" / "engines")


@pytest.fixture
def entry(cache: EngineCache) -> Path:
    """The file of a valid entry of KEY."""
    cache.get(KEY, build, bytes)
    return cache.entries()[0].path


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A folder that other users can reach, unlike ``tmp_path``."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def in_process(function: Callable[..., None], *arguments: Any) -> int:
    """Run ``function`` in a process and return its exit code."""
    process = processes.Process(target=function, args=arguments)
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode is not None
    return process.exitcode


def test_an_engine_is_built_once_and_served_from_then_on(cache: EngineCache) -> None:
    assert cache.get(KEY, build, bytes) == ENGINE
    assert cache.get(KEY, build_never, bytes) == ENGINE
    assert EngineCache(cache.folder).get(dict(reversed(KEY.items())), build_never, bytes) == ENGINE


@pytest.mark.parametrize("name", KEY)
def test_an_engine_serves_its_own_key_only(cache: EngineCache, name: str) -> None:
    cache.get(KEY, build, bytes)
    assert cache.get({**KEY, name: "another"}, lambda: b"another", bytes) == b"another"
    assert cache.get(KEY, build_never, bytes) == ENGINE


def test_files_are_the_user_s_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        cache = EngineCache(tmp_path / "cache" / "engines")
        cache.get(KEY, build, bytes)
    finally:
        os.umask(before)
    for folder in (cache.folder, cache.folder.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = list(cache.folder.iterdir())
    assert {path.suffix for path in files} == {".engine", ""}  # and the lock
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_build_that_fails_leaves_nothing(cache: EngineCache) -> None:
    def fail() -> bytes:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        cache.get(KEY, fail, bytes)
    assert cache.entries() == []
    assert cache.get(KEY, build, bytes) == ENGINE  # so the lock is free


def test_an_engine_that_does_not_load_is_replaced_only_by_a_new_one(
    cache: EngineCache, entry: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def load(engine: bytes) -> str:
        if engine == ENGINE:
            raise UnusableEngineError("not on this GPU")
        return engine.decode()

    def fail() -> bytes:
        raise RuntimeError("too little memory")

    before = entry.read_bytes()
    with pytest.raises(RuntimeError, match="too little memory"):
        cache.get(KEY, fail, load)
    assert entry.read_bytes() == before
    assert f"engine {entry} cannot be used and will be rebuilt: not on this GPU" in caplog.text
    assert cache.get(KEY, lambda: b"new", load) == "new"
    assert cache.get(KEY, build_never, bytes) == b"new"


def test_an_engine_that_was_just_built_is_not_built_again(cache: EngineCache) -> None:
    built = []

    def build_once() -> bytes:
        built.append(1)
        return ENGINE

    def refuse(engine: bytes) -> None:
        raise UnusableEngineError("too little memory")

    with pytest.raises(UnusableEngineError):
        cache.get(KEY, build_once, refuse)
    assert (built, cache.entries()) == ([1], [])


def damage(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def write(entry: Path) -> None:
        before = entry.read_bytes()
        after = change(before)
        assert after != before
        entry.write_bytes(after)

    return write


def make_foreign(entry: Path) -> None:
    """Replace the entry by a valid one of another key."""
    EngineCache(entry.parent).get(OTHER_KEY, lambda: b"another", bytes)
    (other,) = set(entry.parent.glob("*.engine")) - {entry}
    other.replace(entry)


def make_link(entry: Path) -> None:
    entry.rename(entry.parent / "elsewhere")
    entry.symlink_to("elsewhere")


def make_pipe(entry: Path) -> None:
    entry.unlink()
    os.mkfifo(entry)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(damage(lambda d: d[:-1]), "damaged or incomplete", id="truncated"),
        pytest.param(damage(lambda d: d[:30]), "damaged or incomplete", id="truncated digest"),
        pytest.param(damage(lambda d: d + b"\0"), "damaged or incomplete", id="longer"),
        pytest.param(
            damage(lambda d: d[:-9] + bytes([d[-9] ^ 1]) + d[-8:]),
            "damaged or incomplete",
            id="one bit of the engine",
        ),
        pytest.param(
            damage(lambda d: d.replace(b"NVIDIA L4", b"NVIDIA L5")),
            "damaged or incomplete",
            id="header",
        ),
        pytest.param(damage(lambda d: b""), "another version or program", id="empty"),
        pytest.param(
            damage(lambda d: b"\x7fELF" + d), "another version or program", id="another program"
        ),
        pytest.param(
            damage(lambda d: d.replace(b"engine 2", b"engine 1")),
            "another version or program",
            id="outdated",
        ),
        pytest.param(make_foreign, "another key", id="foreign"),
        pytest.param(make_link, "symbolic link", id="link"),
        pytest.param(make_pipe, "not a regular file", id="pipe"),
        pytest.param(lambda e: e.chmod(0o620), "chmod go-w", id="writable by the group"),
        pytest.param(lambda e: e.chmod(0o602), "chmod go-w", id="writable by all"),
    ],
)
def test_an_unusable_entry_is_rebuilt(
    cache: EngineCache,
    entry: Path,
    spoil: Callable[[Path], None],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spoil(entry)
    assert cache.get(KEY, lambda: b"new", bytes) == b"new"
    (record,) = caplog.records
    assert reason in record.getMessage()
    assert str(entry) in record.getMessage()
    assert cache.get(KEY, build_never, bytes) == b"new"


def give_to_another(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(path, NOBODY, -1)
    else:
        other = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: other)


def test_an_entry_of_another_user_is_not_used(
    cache: EngineCache, entry: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    os.chown(entry, NOBODY, -1)
    assert cache.get(KEY, lambda: b"new", bytes) == b"new"
    assert f"belongs to user {NOBODY}" in caplog.text


def make_folder_link(folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")
    folder.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(lambda f: f.chmod(0o720), "chmod go-w", id="writable by the group"),
        pytest.param(lambda f: f.chmod(0o702), "chmod go-w", id="writable by all"),
        pytest.param(lambda f: f.parent.chmod(0o702), "chmod go-w", id="above writable by all"),
        pytest.param(make_folder_link, "symbolic link", id="link"),
    ],
)
def test_a_folder_that_others_can_write_in_is_not_used(
    cache: EngineCache,
    entry: Path,
    spoil: Callable[[Path], None],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spoil(cache.folder)
    before = {path: path.stat().st_mtime_ns for path in cache.folder.iterdir()}
    assert cache.get(KEY, lambda: b"new", bytes) == b"new"
    assert reason in caplog.text
    assert {path: path.stat().st_mtime_ns for path in cache.folder.iterdir()} == before
    with pytest.raises(EngineCacheError, match=reason):
        cache.entries()
    with pytest.raises(EngineCacheError, match=reason):
        cache.clear()
    assert entry.exists()


@pytest.mark.parametrize("depth", [0, 1])
def test_a_folder_of_another_user_is_not_used(
    cache: EngineCache,
    entry: Path,
    depth: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    give_to_another((cache.folder, *cache.folder.parents)[depth], monkeypatch)
    assert cache.get(KEY, lambda: b"new", bytes) == b"new"
    assert "belongs to user" in caplog.text


def test_a_sticky_folder_above_is_safe(cache: EngineCache, entry: Path) -> None:
    cache.folder.parent.chmod(0o1777)  # as /tmp
    assert cache.get(KEY, build_never, bytes) == ENGINE


@pytest.mark.parametrize(("members", "safe"), [([], True), (["me"], True), (["me", "you"], False)])
def test_a_folder_above_that_the_group_can_write_in_is_safe_if_the_group_is_the_user(
    cache: EngineCache,
    entry: Path,
    members: list[str],
    safe: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gid = cache.folder.stat().st_gid
    user = pwd.struct_passwd(("me", "x", os.geteuid(), gid, "", "/", ""))
    group = grp.struct_group(("me", "x", gid, members))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: user)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: group)
    cache.folder.parent.chmod(0o770)
    assert cache.get(KEY, lambda: b"new", bytes) == (ENGINE if safe else b"new")
    assert ("chmod go-w" in caplog.text) is not safe


def test_a_file_in_the_folder_s_place_is_no_cache(
    cache: EngineCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache.folder.parent.mkdir()
    cache.folder.write_text("")
    assert cache.get(KEY, build, bytes) == ENGINE
    assert "is not a folder" in caplog.text


def use_read_only(folder: Path) -> None:
    if os.geteuid() == 0:  # root ignores permissions
        os.chown(folder.parent, NOBODY, -1)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    cache = EngineCache(folder)
    cache.get(KEY, build, bytes)
    (folder / "lock").unlink()
    folder.chmod(0o500)
    messages = heard()
    assert cache.get(KEY, build_never, bytes) == ENGINE
    assert messages == []
    assert cache.get(OTHER_KEY, lambda: b"another", bytes) == b"another"
    (message,) = messages
    assert "will not be stored" in message
    assert "Permission denied" in message
    assert len(cache.entries()) == 1
    # The folder cannot be created.
    folder.parent.chmod(0o500)
    assert EngineCache(folder.parent / "new").get(KEY, build, bytes) == ENGINE
    assert "is not used" in messages[1]
    folder.parent.chmod(0o700)
    folder.chmod(0o700)


def heard() -> list[str]:
    """Return a list to which the cache's log messages are appended."""
    messages: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger = logging.getLogger("bisenet_ros.inference.engine_cache")
    logger.addHandler(Handler())
    logger.setLevel(logging.INFO)
    return messages


def test_a_read_only_folder_serves_what_it_has(public_path: Path) -> None:
    assert in_process(use_read_only, public_path / "engines") == 0


def use_full(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    messages = heard()
    assert EngineCache(folder).get(KEY, build, bytes) == ENGINE
    (message,) = messages
    assert "is not stored" in message
    assert "File too large" in message
    assert EngineCache(folder).get(OTHER_KEY, lambda: b"small", bytes) == b"small"


def test_an_engine_that_does_not_fit_is_used_and_not_stored(cache: EngineCache) -> None:
    assert in_process(use_full, cache.folder) == 0
    (entry,) = cache.entries()
    assert entry.key == OTHER_KEY
    assert {path.name for path in cache.folder.iterdir()} == {"lock", entry.path.name}


def ask(folder: Path, barrier: Any, waiting: Any, built: Any, others: int) -> None:
    """Get KEY's engine; the builder waits until all others wait for it."""

    class Announce(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert "waiting for the process that builds" in record.getMessage()
            waiting.release()

    logger = logging.getLogger("bisenet_ros.inference.engine_cache")
    logger.addHandler(Announce())
    logger.setLevel(logging.INFO)

    def build_among_others() -> bytes:
        with built.get_lock():
            built.value += 1
        for _ in range(others):
            assert waiting.acquire(timeout=PATIENCE_S)
        return ENGINE

    barrier.wait(PATIENCE_S)
    assert EngineCache(folder).get(KEY, build_among_others, bytes) == ENGINE


def test_one_of_several_processes_builds(cache: EngineCache) -> None:
    count = 4
    barrier, waiting = processes.Barrier(count), processes.Semaphore(0)
    built = processes.Value("i", 0)
    arguments = (cache.folder, barrier, waiting, built, count - 1)
    askers = [processes.Process(target=ask, args=arguments) for _ in range(count)]
    for process in askers:
        process.start()
    for process in askers:
        process.join(PATIENCE_S)
    assert [process.exitcode for process in askers] == [0] * count
    assert built.value == 1
    assert len(cache.entries()) == 1


def build_for_ever(folder: Path, started: Any) -> None:
    def wait() -> bytes:
        started.set()
        signal.pause()
        return b""

    EngineCache(folder).get(KEY, wait, bytes)


def test_a_builder_that_is_killed_leaves_the_lock_free(cache: EngineCache) -> None:
    started = processes.Event()
    process = processes.Process(target=build_for_ever, args=(cache.folder, started))
    process.start()
    assert started.wait(PATIENCE_S)
    process.kill()
    process.join(PATIENCE_S)
    assert process.exitcode == -signal.SIGKILL
    assert cache.entries() == []
    assert cache.get(KEY, build, bytes) == ENGINE


def die_while_storing(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores the signal by default
    EngineCache(folder).get(KEY, build, bytes)


@pytest.mark.parametrize("then", ["store", "clear"])
def test_partial_files_of_a_killed_builder_are_deleted(cache: EngineCache, then: str) -> None:
    assert in_process(die_while_storing, cache.folder) == -signal.SIGXFSZ
    (partial,) = (path for path in cache.folder.rglob("*.engine") if path.is_file())
    assert partial.stat().st_size == 10_000
    assert cache.entries() == []
    if then == "store":
        assert cache.get(KEY, lambda: b"new", bytes) == b"new"
        assert cache.get(KEY, build_never, bytes) == b"new"
    else:
        assert cache.clear() == 0
    left = {path.name for path in cache.folder.iterdir()}
    assert left == {"lock", *(entry.path.name for entry in cache.entries())}


def test_the_least_recently_used_are_deleted(cache: EngineCache) -> None:
    keys = [{**KEY, "model": str(number)} for number in range(KEPT + 2)]

    def get(key: dict[str, str]) -> None:
        cache.get(key, lambda: b"engine", bytes)

    def held() -> set[str]:
        return {entry.key["model"] for entry in cache.entries() if entry.key is not None}

    for key in keys[:KEPT]:
        get(key)
    get(keys[0])
    get(keys[KEPT])
    models = {key["model"] for key in keys}
    assert held() == models - {"1", str(KEPT + 1)}
    get(keys[KEPT + 1])
    assert held() == models - {"1", "2"}


def test_a_folder_is_listed_and_cleared(cache: EngineCache) -> None:
    assert cache.entries() == []
    assert cache.clear() == 0
    assert not cache.folder.exists()
    cache.get(KEY, build, bytes)
    cache.get(OTHER_KEY, lambda: b"another", bytes)
    entries = cache.entries()
    assert {entry.key["tensorrt"] for entry in entries if entry.key} == {"10.13.0.35", "10.3.0"}
    assert max(entry.size for entry in entries) > len(ENGINE)
    damaged, whole = entries
    damaged.path.write_bytes(damaged.path.read_bytes()[:-1])
    (damaged, still_whole) = cache.entries()
    assert damaged.key is None
    assert "damaged" in damaged.problem
    assert still_whole == whole
    (cache.folder / "notes.txt").write_text("not the cache's")
    assert cache.clear() == 2
    assert cache.entries() == []
    assert {path.name for path in cache.folder.iterdir()} == {"lock", "notes.txt"}


def test_the_folder_is_in_the_user_s_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "bisenet_ros" / "engines"
    assert cache_folder(Path("robot")) == Path("robot/engines")


def test_a_record_is_kept_beside_the_engines(cache: EngineCache) -> None:
    assert cache.recall(KEY) is None
    cache.remember(KEY, {"bits": 7})
    cache.remember(OTHER_KEY, [1.5, "text"])
    again = EngineCache(cache.folder)
    assert (again.recall(KEY), again.recall(OTHER_KEY)) == ({"bits": 7}, [1.5, "text"])
    cache.remember(KEY, {"bits": 8})
    assert cache.recall(KEY) == {"bits": 8}
    # Records are not listed or returned as engines, but cleared with them.
    assert cache.entries() == []
    assert cache.get(KEY, build, bytes) == ENGINE
    assert cache.clear() == 1
    assert cache.recall(KEY) is None
    assert list(cache.folder.glob("*.record")) == []


def test_kernels_are_kept_beside_the_engines(cache: EngineCache) -> None:
    assert cache.recall_kernels(KEY) == b""
    cache.get(KEY, lambda: b"engine", bytes)
    cache.remember_kernels(KEY, b"old")
    cache.remember_kernels(KEY, b"kernels")
    assert cache.recall_kernels(KEY) == b"kernels"
    assert cache.recall_kernels(OTHER_KEY) == b""
    assert [entry.size > 0 for entry in cache.entries()] == [True]  # the engine
    assert cache.clear() == 1
    assert list(cache.folder.glob("*.kernels")) == []


def test_a_damaged_record_is_not_used(cache: EngineCache, caplog: pytest.LogCaptureFixture) -> None:
    cache.remember(KEY, {"bits": 7})
    (record,) = cache.folder.glob("*.record")
    record.write_bytes(record.read_bytes().replace(b"7", b"8"))
    assert cache.recall(KEY) is None
    assert (
        f"record {record} cannot be used and will be rebuilt: its checksum is wrong" in caplog.text
    )


def test_an_unsafe_folder_stores_and_recalls_nothing(
    cache: EngineCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache.folder.mkdir(parents=True)
    cache.folder.chmod(0o777)
    cache.remember(KEY, 7)
    assert cache.recall(KEY) is None
    assert list(cache.folder.iterdir()) == []
    assert "users other than its owner can write to it" in caplog.text


def test_measurements_are_stored_with_the_engine() -> None:
    assert unpack(pack({"equal": 0.98, "wrong": 0.0}, ENGINE)) == (
        {"equal": 0.98, "wrong": 0.0},
        ENGINE,
    )
    with pytest.raises(UnusableEngineError, match="it has no measurements"):
        unpack(ENGINE)


def use_without_home(folder: Path) -> None:
    os.chdir(folder)
    os.setgroups([])
    os.setresuid(54321, 54321, 54321)
    for name in ("HOME", "XDG_CACHE_HOME"):
        os.environ.pop(name, None)
    messages = heard()
    cache = EngineCache(cache_folder())
    assert cache.get(KEY, build, bytes) == ENGINE
    assert cache.recall(KEY) is None
    assert "~ has no home folder; set HOME, or name the cache's folder" in messages[0]
    for method in (cache.entries, cache.clear):
        try:
            method()
        except EngineCacheError as error:
            assert "~ has no home folder" in str(error)
        else:
            raise AssertionError("it says nothing")
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_a_home_gets_engines_all_the_same(public_path: Path) -> None:
    public_path.chmod(0o777)
    assert in_process(use_without_home, public_path) == 0


@pytest.mark.parametrize("name", ["lock", "entry"])
def test_a_folder_in_a_file_s_place_costs_time_only(
    cache: EngineCache, entry: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = entry if name == "entry" else cache.folder / name
    path.unlink(missing_ok=True)
    path.mkdir()
    key = KEY if name == "entry" else OTHER_KEY
    assert cache.get(key, build, bytes) == ENGINE
    assert "Is a directory" in caplog.text
    with pytest.raises(EngineCacheError, match=r"cannot clear engine cache .*Is a directory"):
        cache.clear()


def test_a_path_that_no_folder_can_have_costs_time_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert EngineCache(Path("a\0b")).get(KEY, build, bytes) == ENGINE
    assert "is not used: embedded null byte" in caplog.text


@pytest.mark.parametrize("header", [b"[" * 10**4, b"[1]", b"{" + b" " * (1 << 17) + b"}", b"\xff"])
def test_facts_that_are_no_small_mapping_are_refused(header: bytes) -> None:
    with pytest.raises(UnusableEngineError, match="it has no measurements"):
        unpack(header + b"\nengine")
