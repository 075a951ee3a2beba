"""Pairing of label files with images: by name or, for frames without names, in order."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bisenet_ros.errors import DatasetError

LABEL_FOLDERS = (
    r"masks?|labels?|label_?ids?|gt|gt_?fine|gt_?coarse|ground_?truth|annot|annotations?|"
    r"seg|segm|seg_?maps?|seg_?masks?|segmentations?|semantics?|sem_?seg"
)
"""Words, as a regular expression, that are names of folders of labels."""
LABEL_WORDS = LABEL_FOLDERS + r"|lab|(label_?)?(train_?)?ids?|ann|anno|colou?rs?|png|jpe?g|bmp"
"""Words that names of label files have beside those of their images."""
IMAGE_WORDS = r"(left|right)_?img_?8bit|images?|imgs?|rgb|colou?r|photo|picture|frame"
"""Words that names of images have beside those of their label files."""


def labels_by_image(images: Iterable[str], labels: Iterable[str]) -> dict[str, list[str]]:
    """Find the labels of each image by name.

    A label belongs to the image of the same name. If there is none, names are compared without
    regard to case and separators, and without ``LABEL_WORDS`` or ``IMAGE_WORDS`` at either end. If
    no name matches in this way, labels may be named like their images with one other affix that
    all have in common, such as '_L'.

    Args:
        images: paths without suffix, relative to the folder of images.
        labels: paths without suffix, relative to the folder of labels.

    Returns:
        The labels of each image that has any; more than one are ambiguous.
    """
    images, labels = list(images), list(labels)
    exact: dict[str, Sequence[str]] = {
        unicodedata.normalize("NFC", image): [image] for image in images
    }
    folded: Mapping[str, Sequence[str]] = {}
    found: dict[str, list[str]] = {}
    for label in labels:
        matches = exact.get(unicodedata.normalize("NFC", label))
        if matches is None:
            folded = folded or _by_name(images)
            candidates = (folded[name] for name in _names(label, LABEL_WORDS) if name in folded)
            matches = next(candidates, [])
        for image in matches:
            found.setdefault(image, []).append(label)
    return found or _by_common_affix(images, labels)


def is_label_folder(name: str) -> bool:
    """Return whether the name of a folder says that it contains labels, as 'masks' does."""
    return re.fullmatch(LABEL_FOLDERS, _fold(name)) is not None


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Sort files by name, numbers by value: ``frame_2.png`` before ``frame_10.png``.

    Raises:
        DatasetError: sorting by character gives another order, and it is not certain that the one
            by number is right, because more than one whole number distinguishes the names.
    """
    by_character = sorted(paths)
    parts = {path: re.split(r"(\d+)", path.with_suffix("").as_posix()) for path in by_character}

    def numbers(path: Path) -> list[str | int]:
        return [int(part) if place % 2 else part for place, part in enumerate(parts[path])]

    by_number = sorted(by_character, key=numbers)
    if by_number == by_character or _differ_in_one_number(list(parts.values())):
        return by_number
    first, second = next(
        pair for pair in zip(by_number, by_character, strict=True) if pair[0] != pair[1]
    )
    raise DatasetError(
        f"the order of the files in {first.parent} is ambiguous: the first is {first.name} by "
        f"number, but {second.name} by character; rename them so that all numbers have the same "
        "number of digits"
    )


def _differ_in_one_number(names: Sequence[Sequence[str]]) -> bool:
    """Return whether names, split into text and digits, differ in the value of one whole number."""
    if len({len(parts) for parts in names}) > 1:
        return False
    columns = list(zip(*names, strict=True))
    varying = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) != 1 or varying[0] % 2 == 0:
        return False
    place = varying[0]
    is_fraction = place >= 3 and columns[place - 1][0] == "."  # 1.25 comes before 1.5
    return not is_fraction and len(set(map(int, columns[place]))) == len(names)


def _by_name(images: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """Return the images by each of their names; a whole name goes before a shortened one."""
    whole: dict[str, list[str]] = {}
    shortened: dict[str, list[str]] = {}
    for image in images:
        first, *others = _names(image, IMAGE_WORDS)
        whole.setdefault(first, []).append(image)
        for name in others:
            shortened.setdefault(name, []).append(image)
    return {**shortened, **whole}


def _names(path: str, words: str) -> list[str]:
    """Return the folded path, then those without ``words`` at the ends, the longest first."""
    folder, _, name = path.rpartition("/")
    found = {_fold(name)}
    ends = re.compile(rf"^({words})(_|(?=\d))|(_|(?<=\d))({words})$")
    pending = list(found)
    while pending:
        text = pending.pop()
        shorter = {text[: match.start()] + text[match.end() :] for match in ends.finditer(text)}
        pending += shorter - found
        found |= shorter
    return [f"{_fold(folder)}/{text}" for text in sorted(found, key=lambda t: (-len(t), t))]


def _by_common_affix(images: Iterable[str], labels: Iterable[str]) -> dict[str, list[str]]:
    """Find the labels whose names add the same words, none a number, to those of their images."""
    by_words: dict[tuple[str, ...], list[str]] = {}
    for image in images:
        by_words.setdefault(tuple(_fold(image).split("_")), []).append(image)
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], dict[str, list[str]]] = {}
    for label in labels:
        words = tuple(_fold(label).split("_"))
        for start in range(len(words)):
            for end in range(start + 1, len(words) + 1):
                affixes = words[:start], words[end:]
                if any(word.isdecimal() for word in (*affixes[0], *affixes[1])):
                    continue
                for image in by_words.get(words[start:end], ()):
                    found.setdefault(affixes, {}).setdefault(image, []).append(label)
    ranking = Counter({affixes: len(pairs) for affixes, pairs in found.items()}).most_common(2)
    if not ranking or (len(ranking) > 1 and ranking[0][1] == ranking[1][1]):
        return {}
    return found[ranking[0][0]]


def _fold(name: str) -> str:
    """Return ``name`` in lower case, with every run of separators replaced by one underscore."""
    return re.sub(r"[\W_]+", "_", unicodedata.normalize("NFC", name).casefold()).strip("_")
