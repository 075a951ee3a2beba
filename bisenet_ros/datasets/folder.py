"""The layout for custom data: images/, labels/ and classes.txt."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bisenet_ros.classes import SemanticClass, read_classes, read_unlabelled_colors
from bisenet_ros.datasets.dataset import Dataset, Labels, list_files, pair_up
from bisenet_ros.datasets.label_files import ColorTable, IdTable, class_colors
from bisenet_ros.errors import DatasetError, quoted
from bisenet_ros.images.files import Color, is_image_file, read_label_image_and_palette

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
    ids (255: unlabelled) or the colors of classes.txt, where lines with id 255 define the colors of
    unlabelled pixels.

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
        root, pairs, classes, LabelReader(class_file, classes), (*_unread(root, split), *problems)
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


@dataclass(frozen=True)
class LabelReader:
    """Reader of label images by id, palette index or color.

    - ``class_file``: file of the classes; None if they are the model's.
    - ``classes``: classes by id.
    """

    class_file: Path | None
    classes: tuple[SemanticClass, ...]

    def __call__(self, path: Path) -> Labels:
        values, palette = read_label_image_and_palette(path)
        if values.ndim == 3:
            return self._colors.decode(values, path)
        if palette:
            used = np.flatnonzero(np.bincount(values.ravel())).tolist()
            self._require_own_palette({i: palette[i] for i in used if i < len(palette)}, path)
        return self._ids.decode(values, path)

    @cached_property
    def _ids(self) -> IdTable:
        number = len(self.classes)
        rule = f"labels are 0 to {number - 1} and 255 for no class"
        return IdTable.of({id_: id_ for id_ in range(number)}, rule)

    @cached_property
    def _colors(self) -> ColorTable:
        if self.class_file is None:
            rule = "allowed colors are those of the model; others need a classes.txt by the labels"
            return ColorTable(class_colors(self.classes, ()), rule)
        rule = (
            f"allowed colors are those in {self.class_file}; a line '255 void 0 0 0' there makes "
            "black unlabelled"
        )
        return ColorTable(class_colors(self.classes, read_unlabelled_colors(self.class_file)), rule)

    def _require_own_palette(self, colors: Mapping[int, Color], path: Path) -> None:
        """Raise DatasetError if palette indices map to the colors of other classes.

        Image editors assign indices to colors in order of appearance, so the indices are not class
        ids. A single color is no evidence: index 0 of most palettes is black.
        """
        if len(colors) < 2:
            return
        ids = {entry.color: entry.id for entry in self.classes}
        if not all(color in ids for color in colors.values()):
            return  # an unrelated palette, such as that of PASCAL VOC
        wrong = [index for index, color in colors.items() if ids[color] != index]
        if wrong:
            index = wrong[0]
            where = self.class_file or "the model"
            raise DatasetError(
                f"{path} has a palette in which index {index} is {colors[index]}, but "
                f"{where} gives that color to class {ids[colors[index]]}: its indices "
                "are not class ids; save it as RGB, without a palette"
            )
