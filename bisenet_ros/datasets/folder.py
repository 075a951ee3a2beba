"""The layout for custom data: images/, labels/ and classes.txt."""

from collections.abc import Iterator
from pathlib import Path

from bisenet_ros.classes import read_classes
from bisenet_ros.datasets.dataset import Dataset, list_files, pair_up
from bisenet_ros.datasets.label_files import class_file_reader
from bisenet_ros.errors import DatasetError, quoted
from bisenet_ros.images.files import is_image_file

FOLDERS = (
    "images/ and labels/, or SPLIT/images/ and SPLIT/labels/, or images/SPLIT/ and labels/SPLIT/"
)
KINDS = ("images", "labels")
SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing")
"""Usual names of splits."""


def recognize(root: Path, split: str) -> bool:
    """Return whether images/ or labels/ exists in ``root`` or in its folder of the split."""
    folders = [root, root / split]
    return any((f / name).is_dir() for f in folders for name in KINDS)


def folders(root: Path, split: str) -> tuple[Path, Path]:
    """Return the folders of images and labels of a split, which need not exist.

    They are ``root``/images/``split`` and ``root``/labels/``split`` if one exists; else
    ``root``/images and ``root``/labels if one exists, whatever the split; else
    ``root``/``split``/images and ``root``/``split``/labels.
    """
    within = root / "images" / split, root / "labels" / split
    if any(folder.is_dir() for folder in within):
        return within
    parent = root if recognize(root, "") else root / split
    return parent / "images", parent / "labels"


def find(root: Path, split: str) -> Dataset:
    """Find the image and label files of a split, see ``folders``, also in subfolders.

    classes.txt is next to these folders or one level up. A label image has one channel of class
    ids (255: unlabeled) or the colors of classes.txt, where lines with id 255 define the colors of
    unlabeled pixels.

    Raises:
        DatasetError: a folder is missing or empty, there is no classes.txt, or images/ and labels/
            have splits, but not this one.
        ClassesError: the class file is malformed.
    """
    images, labels = folders(root, split)
    if images == root / "images":
        existing = [n for n in SPLITS if any((root / kind / n).is_dir() for kind in KINDS)]
        if existing:
            raise DatasetError(f"{root} has no split {quoted(split)}; it has {', '.join(existing)}")
    pairs, problems = pair_up(list_files(images, deep=True), list_files(labels, deep=True))
    class_file = find_class_file(labels)
    if class_file is None:
        raise DatasetError(
            f"no classes.txt in {images.parent} or in the folder above; create it with a line "
            "'id name r g b' for each class"
        )
    classes = read_classes(class_file)
    return Dataset(
        root,
        pairs,
        classes,
        class_file_reader(class_file, classes),
        (*_unread(root, split), *problems),
    )


def _unread(root: Path, split: str) -> Iterator[str]:
    """Yield a sentence for each folder whose files belong to no split, see ``folders``."""
    images, _ = folders(root, split)
    for kind in KINDS:
        if images == root / "images" / split:
            count = sum(map(is_image_file, (root / kind).glob("*")))
            if count:
                yield (
                    f"{root / kind} has {count} files beside the folders of splits, which are not "
                    f"read; move them into {root / kind / split} or another split"
                )
        if images == root / "images" and (root / split / kind).is_dir():
            yield (
                f"{root / split / kind} is not read, because {root} has images/ or labels/ of its "
                "own; move the files of one into the other"
            )


def find_class_file(labels: Path) -> Path | None:
    """Return the classes.txt beside a folder of labels or one level up, or None."""
    candidates = (folder / "classes.txt" for folder in (labels.parent, labels.parent.parent))
    return next((path for path in candidates if path.is_file()), None)
