"""Label files: class ids from the ids or colours that they hold."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import UNLABELLED, SemanticClass
from bisenet_ros.training.datasets.dataset import DatasetError, Labels

Color = tuple[int, int, int]

_PALETTE = 3
"""The colour type whose indices OpenCV would turn into colours."""

SHOWN = 5
"""Foreign values that an error message lists."""


def read_label_image(path: Path) -> NDArray[np.uint8]:
    """A label image as it is in the file: ids uint8 [H,W], or colours uint8 [H,W,3] RGB.

    A PNG with a palette, as PASCAL VOC and most labelling tools write it, gives its indices, and
    one of less than 8 bits, as masks are saved, the ids from 0 that are in it.

    Raises:
        DatasetError: not an image of up to 8 bits and one or three channels, or not readable.
    """
    return read_label_image_and_palette(path)[0]


def read_label_image_and_palette(path: Path) -> tuple[NDArray[np.uint8], list[Color]]:
    """As ``read_label_image``, and the colours of the indices; none for other files."""
    bits, color_type = _png_header(path)
    if color_type == _PALETTE:
        return _read_indices(path)
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise DatasetError(f"{path} is not a readable label image")
    if values.dtype != np.uint8 or (values.ndim == 3 and values.shape[2] != 3):
        channels = 1 if values.ndim == 2 else values.shape[2]
        raise DatasetError(
            f"{path} has {channels} channels of {values.dtype}; a label image has 8 bits and one "
            "channel of class ids, or three of class colours"
        )
    if values.ndim == 3:
        values = cv2.cvtColor(values, cv2.COLOR_BGR2RGB)
    elif bits < 8:
        values = values // (255 // (2**bits - 1))  # OpenCV stretches them to 0..255
    return values.astype(np.uint8, copy=False), []


@dataclass(frozen=True)
class IdTable:
    """Class ids from the ids of a file format.

    ``table`` is int16 [256]: the class id of each value, 255 for values that do not count, and -1
    for values that the format does not have; ``rule`` says in words which it has.
    """

    table: NDArray[np.int16]
    rule: str

    @staticmethod
    def of(ids: Mapping[int, int], rule: str) -> "IdTable":
        """The table of a mapping; value 255 is no class."""
        table = np.full(256, -1, np.int16)
        table[UNLABELLED] = UNLABELLED
        for value, class_id in ids.items():
            table[value] = class_id
        return IdTable(table, rule)

    def decode(self, values: NDArray[np.uint8], path: Path) -> Labels:
        """Class ids of the values [H,W] that ``path`` holds.

        Raises:
            DatasetError: naming the file and the values that the format does not have.
        """
        present = cv2.calcHist([values], [0], None, [256], [0, 256]).ravel() > 0
        foreign = np.flatnonzero(present & (self.table < 0))
        if foreign.size:
            counts = [(str(v), int(np.count_nonzero(values == v))) for v in foreign[:SHOWN]]
            raise _foreign(path, "label", counts, len(foreign), self.rule)
        return np.asarray(cv2.LUT(values, self.table.astype(np.uint8)), np.uint8)


@dataclass(frozen=True)
class ColorTable:
    """Class ids from colours.

    ``ids`` is the class id of each RGB colour, 255 for those that do not count; ``rule`` says in
    words which there are.
    """

    ids: Mapping[Color, int]
    rule: str

    @cached_property
    def _table(self) -> NDArray[np.int16]:
        """The id of every colour there is, by ``_code``; -1 for those that are not ours."""
        table = np.full(1 << 24, -1, np.int16)
        for color, class_id in self.ids.items():
            table[_code(color)] = class_id
        return table

    def decode(self, values: NDArray[np.uint8], path: Path) -> Labels:
        """Class ids of the colours [H,W,3] RGB that ``path`` holds.

        Raises:
            DatasetError: naming the file, the colours that are not in the table, and how often.
        """
        four = np.zeros((*values.shape[:2], 4), np.uint8)  # bytes of one number, lowest first
        four[..., :3] = values[..., ::-1]
        codes = four.view("<u4")[..., 0]
        labels = self._table[codes]
        foreign = labels < 0
        if foreign.any():
            found, counts = np.unique(codes[foreign], return_counts=True)
            order = np.argsort(-counts, kind="stable")[:SHOWN]
            named = [(str(_color(int(found[i]))), int(counts[i])) for i in order]
            raise _foreign(path, "colour", named, len(found), self.rule)
        return np.asarray(labels, np.uint8)


def class_colors(classes: Sequence[SemanticClass], unlabelled: Iterable[Color]) -> dict[Color, int]:
    """Class id by colour, and 255 for the colours of no class.

    Raises:
        DatasetError: two of them share a colour.
    """
    ids: dict[Color, int] = {}
    for color, class_id in [
        *((entry.color, entry.id) for entry in classes),
        *((color, UNLABELLED) for color in unlabelled),
    ]:
        if ids.setdefault(color, class_id) != class_id:
            raise DatasetError(
                f"classes {ids[color]} and {class_id} have one colour, {color}; labels by colour "
                "need a colour for each class"
            )
    return ids


def _foreign(
    path: Path, what: str, counts: Sequence[tuple[str, int]], total: int, rule: str
) -> DatasetError:
    named = ", ".join(f"{value} ({count} pixels)" for value, count in counts)
    more = f" and {total - len(counts)} more" if total > len(counts) else ""
    return DatasetError(f"{path} has {what}{'s' * (total > 1)} {named}{more}; {rule}")


def _code(color: Color) -> int:
    red, green, blue = color
    return red << 16 | green << 8 | blue


def _color(code: int) -> Color:
    return code >> 16, code >> 8 & 255, code & 255


def _png_header(path: Path) -> tuple[int, int]:
    """Bits a sample and colour type of a PNG; 8 and 0 for other files."""
    try:
        with path.open("rb") as file:
            header = file.read(26)
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}") from None
    png = header.startswith(b"\x89PNG\r\n\x1a\n") and len(header) == 26
    return (header[24], header[25]) if png else (8, 0)


def _read_indices(path: Path) -> tuple[NDArray[np.uint8], list[Color]]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            values = image.getpalette("RGB") or []
            colors = list(zip(values[::3], values[1::3], values[2::3], strict=True))
            return np.asarray(image, np.uint8), colors
    except OSError:  # also what Pillow raises for a truncated or unknown file
        raise DatasetError(f"{path} is not a readable label image") from None
