"""Classes: id, name and color of each label value, and the class files that define them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.documents import parse_yaml, read_text
from bisenet_ros.errors import ClassesError, DocumentError, quoted

IGNORE_ID = 255
"""Label value of pixels without a class, in every label image."""

MAX_NAME = 100
"""Longest name of a class, in characters."""


@dataclass(frozen=True)
class SemanticClass:
    """One class: ``id`` is its label value and logit index, ``color`` is RGB in 0..255."""

    id: int
    name: str
    color: tuple[int, int, int]


def check_classes(classes: Sequence[SemanticClass]) -> tuple[SemanticClass, ...]:
    """Validate classes and return them sorted by id.

    Raises:
        ClassesError: there are not 2 to 255 classes, their ids are not 0..N-1, a name is empty,
            given twice, longer than ``MAX_NAME`` or not printable, or a color is not 8-bit RGB;
            the message names the first such entry.
    """
    if not 2 <= len(classes) <= IGNORE_ID:
        raise ClassesError(f"{len(classes)} classes; there must be 2 to {IGNORE_ID}")
    for entry in classes:
        # Values come from files: an id of 1.5 or "1" would fail far from here.
        if type(entry.id) is not int or not isinstance(entry.name, str):
            raise ClassesError(
                f"class {quoted(entry.id)} {quoted(entry.name)}: the id must be a whole number "
                "and the name text"
            )
    ordered = tuple(sorted(classes, key=lambda c: c.id))
    names: set[str] = set()
    for index, entry in enumerate(ordered):
        if entry.id != index:
            raise ClassesError(
                f"class ids must be 0 to {len(ordered) - 1} without gaps; {index} is missing or "
                f"another id is given twice (found {quoted([c.id for c in ordered])})"
            )
        if not entry.name or entry.name in names:
            raise ClassesError(
                f"class {entry.id}: name {quoted(entry.name)} is empty or given twice"
            )
        if len(entry.name) > MAX_NAME or not entry.name.isprintable():
            raise ClassesError(
                f"class {entry.id}: name {quoted(entry.name)} must be at most {MAX_NAME} printable "
                "characters"
            )
        names.add(entry.name)
        if len(entry.color) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in entry.color):
            raise ClassesError(
                f"class {entry.id} {quoted(entry.name)}: color {quoted(entry.color)} must be three "
                "values in 0..255 (red, green, blue)"
            )
    return ordered


def numbered_classes(count: int) -> tuple[SemanticClass, ...]:
    """Return classes named class_0, class_1, ... with distinct colors, none of them black.

    Raises:
        ClassesError: ``count`` is not in 2..255.
    """

    def color(index: int) -> tuple[int, int, int]:
        # As in PASCAL VOC's color map: every third bit of the index goes to the same channel, the
        # lowest one to the channel's highest bit.
        red, green, blue = (
            sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3))
            for channel in range(3)
        )
        return red, green, blue

    return check_classes([SemanticClass(i, f"class_{i}", color(i + 1)) for i in range(count)])


def read_classes(path: str | Path) -> tuple[SemanticClass, ...]:
    """Read a class file in one of two formats.

    - ``.yaml``: a list ``classes:`` of ``{id: 0, name: sky, color: [128, 128, 128]}``.
    - ``.txt``: one line ``id name r g b`` per class; ``#`` starts a comment.

    Entries with id 255 mark unlabeled pixels and are skipped, see ``read_unlabeled_colors``.

    Raises:
        ClassesError: the file is missing or malformed; the message names the file and the entry.
    """
    entries = read_entries(Path(path))
    try:
        return check_classes([entry for entry in entries if entry.id != IGNORE_ID])
    except ClassesError as error:
        raise ClassesError(f"class file {path}: {error}") from None


def read_unlabeled_colors(path: str | Path) -> tuple[tuple[int, int, int], ...]:
    """Return the colors of id 255 in a class file: those of unlabeled pixels in color labels.

    Raises:
        ClassesError: as ``read_classes``.
    """
    return tuple(entry.color for entry in read_entries(Path(path)) if entry.id == IGNORE_ID)


def read_entries(path: Path) -> list[SemanticClass]:
    """Return the entries of a class file as they are written, in any order and with any ids.

    Raises:
        ClassesError: the file is missing or malformed.
    """
    try:
        text = read_text(path)
    except DocumentError as error:
        raise ClassesError(
            f"cannot use class file: {error}; give a .txt with a line 'id name r g b' for each "
            "class, or a .yaml as in config/classes"
        ) from error
    try:
        return _entries_of_text(text) if path.suffix == ".txt" else _entries_of_yaml(text)
    except (ClassesError, DocumentError) as error:
        raise ClassesError(f"class file {path}: {error}") from None


def palette(classes: Sequence[SemanticClass]) -> NDArray[np.uint8]:
    """Return the RGB color of every label value, uint8 [256,3]; black for values without class."""
    table = np.zeros((256, 3), np.uint8)
    for entry in classes:
        table[entry.id] = entry.color
    return table


def _entries_of_text(text: str) -> list[SemanticClass]:
    entries = []
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split("#", 1)[0].split()
        if not fields:
            continue
        try:
            id_, *words, red, green, blue = fields
            color = int(red), int(green), int(blue)
            entries.append(SemanticClass(int(id_), " ".join(words), color))
        except ValueError:
            raise ClassesError(
                f"line {number} is {quoted(line.strip())}, not 'id name r g b'"
            ) from None
    return entries


def _entries_of_yaml(text: str) -> list[SemanticClass]:
    document = parse_yaml(text)
    if not isinstance(document, dict) or not isinstance(document.get("classes"), list):
        raise ClassesError("needs a list 'classes:' at the top level")
    entries = []
    for entry in document["classes"]:
        try:
            red, green, blue = entry["color"]
            entries.append(SemanticClass(entry["id"], entry["name"], (red, green, blue)))
        except (KeyError, TypeError, ValueError):
            raise ClassesError(
                f"entry {quoted(entry)} is not of the form {{id: 0, name: sky, color: [r, g, b]}}"
            ) from None
    return entries
