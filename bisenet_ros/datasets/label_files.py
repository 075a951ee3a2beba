"""Conversion of the ids or colors in label files to class ids."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import IGNORE_ID, SemanticClass
from bisenet_ros.datasets.dataset import Labels
from bisenet_ros.errors import DatasetError
from bisenet_ros.images.files import Color

SHOWN = 5
"""Maximum number of undefined values that an error message lists."""


@dataclass(frozen=True)
class IdTable:
    """Look-up table from the ids of a file format to class ids.

    - ``table``: int16 [256], the class id of each value, 255 for ignored values and -1 for values
      that the format does not define.
    - ``rule``: the defined values in words, for error messages.
    """

    table: NDArray[np.int16]
    rule: str

    @staticmethod
    def of(ids: Mapping[int, int], rule: str) -> "IdTable":
        """Create the table of a mapping; 255 is always ignored."""
        table = np.full(256, -1, np.int16)
        table[IGNORE_ID] = IGNORE_ID
        for value, class_id in ids.items():
            table[value] = class_id
        return IdTable(table, rule)

    def decode(self, values: NDArray[np.uint8], path: Path) -> Labels:
        """Return the class ids, uint8 [H,W], of ``values``, uint8 [H,W], read from ``path``.

        Raises:
            DatasetError: there are values that the format does not define; the message lists them.
        """
        present = cv2.calcHist([values], [0], None, [256], [0, 256]).ravel() > 0
        foreign = np.flatnonzero(present & (self.table < 0))
        if foreign.size:
            counts = [(str(v), int(np.count_nonzero(values == v))) for v in foreign[:SHOWN]]
            raise _undefined(path, "label", counts, len(foreign), self.rule)
        return np.asarray(cv2.LUT(values, self.table.astype(np.uint8)), np.uint8)


@dataclass(frozen=True)
class ColorTable:
    """Look-up table from colors to class ids.

    - ``ids``: class id of each RGB color, 255 for ignored colors.
    - ``rule``: the defined colors in words, for error messages.
    """

    ids: Mapping[Color, int]
    rule: str

    @cached_property
    def _table(self) -> NDArray[np.int16]:
        """Class id by ``_code`` of the color, int16 [2**24]; -1 for undefined colors."""
        table = np.full(1 << 24, -1, np.int16)
        for color, class_id in self.ids.items():
            table[_code(color)] = class_id
        return table

    def decode(self, values: NDArray[np.uint8], path: Path) -> Labels:
        """Return the class ids, uint8 [H,W], of colors, uint8 [H,W,3] RGB, read from ``path``.

        Raises:
            DatasetError: there are undefined colors; the message lists them with their counts.
        """
        four = np.zeros((*values.shape[:2], 4), np.uint8)  # little-endian bytes of ``_code``
        four[..., :3] = values[..., ::-1]
        codes = four.view("<u4")[..., 0]
        labels = self._table[codes]
        foreign = labels < 0
        if foreign.any():
            found, counts = np.unique(codes[foreign], return_counts=True)
            order = np.argsort(-counts, kind="stable")[:SHOWN]
            named = [(str(_color(int(found[i]))), int(counts[i])) for i in order]
            raise _undefined(path, "color", named, len(found), self.rule)
        return np.asarray(labels, np.uint8)


def class_colors(classes: Sequence[SemanticClass], unlabelled: Iterable[Color]) -> dict[Color, int]:
    """Return the class id of each class color, and 255 for each color of unlabelled pixels.

    Raises:
        DatasetError: two ids have the same color.
    """
    ids: dict[Color, int] = {}
    for color, class_id in [
        *((entry.color, entry.id) for entry in classes),
        *((color, IGNORE_ID) for color in unlabelled),
    ]:
        if ids.setdefault(color, class_id) != class_id:
            raise DatasetError(
                f"classes {ids[color]} and {class_id} have the same color, {color}; labels by "
                "color need a different color for each class"
            )
    return ids


def _undefined(
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
