"""Folders of images and of label images: ids, palettes or colors of a list of classes.

The list is ``Source.classes`` or the export's classes.txt, completed by the values that the user's
map names; a map alone will do.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from bisenet_ros.classes import IGNORE_ID, read_entries
from bisenet_ros.datasets.dataset import Files, files_by_key, pair_up
from bisenet_ros.datasets.importers.export import (
    SPLITS,
    UNLABELED,
    Drawing,
    Export,
    Picture,
    Source,
    SourceClass,
    split_name,
)
from bisenet_ros.datasets.label_files import IdTable, LabelReader
from bisenet_ros.documents import read_text
from bisenet_ros.errors import ClassesError, DatasetError, DocumentError, first_line, quoted
from bisenet_ros.images.files import check_regular, files_below, is_image_file
from bisenet_ros.images.label_images import Color

FOLDERS = "images/ and labels/ or masks/, also in or above folders of splits"
LABEL_FOLDERS = ("labels", "masks")


def recognize(root: Path) -> bool:
    """Return whether there are folders of images and of label images."""
    return any(has_label_images(labels) for _, labels in _folders(root))


def has_label_images(folder: Path) -> bool:
    """Return whether there are images at any depth of ``folder``."""
    return any(map(is_image_file, files_below(folder)))


def read(source: Source) -> Export:
    """Read folders of images and label images, paired by name as in a dataset, see ``pair_up``.

    Raises:
        DatasetError: there are no such folders.
        ClassesError: the list of classes is missing or malformed.
    """
    root = source.folder
    pairs = [(source.images, root)] if source.images else list(_folders(root))
    if not pairs:
        raise DatasetError(f"{root} has no {FOLDERS}")
    own = next(
        (f for f in (root / "classes.txt", root.parent / "classes.txt") if f.is_file()), None
    )
    masks = mask_reader(source, source.classes or own)
    pictures: list[Picture] = []
    problems: list[str] = []
    for images, labels in pairs:
        found, unpaired = pair_up(image_files(images), image_files(labels))
        problems += unpaired
        for path, mask in found:
            name = PurePosixPath(path.relative_to(images).as_posix())
            if not source.images:
                name = PurePosixPath(images.parent.relative_to(root).as_posix()) / name
            # Of images in train/images/ or images/train/.
            split = split_name(name.parts[0]) if len(name.parts) > 1 else ""
            try:
                pictures.append(masks.picture(name, path, mask, split))
            except DatasetError as error:
                problems.append(str(error))
    return Export(masks.classes, tuple(pictures), problems=tuple(problems))


def image_files(folder: Path) -> Files:
    """Return the images at any depth of ``folder``."""
    return files_by_key(folder, filter(is_image_file, files_below(folder)))


def _folders(root: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the folders of images and label images in ``root`` and its folders of splits."""
    if not root.is_dir():
        return
    splits = [path for path in sorted(root.iterdir()) if path.name.lower() in SPLITS]
    for parent in (root, *splits):
        labels = next((parent / n for n in LABEL_FOLDERS if (parent / n).is_dir()), None)
        if labels and (parent / "images").is_dir():
            yield parent / "images", labels


