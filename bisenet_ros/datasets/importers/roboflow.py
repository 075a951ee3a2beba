"""Roboflow's "Semantic Segmentation Masks": x.jpg, x_mask.png and _classes.csv in each split."""

import csv
from pathlib import Path, PurePosixPath

from bisenet_ros.datasets.dataset import files_by_key
from bisenet_ros.datasets.importers.export import (
    SPLITS,
    Export,
    Picture,
    Source,
    SourceClass,
    split_name,
)
from bisenet_ros.datasets.importers.masks import mask_reader
from bisenet_ros.documents import read_text
from bisenet_ros.errors import ClassesError, DatasetError, DocumentError, quoted
from bisenet_ros.images.files import is_image_file

FOLDERS = "train/, valid/ and test/ with x.jpg, x_mask.png and _classes.csv"
CLASSES = "_classes.csv"


def recognize(root: Path) -> bool:
    """Return whether ``root`` or a folder of a split has the list of classes."""
    return any((folder / CLASSES).is_file() for folder in _folders(root))


def read(source: Source) -> Export:
    """Read the export.

    Raises:
        DatasetError: there is no folder with a list of classes.
        ClassesError: the lists of classes are malformed or differ.
    """
    folders = _folders(source.folder)
    files = [folder / CLASSES for folder in folders if (folder / CLASSES).is_file()]
    if not files:
        raise DatasetError(f"{source.folder} has no {CLASSES}, nor has a folder of a split in it")
    lists = {path: _classes(path) for path in files}
    (first, classes), *others = lists.items()
    for path, other in others:
        if other != classes:
            raise ClassesError(f"{path} and {first} differ; export all splits of one version")
    masks = mask_reader(source, source.classes, classes, (), str(first))
    pictures: list[Picture] = []
    problems: list[str] = []
    for folder in folders:
        split = split_name(folder.name) if folder != source.folder else ""
        prefix = folder.relative_to(source.folder).as_posix()
        unused = {path.name: path for path in sorted(folder.glob("*_mask.png"))}
        images = sorted({*filter(is_image_file, folder.iterdir())} - {*unused.values()})
        found = files_by_key(folder, images)
        problems += found.problems
        for path in found.by_key.values():
            mask = unused.pop(f"{path.stem}_mask.png", None)
            if mask is None:
                problems.append(f"{path} has no {path.stem}_mask.png beside it")
                continue
            try:
                pictures.append(masks.picture(PurePosixPath(prefix, path.name), path, mask, split))
            except DatasetError as error:
                problems.append(str(error))
        problems += [f"{path} has no image beside it" for path in unused.values()]
    return Export(masks.classes, tuple(pictures), problems=tuple(problems))


def _folders(root: Path) -> list[Path]:
    """Return ``root`` and its folders of splits, as far as they have label images or classes."""
    if not root.is_dir():
        return []
    splits = [path for path in sorted(root.iterdir()) if path.name.lower() in SPLITS]
    return [
        folder
        for folder in (root, *splits)
        if (folder / CLASSES).is_file() or any(folder.glob("*_mask.png"))
    ]


def _classes(path: Path) -> list[SourceClass]:
    """Read rows ``value, name`` below a header."""
    try:
        rows = list(csv.reader(read_text(path).splitlines(), skipinitialspace=True))
    except (DocumentError, csv.Error) as error:
        raise ClassesError(f"cannot use the classes: {path}: {error}") from error
    classes = []
    for number, row in enumerate(rows, start=1):
        value = row[0].strip() if len(row) == 2 else ""
        if value.isdecimal() and len(value) < 9:
            classes.append(SourceClass(int(value), row[1]))
        elif row and number > 1:
            raise ClassesError(f"{path}: line {number} is {quoted(row)}, not 'value, name'")
    return classes
