"""A dataset folder appears whole or not at all."""

import errno
import resource
from pathlib import Path, PurePosixPath
from typing import NoReturn

import numpy as np
import pytest
from exports import write_picture

from bisenet_ros.datasets.importers.class_map import ClassMap, map_classes
from bisenet_ros.datasets.importers.export import Export, Picture, SourceClass
from bisenet_ros.datasets.importers.writer import write_dataset

CLASSES = (SourceClass(0, "road"), SourceClass(1, "car"))


def interrupted() -> NoReturn:
    raise KeyboardInterrupt


def full_disk(width: int, height: int) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("reason", ["Ctrl-C", "full disk"])
def test_nothing_is_left_of_an_import_that_stops(tmp_path: Path, reason: str) -> None:
    def zeros(width: int, height: int) -> np.ndarray:
        return np.zeros((height, width), np.int16)

    pictures = []
    for number in range(20):
        path = tmp_path / f"in/{number}.png"
        write_picture(path)
        draw = full_disk if reason == "full disk" and number == 5 else zeros
        pictures.append(Picture(PurePosixPath(path.name), path, None, draw))
    export = Export(CLASSES, tuple(pictures))
    targets = map_classes(CLASSES, ClassMap())
    with pytest.raises(KeyboardInterrupt if reason == "Ctrl-C" else OSError):
        write_dataset(
            export,
            targets,
            tmp_path / "out",
            done=interrupted if reason == "Ctrl-C" else lambda: None,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_labels_that_are_cut_off_are_an_error(tmp_path: Path) -> None:
    picture = write_picture(tmp_path / "in/a.bmp", 16, 12)
    labels = np.random.default_rng(0).integers(0, 2, picture.shape[:2]).astype(np.int16)
    entry = Picture(PurePosixPath("a.bmp"), tmp_path / "in/a.bmp", None, lambda *_: labels)
    export = Export(CLASSES, (entry,))
    targets = map_classes(CLASSES, ClassMap())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write .*labels/a\.png: File too large"):
            write_dataset(export, targets, tmp_path / "out", link=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
