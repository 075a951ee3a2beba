"""Datasets of images with labels: Cityscapes, CamVid, COCO-Stuff and plain folders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bisenet_ros.datasets import camvid, cityscapes, cocostuff, folder
from bisenet_ros.datasets.dataset import Dataset
from bisenet_ros.errors import DatasetError, quoted
from bisenet_ros.images.bit_depth import FULL_DEPTH, BitDepth

__all__ = [
    "AUTO",
    "LAYOUTS",
    "Dataset",
    "DatasetError",
    "find_dataset",
    "open_dataset",
    "raise_if_problems",
    "recognize",
]

AUTO = "auto"


@dataclass(frozen=True)
class Layout:
    """Folder layout of a dataset.

    - ``folders``: description of the folders, for messages.
    - ``recognize``: whether a root folder has this layout, for a split.
    - ``find``: the files of a split.
    """

    folders: str
    recognize: Callable[[Path, str], bool]
    find: Callable[[Path, str], Dataset]


LAYOUTS = {
    "cityscapes": Layout(cityscapes.FOLDERS, cityscapes.recognize, cityscapes.find),
    # Has the same folders as cityscapes, so it has to be selected by name.
    "cityscapes-coarse": Layout(cityscapes.FOLDERS, lambda *_: False, cityscapes.find_coarse),
    "camvid": Layout(camvid.FOLDERS, camvid.recognize, camvid.find),
    "cocostuff": Layout(cocostuff.FOLDERS, cocostuff.recognize, cocostuff.find),
    "folder": Layout(folder.FOLDERS, folder.recognize, folder.find),
}


def open_dataset(
    root: str | Path, layout: str = AUTO, split: str = "train", bit_depth: int = FULL_DEPTH
) -> Dataset:
    """Open one split of a dataset.

    Args:
        root: folder of the dataset.
        layout: a key of ``LAYOUTS``, or "auto" for the first one whose folders exist.
        split: such as train or val; "train+val" concatenates both. If ``root`` directly contains
            images/ and labels/, it has no splits and every name gives all of it.
        bit_depth: number of bits of the values in 16-bit images, see ``BitDepth``.

    Raises:
        DatasetError: the layout is unknown, a folder or the split is missing, or an image has no
            labels or labels have no image.
        ClassesError: classes.txt is malformed.
    """
    dataset = find_dataset(root, layout, split, bit_depth)
    raise_if_problems(dataset.problems)
    return dataset


def raise_if_problems(problems: Sequence[str]) -> None:
    """Raise DatasetError with the first of ``problems``, one sentence each, if there are any."""
    if problems:
        more = len(problems) - 1
        raise DatasetError(
            problems[0]
            + (f", and {more} more problems" if more else "")
            + "; 'bisenet dataset check' names every one"
        )


def find_dataset(
    root: str | Path, layout: str = AUTO, split: str = "train", bit_depth: int = FULL_DEPTH
) -> Dataset:
    """Open one split of a dataset, listing unpaired files in ``Dataset.problems``.

    Args:
        root: see ``open_dataset``.
        layout: see ``open_dataset``.
        split: see ``open_dataset``.
        bit_depth: see ``open_dataset``.

    Raises:
        DatasetError: the layout is unknown, a folder or the split is missing, parts of the split
            overlap, or they have different classes.
        ClassesError: classes.txt is malformed.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f"there is no folder {root}")
    if layout not in (AUTO, *LAYOUTS):
        raise DatasetError(
            f"unknown layout {quoted(layout)}; it must be one of {AUTO}, {', '.join(LAYOUTS)}"
        )
    parts = split.split("+")
    name = recognize(root, parts[0]) if layout == AUTO else layout
    if name is None:
        layouts = "; ".join(f"{name}: {layout.folders}" for name, layout in LAYOUTS.items())
        existing = ", ".join(_splits(root))
        if existing:
            raise DatasetError(f"{root} has no split {quoted(parts[0])}; it has {existing}")
        raise DatasetError(
            f"{root} matches no known layout for split {quoted(parts[0])} ({layouts})"
        )
    chosen = LAYOUTS[name]
    first, *others = [chosen.find(root, part) for part in parts]
    if any(other.classes != first.classes for other in others):
        raise DatasetError(f"the parts of split {quoted(split)} of {root} have different classes")
    pairs = tuple(pair for part in (first, *others) for pair in part.pairs)
    if len(set(pairs)) < len(pairs):
        raise DatasetError(
            f"split {quoted(split)} contains images of {root} twice: a part is given twice, or "
            "the folder has no splits"
        )
    problems = tuple(problem for part in (first, *others) for problem in part.problems)
    return replace(first, pairs=pairs, problems=problems, depth=BitDepth(bit_depth))


def recognize(root: Path, split: str) -> str | None:
    """Return the first key of ``LAYOUTS`` whose folders exist for ``split``, or None."""
    return next((n for n, layout in LAYOUTS.items() if layout.recognize(root, split)), None)


def _splits(root: Path) -> list[str]:
    """Return the splits in ``root`` among the usual names and the names of its folders."""
    usual = ["train", "val", "test"]
    folders = sorted(path.name for path in root.iterdir() if path.is_dir())
    return [split for split in dict.fromkeys(usual + folders) if recognize(root, split)]