@dataclass(frozen=True)
class MaskReader:
    """Reader of label images.

    - ``classes``: the classes; an id is the value or palette index of a class, a color its color.
    - ``void``: colors of pixels without a class; the value 255 always is one.
    - ``origin``: what defines the values, for messages.
    """

    classes: tuple[SourceClass, ...]
    void: tuple[Color, ...]
    origin: str

    def picture(self, name: PurePosixPath, image: Path, mask: Path, split: str) -> Picture:
        """Return the image in file ``image`` with the label image ``mask``.

        Raises:
            DatasetError: ``mask`` is not an image.
        """
        try:
            check_regular(mask)
            with Image.open(mask) as opened:
                size = opened.size
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise DatasetError(
                f"{mask} is not a readable label image: {first_line(error)}"
            ) from None
        return Picture(name, image, size, lambda *_: self.read(mask), split)

    def read(self, path: Path) -> Drawing:
        """Read a label image.

        Raises:
            DatasetError, ImageFileError: as ``LabelReader``.
        """
        drawing = self._read(path).astype(np.int16)
        drawing[drawing == IGNORE_ID] = UNLABELED
        return drawing

    @cached_property
    def _read(self) -> LabelReader:
        ids = {entry.id: k for k, entry in enumerate(self.classes) if entry.id is not None}
        colors = [(entry.color, k) for k, entry in enumerate(self.classes) if entry.color]
        listed = ", ".join(map(str, sorted(ids))) or "none"
        return LabelReader(
            IdTable.of(
                ids,
                f"the ids of {self.origin} are {listed}, and 255 for no class; --map can name "
                "others",
            ),
            (*colors, *((color, IGNORE_ID) for color in self.void)),
            self.origin,
            f"the colors are those of {self.origin}; --map can name others, as in '64 0 64: void'",
        )


def mask_reader(
    source: Source,
    listed: Path | None,
    classes: Iterable[SourceClass] = (),
    void: Iterable[Color] = (),
    origin: str = "--map",
) -> MaskReader:
    """Return a reader for the classes of file ``listed``, else for ``classes``.

    The values that the user's map names are added.

    Raises:
        ClassesError: the file is malformed, an id is given twice or not in 0..254, or there are no
            classes at all.
    """
    entries, colors = list(classes), list(void)
    if listed is not None:
        entries, colors = read_source_classes(listed)
        origin = str(listed)
    outside = [id_ for id_ in source.ids if not 0 <= id_ < IGNORE_ID]
    if outside:
        raise ClassesError(
            f"--map names id {outside[0]}, but label images have 0 to 254, and 255 is no class; "
            "--background NAME gives that one"
        )
    ids = {entry.id for entry in entries}
    known = {entry.color for entry in entries} | set(colors)
    entries += [SourceClass(id_, f"id {id_}") for id_ in source.ids if id_ not in ids]
    entries += [
        SourceClass(None, f"color {' '.join(map(str, color))}", color)
        for color in source.colors
        if color not in known
    ]
    if not entries:
        raise ClassesError(
            f"{source.root} does not name its classes; give a file with --classes, or name each "
            "value with --map"
        )
    numbers = [entry.id for entry in entries if entry.id is not None]
    wrong = [n for n in numbers if not 0 <= n < IGNORE_ID or numbers.count(n) > 1]
    if wrong or len(entries) > IGNORE_ID:
        raise ClassesError(
            f"{origin}: id {wrong[0]} is given twice or is not in 0 to 254"
            if wrong
            else f"{origin}: {len(entries)} classes; there must be at most {IGNORE_ID}"
        )
    return MaskReader(tuple(entries), tuple(dict.fromkeys(colors)), origin)


def read_source_classes(path: Path) -> tuple[list[SourceClass], list[Color]]:
    """Read classes and the colors of unlabeled pixels from a class file or a list of names.

    Unlike those of a dataset, ids may have gaps. In a list of names, one a line, a name's id is the
    number of lines before it.

    Raises:
        ClassesError: the file is missing or malformed.
    """
    try:
        lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    except DocumentError as error:
        raise ClassesError(f"cannot use class file: {error}") from error
    numbered = any(re.match(r"[0-9].*[0-9]\s*(#|$)", line) for line in lines)
    if path.suffix == ".txt" and not numbered:
        return [SourceClass(i, name) for i, name in enumerate(lines)], []
    entries = read_entries(path)
    for entry in entries:
        color = entry.color
        if type(entry.id) is not int or not isinstance(entry.name, str):
            raise ClassesError(f"class file {path}: {quoted(entry.id)} {quoted(entry.name)}")
        if not all(type(value) is int and 0 <= value <= 255 for value in color):
            raise ClassesError(f"class file {path}: color {quoted(color)} is not three of 0..255")
    return (
        [SourceClass(e.id, e.name, e.color) for e in entries if e.id != IGNORE_ID],
        [e.color for e in entries if e.id == IGNORE_ID],
    )
