"""Which classes of an export become which classes of the dataset."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import (
    IGNORE_ID,
    MAX_NAME,
    SemanticClass,
    check_classes,
    numbered_classes,
)
from bisenet_ros.datasets.importers.export import Drawing, SourceClass
from bisenet_ros.documents import parse_yaml, read_text
from bisenet_ros.errors import ClassesError, DocumentError, quoted
from bisenet_ros.images.label_images import Color

VOID = "void"
"""Name that makes pixels belong to no class, whatever its case."""

REMEDY = "give it another name with --map, as in 'map: {OLD: NEW}'"


@dataclass(frozen=True)
class ClassMap:
    """A user's names for the classes of an export.

    - ``names``, ``ids``, ``colors``: new name by the old one, by id, and by color.
    - ``rest``: new name of all classes that these do not name; None lets them keep theirs.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    ids: Mapping[int, str] = field(default_factory=dict)
    colors: Mapping[Color, str] = field(default_factory=dict)
    rest: str | None = None


@dataclass(frozen=True)
class Targets:
    """Classes of the dataset.

    - ``classes``: the classes.
    - ``void``: color of unlabeled pixels, in the class file.
    - ``table``: uint8, the id of each position in ``Export.classes``; then that of uncertain pixels
      and last that of unlabeled ones.
    """

    classes: tuple[SemanticClass, ...]
    void: Color
    table: NDArray[np.uint8]

    def labels(self, drawing: Drawing) -> NDArray[np.uint8]:
        """Return the label image, uint8 [H,W], of a drawing, [H,W]."""
        return self.table[drawing]  # UNLABELED is -1, the last entry; UNCERTAIN is -2


def read_class_map(path: Path) -> ClassMap:
    """Read a YAML file with ``map:`` and, optionally, ``rest:``.

    Keys of the map are names, ids, or colors as in '64 0 64'; values are names, or void.

    Raises:
        ClassesError: the file is missing or malformed.
    """
    try:
        document = parse_yaml(read_text(path))
    except DocumentError as error:
        text = str(error)
        raise ClassesError(text if str(path) in text else f"{path}: {text}") from error
    example = "as in 'map: {wall: building, 0: void}'"
    if not isinstance(document, dict) or not isinstance(document.get("map", {}), dict):
        raise ClassesError(f"{path} has no mapping 'map:' at the top level, {example}")
    unknown = [key for key in document if key not in ("map", "rest")]
    if unknown or not document:
        raise ClassesError(
            f"{path} has {quoted(unknown)}; it may have 'map:' and 'rest:', {example}"
        )
    names: dict[str, str] = {}
    ids: dict[int, str] = {}
    colors: dict[Color, str] = {}
    for key, value in document.get("map", {}).items():
        if not isinstance(value, str):
            raise ClassesError(
                f"{path}: {quoted(key)} becomes {quoted(value)}, which is not a name; put it in "
                "quotes if it is one"
            )
        color = _color(str(key))
        if type(key) is int:
            ids[key] = _clean(value)
        elif not isinstance(key, str):
            raise ClassesError(f"{path}: {quoted(key)} is neither name nor id; quote a name")
        elif color:
            colors[color] = _clean(value)
        else:
            names[_clean(key)] = _clean(value)
    rest = document.get("rest")
    if rest is not None and not isinstance(rest, str):
        raise ClassesError(f"{path}: rest: {quoted(rest)} is not a name")
    return ClassMap(names, ids, colors, None if rest is None else _clean(rest))


def _color(text: str) -> Color | None:
    match = re.fullmatch(r"\s*([0-9]{1,3})[\s,]+([0-9]{1,3})[\s,]+([0-9]{1,3})\s*", text)
    if match is None or max(map(int, match.groups())) > 255:
        return None
    return int(match[1]), int(match[2]), int(match[3])


def map_classes(
    classes: Sequence[SourceClass], rules: ClassMap, background: str | None = None
) -> Targets:
    """Return the dataset's classes, in the order of the export.

    Args:
        classes: those of the export.
        rules: the user's names. A class that they do not name keeps its own.
        background: name of the class of unlabeled pixels. If no class has it, it is a new one of
            id 0. None leaves these pixels unlabeled.

    Raises:
        ClassesError: ``rules`` name a class that the export has not, two classes have the same
            name, or a name or the number of classes is not valid.
    """
    _refuse_unknown(classes, rules)
    names = [_target(entry, rules) for entry in classes]
    kept = [name for name in names if name.casefold() != VOID]
    if background is not None:
        background = _clean(background)
        if background.casefold() == VOID:
            raise ClassesError("--background void: unlabeled pixels are void without the option")
        kept = kept if background in kept else [background, *kept]
    order = list(dict.fromkeys(kept))
    _refuse_ambiguous(classes, names, rules)
    for name in order:
        _check_name(name)
    if len(order) < 2:
        raise ClassesError(
            f"there is only {len(order)} class ({', '.join(order) or 'all are void'}); a network "
            "tells two or more apart: --background NAME gives the other pixels one"
        )
    if len(order) > IGNORE_ID:
        raise ClassesError(
            f"there are {len(order)} classes, and at most {IGNORE_ID} can be trained; merge some "
            "with --map"
        )
    colors = _colors(order, classes, names)
    entries = [SemanticClass(k, name, colors[k]) for k, name in enumerate(order)]
    ids = {name: k for k, name in enumerate(order)}
    table = [ids.get(name, IGNORE_ID) for name in names]
    table += [IGNORE_ID, IGNORE_ID if background is None else ids[background]]
    return Targets(check_classes(entries), colors[-1], np.array(table, np.uint8))


