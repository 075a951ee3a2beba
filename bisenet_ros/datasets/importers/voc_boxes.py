"""Boxes of PASCAL VOC's Annotations/, beside label images that may lack the objects in them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from bisenet_ros.datasets.importers.export import (
    UNCERTAIN,
    UNLABELED,
    Box,
    Draw,
    Drawing,
    Picture,
    SourceClass,
    region_of,
)
from bisenet_ros.documents import read_text
from bisenet_ros.errors import DatasetError, DocumentError

MAX_BYTES = 16 * 1024 * 1024
"""Largest file. An object takes about 300 bytes."""

BACKGROUND = ("background", "_background_")
"""Names of the class of pixels outside of objects."""

MIN_FILLED = 0.5
"""Share of a box that the object in it spans, if it is in the label image."""


def with_boxes(picture: Picture, path: Path, classes: Sequence[SourceClass]) -> Picture:
    """Return a picture whose objects that have only a box, in the XML file ``path``, are uncertain.

    They are not in its label image, in which their pixels are background.
    """
    return replace(picture, draw=_Drawer(picture.draw, path, tuple(classes)))


@dataclass(frozen=True)
class _Drawer:
    """Draws the labels of an image."""

    draw: Draw
    path: Path
    classes: tuple[SourceClass, ...]

    def __call__(self, width: int, height: int) -> Drawing:
        drawing = self.draw(width, height)
        positions = {entry.name: position for position, entry in enumerate(self.classes)}
        background = [UNLABELED, *(positions[name] for name in BACKGROUND if name in positions)]
        for name, box in _objects(self.path):
            region = region_of(drawing, box)
            if not _is_segmented(region, positions.get(name)):
                region[np.isin(region, background)] = UNCERTAIN
        return drawing


def _is_segmented(region: Drawing, position: int | None) -> bool:
    """Return whether the pixels of a class, with those of no class around it, span ``region``."""
    if position is None or not (region == position).any():
        return False
    rows, columns = np.nonzero((region == position) | (region == UNLABELED))
    spanned = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    return bool(spanned >= MIN_FILLED * region.size)


def _objects(path: Path) -> Iterator[tuple[str, Box]]:
    """Yield name and box of the objects in a file.

    Raises:
        DatasetError: it is malformed.
    """
    try:
        text = read_text(path, MAX_BYTES)
    except DocumentError as error:
        raise DatasetError(str(error)) from error
    if "<!DOCTYPE" in text:  # could define entities that expand without end
        raise DatasetError(f"{path} has a document type, which VOC's files have not: remove it")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise DatasetError(f"{path} is not XML: {error}") from error
    for entry in root.iter("object"):
        texts = [entry.findtext(f"bndbox/{edge}", "") for edge in ("xmin", "ymin", "xmax", "ymax")]
        try:
            left, top, right, bottom = map(float, texts)
        except ValueError:
            left = top = right = bottom = math.nan
        if not all(map(math.isfinite, (left, top, right, bottom))):
            raise DatasetError(f"{path} has an object whose bndbox is not four numbers: correct it")
        # The first pixel is 1 in VOC's own files, and 0 in those of other tools.
        yield (entry.findtext("name") or "").strip(), (left - 1, top - 1, right, bottom)
