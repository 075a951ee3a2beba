"""Label files of a source's frames: paired by name with images, in order with other frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import SemanticClass, read_classes
from bisenet_ros.datasets import cityscapes
from bisenet_ros.datasets.dataset import Files, ReadLabels, list_files, pair_up, without_companions
from bisenet_ros.datasets.folder import find_class_file
from bisenet_ros.datasets.label_files import class_file_reader, have_same_names
from bisenet_ros.datasets.pairing import in_order, labels_by_image
from bisenet_ros.errors import SourceError
from bisenet_ros.resources import share_directory

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class LabelFiles:
    """Label files of a source's frames.

    Attributes:
        folder: Folder of the files.
        by_name: File of each frame that has a name.
        in_order: Files of frames without names.
        class_file: classes.txt of the values in the files, or None.
    """

    folder: Path
    by_name: Mapping[str, Path]
    in_order: Sequence[Path]
    class_file: Path | None

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes in ``class_file``, or None."""
        if self.class_file is None:
            return None
        return tuple(entry.name for entry in read_classes(self.class_file))

    def reader(self, classes: Sequence[SemanticClass]) -> ReadLabels:
        """Return the reader of the files; ``classes`` count if there is no ``class_file``."""
        if self.class_file is not None:
            classes = read_classes(self.class_file)
        read = class_file_reader(self.class_file, classes)
        official_classes = read_classes(
            share_directory() / "config" / "classes" / "cityscapes.yaml"
        )
        if not have_same_names(classes, official_classes):
            return read

        def read_official(path: Path) -> Labels:
            official = path.stem.endswith(("_labelIds", "_labelTrainIds"))
            return cityscapes.read_labels(path) if official else read(path)

        return read_official


def find_label_files(folder: Path, images: Files | None, *, single: bool = False) -> LabelFiles:
    """Find the label files in a folder and its subfolders.

    Args:
        folder: Folder of label files; classes.txt is in it, beside it or one level up.
        images: Image files to pair by name; None for frames without names.
        single: Whether ``images`` is one image, whose folder may contain others.

    Raises:
        SourceError: An image has no label file, a label file has no image, or the order of the
            label files is ambiguous.
        DatasetError: The folder has no label files.
    """
    if not folder.is_dir():
        raise SourceError(f"no folder of label images {folder}")
    labels = without_companions(list_files(folder, deep=True))
    class_file = find_class_file(folder)
    if images is None:
        _raise_if_problems(folder, labels.problems)
        return LabelFiles(folder, {}, in_order(labels.by_key.values()), class_file)
    if single:
        labels = _labels_of_image(images, labels, folder)
    pairs, problems = pair_up(images, labels)
    _raise_if_problems(folder, problems)
    paths = dict(pairs)
    by_name = {name: paths[path] for name, path in images.by_key.items()}
    return LabelFiles(folder, by_name, (), class_file)


def _labels_of_image(images: Files, labels: Files, folder: Path) -> Files:
    """Return the labels of the only image, not those of its neighbors.

    Raises:
        SourceError: There are none.
    """
    ((name, image),) = images.by_key.items()
    others = {key: path for key, path in labels.by_key.items() if path != image}
    found = labels_by_image([name], others).get(name)
    if found is None:
        _raise_if_problems(folder, labels.problems)
        raise SourceError(
            f"none of the {len(labels.by_key)} label files in {folder} is named like "
            f"{image}; name it like its image, such as {image.stem}.png"
        )
    return Files({key: labels.by_key[key] for key in found}, labels.problems)


def _raise_if_problems(folder: Path, problems: Sequence[str]) -> None:
    if problems:
        more = f" ({len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise SourceError(f"cannot use the labels in {folder}: {problems[0]}{more}")