def _target(entry: SourceClass, rules: ClassMap) -> str:
    name = _clean(entry.name)
    given = (
        None if entry.id is None else rules.ids.get(entry.id),
        None if entry.color is None else rules.colors.get(entry.color),
        rules.names.get(name),
    )
    by = [new for new in given if new is not None]
    if len(set(by)) > 1:
        raise ClassesError(f"--map gives class {entry.id} {quoted(name)} two names: {quoted(by)}")
    if by:
        return by[0]
    if entry.empty:
        return VOID
    return name if rules.rest is None else rules.rest


def _refuse_unknown(classes: Sequence[SourceClass], rules: ClassMap) -> None:
    names = [_clean(entry.name) for entry in classes]
    for name in rules.names:
        if name not in names:
            lower = {each.lower(): each for each in names}
            close = [lower[each] for each in get_close_matches(name.lower(), lower)]
            hint = f"did you mean {' or '.join(map(quoted, close))}?" if close else _listed(names)
            raise ClassesError(
                f"--map names class {quoted(name)}, which the export has not; {hint}"
            )
    ids = {entry.id for entry in classes}
    for id_ in rules.ids:
        if id_ not in ids:
            known = sorted(each for each in ids if each is not None)
            hint = _listed(known) if known else f"its classes have no ids; {_listed(names)}"
            raise ClassesError(f"--map names id {id_}, which the export has not; {hint}")
    for color in rules.colors:
        if color not in {entry.color for entry in classes}:
            raise ClassesError(f"--map names color {color}, which the export has not")


def _listed(values: Iterable[object]) -> str:
    return f"it has {', '.join(map(str, values))}"


def _refuse_ambiguous(
    classes: Sequence[SourceClass], names: Sequence[str], rules: ClassMap
) -> None:
    """Refuse several classes of one name unless the user's map merges them."""
    own = [_clean(entry.name) for entry in classes]
    count = Counter(own)
    for entry, name, new in zip(classes, own, names, strict=True):
        kept = new == name and name.casefold() != VOID and not entry.empty
        if count[name] > 1 and kept and entry.id not in rules.ids:
            twins = [e.id for e, n in zip(classes, own, strict=True) if n == name and not e.empty]
            if len(twins) > 1 and entry.color not in rules.colors:
                raise ClassesError(
                    f"classes {twins} all have the name {quoted(name)}; name each by its id with "
                    f"--map, as in 'map: {{{twins[0]}: {name}, {twins[1]}: other}}'"
                )


def _check_name(name: str) -> None:
    if not name:
        raise ClassesError(f"a class has no name; {REMEDY}")
    if len(name) > MAX_NAME or not name.isprintable():
        raise ClassesError(
            f"class name {quoted(name)} is longer than {MAX_NAME} characters or not printable; "
            f"{REMEDY}"
        )
    if "#" in name:
        raise ClassesError(
            f"class name {quoted(name)} has a '#', which starts a comment in classes.txt; {REMEDY}"
        )


def _colors(
    order: Sequence[str], classes: Sequence[SourceClass], names: Sequence[str]
) -> list[Color]:
    """Return a color for each class, and one for void, all different."""
    given: dict[str, Color] = {}
    # The class that had the name before others were merged into it lends its color.
    by_right = sorted(
        zip(classes, names, strict=True), key=lambda pair: _clean(pair[0].name) != pair[1]
    )
    for entry, name in by_right:
        if entry.color is not None:
            given.setdefault(name, entry.color)
    colors: list[Color] = []
    free = [(0, 0, 0), *(entry.color for entry in numbered_classes(IGNORE_ID))]
    wanted = set(given.values())
    for name in order:
        color = given.get(name)
        if color is None or color in colors:
            color = next(c for c in free[1:] if c not in wanted and c not in colors)
        colors.append(color)
    colors.append(next(c for c in free if c not in colors))
    return colors


def _clean(name: str) -> str:
    """Return ``name`` with single spaces, as a class file keeps it."""
    return " ".join(name.split())
