"""Conversion of the ids or colors in label files to class ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import (
    IGNORE_ID,
    SemanticClass,
    read_classes,
    read_unlabeled_colors,
)
from bisenet_ros.datasets.dataset import Labels, ReadLabels
from bisenet_ros.errors import DatasetError, UndefinedValuesError
from bisenet_ros.images.label_images import Color, read_label_image_and_palette
from bisenet_ros.resources import share_directory

SHOWN = 5
"""Maximum number of undefined values that an error message lists."""

COUNTED = 100
"""Maximum number of undefined values that an error counts; blurred labels have thousands."""


@dataclass(frozen=True)
class UndefinedValues:
    """Values of a label file that its dataset does not define.

    - ``path``: the file.
    - ``kind``: "label" or "color".
    - ``counts``: number of pixels of each value, the most frequent ``COUNTED`` ones.
    - ``number``: number of all undefined values.
    - ``pixels``: number of pixels in the file.
    - ``rule``: the defined values in words.
    """

    path: Path
    kind: str
    counts: Mapping[str, int]
    number: int
    pixels: int
    rule: str

    def __str__(self) -> str:
        named = [f"{value} ({count} pixels)" for value, count in self.counts.items()][:SHOWN]
        more = f" and {self.number - len(named)} more" if self.number > len(named) else ""
        values = f"{self.kind}{'s' * (self.number > 1)} {', '.join(named)}{more}"
        return f"{self.path} has {values}; {self.rule}"


@dataclass(frozen=True)
class IdTable:
    """Look-up table from the ids of a file format to class ids.

    - ``class_ids``: the class id of each value 0..255, 255 for ignored values and -1 for values
      that the format does not define.
    - ``rule``: the defined values in words, for error messages.
    """

    class_ids: tuple[int, ...]
    rule: str

    @staticmethod
    def of(ids: dict[int, int], rule: str) -> "IdTable":
        """Create the table of a mapping; 255 is always ignored."""
        return IdTable(
            tuple((ids | {IGNORE_ID: IGNORE_ID}).get(value, -1) for value in range(256)), rule
        )

    @cached_property
    def table(self) -> NDArray[np.int16]:
        """``class_ids`` as int16 [256]."""
        return np.array(self.class_ids, np.int16)

    def decode(self, values: NDArray[np.uint8], path: Path) -> Labels:
        """Return the class ids, uint8 [H,W], of ``values``, uint8 [H,W], read from ``path``.

        Raises:
            UndefinedValuesError: there are values that the format does not define.
        """
        present = cv2.calcHist([values], [0], None, [256], [0, 256]).ravel() > 0
        foreign = np.flatnonzero(present & (self.table < 0))
        if foreign.size:
            counts = {str(v): int(np.count_nonzero(values == v)) for v in foreign[:COUNTED]}
            found = UndefinedValues(path, "label", counts, len(foreign), values.size, self.rule)
            raise UndefinedValuesError(str(found), found)
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
            UndefinedValuesError: there are undefined colors.
        """
        four = np.zeros((*values.shape[:2], 4), np.uint8)  # little-endian bytes of ``_code``
        four[..., :3] = values[..., ::-1]
        codes = four.view("<u4")[..., 0]
        labels = self._table[codes]
        foreign = labels < 0
        if foreign.any():
            found, pixels = np.unique(codes[foreign], return_counts=True)
            order = np.argsort(-pixels, kind="stable")[:COUNTED]
            counts = {str(_color(int(found[i]))): int(pixels[i]) for i in order}
            undefined = UndefinedValues(path, "color", counts, len(found), codes.size, self.rule)
            raise UndefinedValuesError(str(undefined), undefined)
        return np.asarray(labels, np.uint8)


