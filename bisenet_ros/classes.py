"""What the label values mean: ids, names and colors, and the files that say so."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from bisenet_ros.errors import ClassesError, quoted

IGNORE_ID = 255
"""The label value of a pixel without a class, in every label image that we publish."""


@dataclass(frozen=True)
class SemanticClass:
    """One class: ``id`` is its label value and the index of its logit, colors are 0..255."""

    id: int
    name: str
    color: tuple[int, int, int]


def check_classes(classes: Sequence[SemanticClass]) -> tuple[SemanticClass, ...]:
    """The classes sorted by id, once ids are 0..N-1, names differ and colors are 8-bit RGB.

    Raises:
        ClassesError: naming the first entry that breaks a rule.
    """
    if not 2 <= len(classes) <= IGNORE_ID:
        raise ClassesError(f"{len(classes)} classes; there must be 2 to {IGNORE_ID}")
    for entry in classes:
        # These come from files: 1.5 or "1" would fail far from here.
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
                f"another id is given twice (found {[c.id for c in ordered]})"
            )
        if not entry.name or entry.name in names:
            raise ClassesError(
                f"class {entry.id}: name {quoted(entry.name)} is empty or given twice"
            )
        names.add(entry.name)
        if len(entry.color) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in entry.color):
            raise ClassesError(
                f"class {entry.id} {quoted(entry.name)}: color {entry.color} must be three values "
                "in 0..255 (red, green, blue)"
            )
    return ordered


def numbered_classes(count: int) -> tuple[SemanticClass, ...]:
    """Classes for weights that name none, each with another color that is not black.

    Raises:
        ClassesError: there must be 2 to 255.
    """

    def color(index: int) -> tuple[int, int, int]:
        # Every third bit of the index goes to one channel, the lowest to the channel's highest.
        red, green, blue = (
            sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3))
            for channel in range(3)
        )
        return red, green, blue

    return check_classes([SemanticClass(i, f"class_{i}", color(i + 1)) for i in range(count)])


def read_classes(path: str | Path) -> tuple[SemanticClass, ...]:
    """Read a class file, in one of two forms.

    ``.yaml``: ``classes:`` with a list of ``{id: 0, name: sky, color: [128, 128, 128]}``.
    ``.txt``: a line ``id name r g b`` for each class; ``#`` starts a comment.

    Entries with id 255 mean no class and are left out, see ``read_unlabelled_colors``.

    Raises:
        ClassesError: the file is missing or malformed; names the file and the entry.
    """
    entries = _read(Path(path))
    try:
        return check_classes([entry for entry in entries if entry.id != IGNORE_ID])
    except ClassesError as error:
        raise ClassesError(f"class file {path}: {error}") from None


def read_unlabelled_colors(path: str | Path) -> tuple[tuple[int, int, int], ...]:
    """The colors that a class file gives to id 255: pixels of no class in labels by color.

    Raises:
        ClassesError: as ``read_classes``.
    """
    return tuple(entry.color for entry in _read(Path(path)) if entry.id == IGNORE_ID)


def _read(path: Path) -> list[SemanticClass]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows puts a mark before the first line
    except (OSError, UnicodeDecodeError) as error:
        raise ClassesError(f"cannot read class file {path}: {error}") from error
    try:
        return _entries_of_text(text) if path.suffix == ".txt" else _entries_of_yaml(text)
    except ClassesError as error:
        raise ClassesError(f"class file {path}: {error}") from None


def palette(classes: Sequence[SemanticClass]) -> NDArray[np.uint8]:
    """RGB of every label value, uint8 [256, 3]; black where there is no class."""
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
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ClassesError(f"not YAML: {' '.join(str(error).split())}") from None
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
