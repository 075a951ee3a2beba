"""PASCAL VOC's folders: JPEGImages/ and label images with a palette in SegmentationClass/.

Also CVAT's "Segmentation mask 1.1", the same folders with a labelmap.txt, see ``cvat``, and what
labelme2voc writes, with a class_names.txt. Objects that have a box in Annotations/, but are not in
the label image, are uncertain.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from bisenet_ros.classes import numbered_classes
from bisenet_ros.datasets.dataset import MAX_LIST_BYTES, list_files
from bisenet_ros.datasets.importers.export import (
    Export,
    Picture,
    Source,
    SourceClass,
    is_file,
    relative_path,
    split_name,
)
from bisenet_ros.datasets.importers.masks import MaskReader, image_files, mask_reader
from bisenet_ros.datasets.importers.voc_boxes import with_boxes
from bisenet_ros.documents import read_text
from bisenet_ros.errors import DatasetError, DocumentError
from bisenet_ros.images.files import IMAGE_SUFFIXES, files_below

FOLDERS = "JPEGImages/ and SegmentationClass/"
NAMES = [
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]
BOUNDARY = (224, 224, 192)
"""Color of the pixels around objects, which belong to no class."""


def recognize(root: Path) -> bool:
    """Return whether there are VOC's folders, without the labelmap.txt of CVAT."""
    return masks_folder(root) is not None and not (root / "labelmap.txt").is_file()


def read(source: Source) -> Export:
    """Read VOC's folders.

    Class names are those of ``source.classes``, else of class_names.txt, else VOC's own; ids follow
    VOC's color map in the latter two.

    Raises:
        DatasetError: a folder or list is missing.
        ClassesError: the list of classes is malformed.
    """
    own = source.folder / "class_names.txt"
    notes: tuple[str, ...] = ()
    names, origin = NAMES, "PASCAL VOC"
    if own.is_file():
        names, origin = [line.strip() for line in read_text(own).splitlines()], str(own)
        names = [name for name in names if name and name != "__ignore__"]
    elif source.classes is None:
        notes = ("no class names given: they are the 21 of PASCAL VOC; others with --classes FILE",)
    colors = [(0, 0, 0), *(entry.color for entry in numbered_classes(255))]
    classes = [SourceClass(i, name, colors[i]) for i, name in enumerate(names[:255])]
    masks = mask_reader(source, source.classes, classes, [BOUNDARY], origin)
    pictures, problems, more = list_pictures(source, masks)
    return Export(masks.classes, pictures, (*notes, *more), problems)


def masks_folder(root: Path) -> Path | None:
    """Return the folder of label images, also that of older versions of labelme2voc."""
    for name in ("SegmentationClass", "SegmentationClassPNG"):
        folder = root / name
        if folder.is_dir() and any(path.suffix.lower() == ".png" for path in files_below(folder)):
            return folder
    return None


def list_pictures(
    source: Source, masks: MaskReader
) -> tuple[tuple[Picture, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the images that the lists in ImageSets/Segmentation/ name, problems and notes.

    Without lists every label image counts.

    Raises:
        DatasetError: there are no label images, or a list cannot be read.
    """
    root = source.folder
    folder = masks_folder(root)
    images = source.images or root / "JPEGImages"
    if folder is None:
        raise DatasetError(f"{root} has no label images SegmentationClass/*.png")
    if not images.is_dir():
        raise DatasetError(
            f"there is no folder {images}; export with images, or give theirs with --images"
        )
    found, masked = image_files(images), list_files(folder, (".png",), deep=True)
    files, by_key = found.by_key, masked.by_key
    splits, problems = _splits(root / "ImageSets" / "Segmentation")
    problems += [*found.problems, *masked.problems]
    listed = splits or dict.fromkeys(by_key, "")
    pictures = []
    for key, split in sorted(listed.items()):
        if key not in by_key:
            problems.append(f"'{key}' is listed, but has no label image in {folder}")
        elif key not in files:
            problems.append(f"'{key}' has no image in {images}")
        else:
            name = PurePosixPath(key + files[key].suffix)
            try:
                picture = masks.picture(name, files[key], by_key[key], split)
            except DatasetError as error:
                problems.append(str(error))
                continue
            boxes = root / "Annotations" / f"{key}.xml"
            pictures.append(
                with_boxes(picture, boxes, masks.classes) if is_file(boxes) else picture
            )
    counts = (
        (by_key.keys() - listed.keys(), "label images are in no list of ImageSets/Segmentation"),
        (files.keys() - by_key.keys(), "images have no label image, and are left out"),
    )
    notes = tuple(f"{len(keys)} {what}" for keys, what in counts if keys)
    return tuple(pictures), tuple(problems), notes


def _splits(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Return the split of each name in the lists, and problems; of trainval only if alone."""
    lists = {path: split_name(path.stem) for path in sorted(folder.glob("*.txt"))}
    chosen = {path: split for path, split in lists.items() if split} or lists
    splits: dict[str, str] = {}
    problems = []
    for path, split in chosen.items():
        for key in _names(path):
            if splits.setdefault(key, split) != split:
                problems.append(f"{folder} lists '{key}' in {splits[key]} and in {split}")
    return splits, problems


def _names(path: Path) -> Iterator[str]:
    """Yield the names in a list, one a line; CVAT quotes those with spaces."""
    try:
        lines = read_text(path, MAX_LIST_BYTES).splitlines()
    except DocumentError as error:
        raise DatasetError(f"cannot use a split's list: {error}; give a name a line") from error
    for line in filter(None, map(str.strip, lines)):
        quoted_name = re.match('"(.+)"', line)
        name = relative_path(quoted_name[1] if quoted_name else line)
        if name is None:
            raise DatasetError(f"{path} lists {line}, which leads out of the export")
        yield (name.with_suffix("") if name.suffix in IMAGE_SUFFIXES else name).as_posix()