@dataclass(frozen=True)
class LabelReader:
    """Reader of label images by id, color or palette; the ``decode`` of a dataset.

    - ``ids``: meaning of images with one channel.
    - ``colors``: (color, class id) pairs, 255 for colors of unlabeled pixels.
    - ``source``: what defines the colors, for error messages.
    - ``color_rule``: the defined colors in words, for error messages.
    """

    ids: IdTable
    colors: tuple[tuple[Color, int], ...]
    source: str
    color_rule: str

    def __call__(self, path: Path) -> Labels:
        """Return the class ids, uint8 [H,W], in a label image.

        Raises:
            DatasetError: the image has undefined ids or colors, or a palette whose indices and
                colors contradict each other, see ``_decode_indices``.
            ImageFileError: the file is not a label image.
        """
        values, palette = read_label_image_and_palette(path)
        if values.ndim == 3:
            return self._decode_colors(values, path)
        if palette:
            return self._decode_indices(values, palette, path)
        return self.ids.decode(values, path)

    @cached_property
    def _color_table(self) -> ColorTable:
        return ColorTable(class_ids(self.colors), self.color_rule)

    @cached_property
    def _ids_of_color(self) -> dict[Color, set[int]]:
        """All ids of each color: classes of the same color are no error in labels by id."""
        ids: dict[Color, set[int]] = {}
        for color, class_id in self.colors:
            ids.setdefault(color, set()).add(class_id)
        return ids

    def _decode_colors(self, values: NDArray[np.uint8], path: Path) -> Labels:
        try:
            return self._color_table.decode(values, path)
        except UndefinedValuesError as error:
            gray = values[..., :1]
            if (
                not isinstance(error.values, UndefinedValues)
                or (values != gray).any()
                or (self.ids.table[np.unique(gray)] < 0).any()
            ):
                raise
            # Black may mean class 0 or no class, so these are not read as ids.
            hint = "if the gray values are class ids, save them as PNG with one channel"
            found = replace(error.values, rule=f"{error.values.rule}; {hint}")
            raise UndefinedValuesError(str(found), found) from None

    def _decode_indices(
        self, values: NDArray[np.uint8], palette: Sequence[Color], path: Path
    ) -> Labels:
        """Decode the palette indices ``values``, uint8 [H,W].

        Indices are class ids unless a used one has the color of another class or of no class:
        image editors and optimizers number colors as they come, and labeling tools begin with
        black for no class. Then the colors count if all used ones are defined. Index 255 is no
        class either way, and a ramp of grays, 0 to black, 1 to (1, 1, 1) and so on, is no evidence.

        Raises:
            DatasetError: neither reading is certain.
        """
        if len(palette) > 1 and all(c == (i, i, i) for i, c in enumerate(palette)):
            return self.ids.decode(values, path)
        used = np.flatnonzero(np.bincount(values.ravel())).tolist()
        colors = {i: palette[i] if i < len(palette) else None for i in used if i != IGNORE_ID}
        meant = {i: self._ids_of_color.get(c, set()) if c else set() for i, c in colors.items()}
        wrong = [i for i, ids in meant.items() if ids and self.ids.class_ids[i] not in ids]
        if not wrong:
            self._refuse_gray_levels(used, palette, path)
            return self.ids.decode(values, path)
        table = class_ids(self.colors)
        conflict = (
            f"{path} has a palette in which index {wrong[0]} is {colors[wrong[0]]}, but "
            f"{self.source} gives that color to {_named(table[palette[wrong[0]]])}"
        )
        remedy = "save class ids in one channel without a palette, and class colors as RGB"
        unknown = [i for i, ids in meant.items() if not ids]
        if unknown:
            raise DatasetError(
                f"{conflict}, and index {unknown[0]} is {colors[unknown[0]] or 'without a color'}, "
                f"which is no class's: if the colors count, define all of them in {self.source}; "
                f"else {remedy}"
            )
        if IGNORE_ID in used and len(palette) > IGNORE_ID:
            color = palette[IGNORE_ID]
            if table.get(color, IGNORE_ID) != IGNORE_ID:
                raise DatasetError(
                    f"{conflict}, and index 255, which means no class, is {color}, the color of "
                    f"{_named(table[color])}: {remedy}"
                )
        lookup = np.full(256, IGNORE_ID, np.uint8)
        for index in colors:
            lookup[index] = table[palette[index]]
        return np.asarray(cv2.LUT(values, lookup), np.uint8)

    def _refuse_gray_levels(
        self, used: Sequence[int], palette: Sequence[Color], path: Path
    ) -> None:
        """Raise DatasetError if the palette may have renumbered class ids saved as gray levels.

        Programs that make PNG files smaller turn the gray levels 0, 3, 7 into indices 0, 1, 2.
        """
        gray = len(set(palette)) == len(palette) and all(len({*color}) == 1 for color in palette)
        if not gray or max(used) >= len(palette):
            return
        levels = {index: palette[index][0] for index in used}
        valid = all(self.ids.class_ids[level] >= 0 for level in levels.values())
        moved = [i for i, level in levels.items() if level not in (i, IGNORE_ID)]
        if valid and moved:
            raise DatasetError(
                f"{path} has a palette in which index {moved[0]} is the gray level "
                f"{levels[moved[0]]}, and both may be class ids: save the ids in one channel "
                "without a palette"
            )


