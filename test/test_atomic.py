"""Atomic replacement of files, with killed writers and an order that survives a power cut."""

import multiprocessing
import os
import signal
import stat
from pathlib import Path

import pytest

from bisenet_ros.atomic import atomic_write, remove_partial_files

processes = multiprocessing.get_context("spawn")


def test_a_file_and_those_beside_it_are_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.xml"
    with atomic_write(str(path)) as written:
        written.write_text("graph")
        written.with_suffix(".bin").write_text("weights")
        assert list(path.parent.glob("model.*")) == []
    assert {each.name: each.read_text() for each in path.parent.iterdir()} == {
        "model.xml": "graph",
        "model.bin": "weights",
    }


def test_the_old_file_stays_if_the_writer_raises(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="disk full"), atomic_write(path) as written:
        written.write_text("half of the n")
        raise RuntimeError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_target_of_a_symlink_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "v1.onnx", tmp_path / "latest.onnx"
    target.write_text("old")
    link.symlink_to(target)
    with atomic_write(link) as written:
        written.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.parametrize(("mode", "expected"), [(None, 0o640), (0o600, 0o600), (0o644, 0o644)])
def test_files_have_the_mode_asked_for(tmp_path: Path, mode: int | None, expected: int) -> None:
    path = tmp_path / "file"
    before = os.umask(0o027)
    try:
        with atomic_write(path, mode) as written:
            written.write_text("text")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == expected


def test_data_reach_the_disk_before_the_name_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("old")
    synced: list[tuple[str, str]] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        fsync(descriptor)
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        synced.append((name, path.read_text()))

    monkeypatch.setattr(os, "fsync", record)
    with atomic_write(path) as written:
        written.write_text("new")
    assert synced == [("model.onnx", "old"), (tmp_path.name, "new")]


def die_while_writing(path: Path) -> None:
    with atomic_write(path) as written:
        written.write_text("half of the n")
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_writer_left_can_be_removed(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("old")
    process = processes.Process(target=die_while_writing, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    remove_partial_files(tmp_path)
    assert list(tmp_path.iterdir()) == [path]
