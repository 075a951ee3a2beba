"""Labelled images in the folders of the datasets that the paper uses, and in one's own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bisenet_ros.datasets import camvid, cityscapes, cocostuff, folder
from bisenet_ros.datasets.dataset import Dataset
from bisenet_ros.errors import DatasetError, quoted

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
    """How the files of a dataset lie: ``find`` gives those of a split, ``folders`` says where."""

    folders: str
    recognize: Callable[[Path, str], bool]
    find: Callable[[Path, str], Dataset]


LAYOUTS = {
    "cityscapes": Layout(cityscapes.FOLDERS, cityscapes.recognize, cityscapes.find),
    # Looks like the one before, so it is never recognized: the name has to be given.
    "cityscapes-coarse": Layout(cityscapes.FOLDERS, lambda *_: False, cityscapes.find_coarse),
    "camvid": Layout(camvid.FOLDERS, camvid.recognize, camvid.find),
    "cocostuff": Layout(cocostuff.FOLDERS, cocostuff.recognize, cocostuff.find),
    "folder": Layout(folder.FOLDERS, folder.recognize, folder.find),
}


def open_dataset(root: str | Path, layout: str = AUTO, split: str = "train") -> Dataset:
    """The split of a dataset, ready to be read.

    Args:
        root: folder of the dataset.
        layout: a key of ``LAYOUTS``, or "auto" for the first whose folders are there.
        split: such as train or val; "train+val" is both, one after the other. A folder with
            images/ and labels/ right in it has no splits, and is what it is.

    Raises:
        DatasetError: an unknown layout, a missing folder or split, a file without its partner.
        ClassesError: a malformed classes.txt.
    """
    dataset = find_dataset(root, layout, split)
    raise_if_problems(dataset.problems)
    return dataset


def raise_if_problems(problems: Sequence[str]) -> None:
    """Raise DatasetError if there are ``problems``, a sentence each."""
    if problems:
        more = len(problems) - 1
        raise DatasetError(
            problems[0]
            + (f", and {more} more such faults" if more else "")
            + "; bisenet train --check-data names every one"
        )


def find_dataset(root: str | Path, layout: str = AUTO, split: str = "train") -> Dataset:
    """As ``open_dataset``, but files without a partner are left to ``Dataset.problems``."""
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f"there is no folder {root}")
    if layout not in (AUTO, *LAYOUTS):
        raise DatasetError(
            f"unknown layout {quoted(layout)}; there are {AUTO}, {', '.join(LAYOUTS)}"
        )
    parts = split.split("+")
    name = recognize(root, parts[0]) if layout == AUTO else layout
    if name is None:
        layouts = "; ".join(f"{name}: {layout.folders}" for name, layout in LAYOUTS.items())
        there = ", ".join(_splits(root))
        raise DatasetError(
            f"{root} has the folders of no layout for split {quoted(parts[0])}"
            + (f", but for {there}" if there else f" ({layouts})")
        )
    chosen = LAYOUTS[name]
    first, *others = [chosen.find(root, part) for part in parts]
    if any(other.classes != first.classes for other in others):
        raise DatasetError(f"the parts of split {quoted(split)} of {root} have different classes")
    pairs = tuple(pair for part in (first, *others) for pair in part.pairs)
    if len(set(pairs)) < len(pairs):
        raise DatasetError(
            f"split {quoted(split)} takes images of {root} twice: a part is given twice, or the "
            "folder has no splits"
        )
    problems = tuple(problem for part in (first, *others) for problem in part.problems)
    return replace(first, pairs=pairs, problems=problems)


def recognize(root: Path, split: str) -> str | None:
    """The first layout whose folders are there for ``split``, if any: a key of ``LAYOUTS``."""
    return next((n for n, layout in LAYOUTS.items() if layout.recognize(root, split)), None)


def _splits(root: Path) -> list[str]:
    """The usual splits, and those named as folders right in ``root``, that some layout has."""
    usual = ["train", "val", "test"]
    folders = sorted(path.name for path in root.iterdir() if path.is_dir())
    return [split for split in dict.fromkeys(usual + folders) if recognize(root, split)]