def class_file_reader(class_file: Path | None, classes: Sequence[SemanticClass]) -> LabelReader:
    """Return the reader of labels by the ids and colors of ``classes``.

    Args:
        class_file: has the classes, and the colors of no class; None if they are a model's.
        classes: by id.

    Raises:
        ClassesError: the class file is malformed.
    """
    number = len(classes)
    rule = f"labels are 0 to {number - 1} and 255 for no class"
    colors = [(entry.color, entry.id) for entry in classes]
    source = "the model"
    remedy = "allowed colors are those of the model; others need a classes.txt beside the labels"
    if class_file is not None:
        colors += [(color, IGNORE_ID) for color in read_unlabeled_colors(class_file)]
        source = str(class_file)
        remedy = f"add the color to {class_file}, as '255 void r g b' if it means no class"
    table = IdTable.of({id_: id_ for id_ in range(number)}, rule)
    return LabelReader(table, tuple(colors), source, remedy)


def classes_and_reader(
    root: Path, name: str, official: ReadLabels
) -> tuple[tuple[SemanticClass, ...], ReadLabels]:
    """Return the classes of a public dataset's folder, and the reader of its labels.

    A classes.txt in ``root`` replaces the official classes: the labels then have its ids or
    colors. If it names the official classes in their order, only its colors count.

    Args:
        root: folder of the dataset.
        name: of the official classes in config/classes, without suffix.
        official: reader of the official labels.

    Raises:
        ClassesError: classes.txt is malformed.
    """
    classes = read_classes(share_directory() / "config" / "classes" / f"{name}.yaml")
    class_file = root / "classes.txt"
    if not class_file.is_file():
        return classes, official
    own = read_classes(class_file)
    if have_same_names(own, classes):
        return own, official
    reader = class_file_reader(class_file, own)
    rule = f"{reader.ids.rule}, by {class_file}; remove it to read the dataset's official ids"
    return own, replace(reader, ids=replace(reader.ids, rule=rule))


def have_same_names(first: Sequence[SemanticClass], second: Sequence[SemanticClass]) -> bool:
    """Return whether classes have the same names in the same order, '_' being a space."""
    names = ([entry.name.replace("_", " ") for entry in classes] for classes in (first, second))
    return next(names) == next(names)


def class_ids(colors: Sequence[tuple[Color, int]]) -> dict[Color, int]:
    """Return the class id of each color.

    Raises:
        DatasetError: two ids have the same color.
    """
    ids: dict[Color, int] = {}
    for color, class_id in colors:
        if ids.setdefault(color, class_id) != class_id:
            raise DatasetError(
                f"classes {ids[color]} and {class_id} have the same color, {color}; labels by "
                "color need a different color for each class"
            )
    return ids


def _named(class_id: int) -> str:
    return "no class" if class_id == IGNORE_ID else f"class {class_id}"


def _code(color: Color) -> int:
    red, green, blue = color
    return red << 16 | green << 8 | blue


def _color(code: int) -> Color:
    return code >> 16, code >> 8 & 255, code & 255
