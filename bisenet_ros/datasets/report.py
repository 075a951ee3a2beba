"""Statistics and problems of a dataset, to be found before hours of training."""

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import IGNORE_ID
from bisenet_ros.datasets import Dataset
from bisenet_ros.datasets.label_files import UndefinedValues
from bisenet_ros.errors import DatasetError, UndefinedValuesError
from bisenet_ros.images.files import IMAGE_SUFFIXES, exif_orientation

SIZES_SHOWN = 5
EXAMPLES = 3
"""Maximum number of files that a summary of equal problems names."""
VALUES_SHOWN = 10
"""Maximum number of undefined values that are summed up."""
BLURRED = (
    "were the labels resized with interpolation, or saved as JPEG? Resize them with nearest "
    "neighbor, and save them as PNG"
)
"""Remedy for more values than there can be classes."""

STEP = 32
"""Divisor of the sides of a proposed resolution: the network halves its input five times."""
MAX_STRETCH = 1.25
"""Ratio of the resolution's aspect to the pictures' that needs no warning."""


@dataclass(frozen=True)
class DatasetReport:
    """Statistics of a dataset over its usable pairs; ``str`` formats them as a table.

    - ``usable``: the dataset without unusable pairs.
    - ``sizes``: number of images by (width, height).
    - ``pixels``: int64 [classes + 1], number of pixels of each class, last of unlabeled ones.
    - ``images_with``: int64 [classes], number of images that contain the class.
    - ``problems``: a sentence for each kind of problem, with some of its files.
    - ``details``: a sentence for each problem of each file.
    - ``warnings``: a sentence for each thing that may be meant as it is.
    """

    usable: Dataset
    sizes: Counter[tuple[int, int]]
    pixels: NDArray[np.int64]
    images_with: NDArray[np.int64]
    problems: tuple[str, ...]
    details: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        classes = self.usable.classes
        labeled = max(1, int(self.pixels[:-1].sum()))
        sizes = [f"{count} of {w}x{h}" for (w, h), count in self.sizes.most_common(SIZES_SHOWN)]
        if len(self.sizes) > SIZES_SHOWN:
            sizes.append(f"others of {len(self.sizes) - SIZES_SHOWN} more sizes")
        width = max(len("class"), *(len(entry.name) for entry in classes))
        lines = [
            f"{len(self.usable)} pairs can be used: {', '.join(sizes) or 'none'}",
            f"{'class':<{width}}  {'share':>8}  {'images':>7}",
        ]
        for entry, pixels, images in zip(classes, self.pixels, self.images_with, strict=False):
            lines.append(f"{entry.name:<{width}}  {pixels / labeled:8.3%}  {images:7}")
        unlabeled = self.pixels[-1] / max(1, int(self.pixels.sum()))
        lines.append(f"{unlabeled:.2%} of all pixels are unlabeled")
        absent = [entry.name for entry in classes if not self.pixels[entry.id]]
        if absent:
            lines.append(f"classes in no image, which cannot be learned: {', '.join(absent)}")
        lines += [f"warning: {warning}" for warning in self.warnings]
        lines.append(f"problems: {len(self.problems)}")
        return "\n".join([*lines, *(f"  {problem}" for problem in self.problems)])


def check_dataset(
    dataset: Dataset,
    done: Callable[[], Any] = lambda: None,
    resolution: tuple[int, int] | None = None,
) -> DatasetReport:
    """Read every pair of a dataset on several threads.

    Args:
        dataset: may have problems, which are included in the report.
        done: called after each pair, such as to update a progress bar.
        resolution: (width, height) of the network, to warn of pictures with another aspect.
    """
    number = len(dataset.classes)
    sizes: Counter[tuple[int, int]] = Counter()
    pixels = np.zeros(number + 1, np.int64)
    images_with = np.zeros(number, np.int64)
    errors: list[DatasetError] = []
    usable = []
    turned = []

    def read(index: int) -> tuple[NDArray[np.int64], tuple[int, int], bool] | DatasetError:
        try:
            labels = dataset[index][1]
        except DatasetError as error:
            return error
        counts = np.bincount(labels.ravel(), minlength=IGNORE_ID + 1)
        height, width = labels.shape
        turn = exif_orientation(dataset.pairs[index][0])
        # Else the sizes show that the labels are turned, too.
        is_ambiguous = turn != 1 and (turn <= 4 or height == width)
        return np.append(counts[:number], counts[IGNORE_ID]), (width, height), is_ambiguous

    with ThreadPoolExecutor() as pool:  # OpenCV releases the GIL
        for pair, result in zip(dataset.pairs, pool.map(read, range(len(dataset))), strict=True):
            if isinstance(result, DatasetError):
                errors.append(result)
            else:
                counts, size, is_ambiguous = result
                usable.append(pair)
                sizes[size] += 1
                pixels += counts
                images_with += counts[:number] > 0
                if is_ambiguous:
                    turned.append(pair[0])
            done()
    details = [*dataset.problems, *map(str, errors)]
    problems = _sum_up(dataset, errors, int(pixels.sum()))
    seen = np.flatnonzero(pixels[:-1])
    if usable and len(seen) < 2:
        only = f"'{dataset.classes[seen[0]].name}' or " if len(seen) else ""
        nothing = f"all pixels of {dataset.root} are {only}unlabeled, so there is nothing to learn"
        if len(seen) and pixels[-1]:
            nothing += "; if 255 is a class, as in masks of 0 and 255, save its id instead"
        details.append(nothing)
        problems.append(nothing)
    warnings = []
    if turned:
        warnings.append(
            f"{_count(len(turned), 'picture')} turned by EXIF ({_examples(dataset.root, turned)}), "
            "with labels whose size fits before and after: they are taken to belong to the turned "
            "picture, which labeling tools show"
        )
    if resolution and sizes:
        warnings += _aspect_warning(sizes, resolution)
    kept = replace(dataset, pairs=tuple(usable), problems=())
    return DatasetReport(
        kept, sizes, pixels, images_with, tuple(problems), tuple(details), tuple(warnings)
    )


def _sum_up(dataset: Dataset, errors: Sequence[DatasetError], usable_pixels: int) -> list[str]:
    """Return a sentence for each kind of problem, which names some of its files."""
    undefined = [
        error.values
        for error in errors
        if isinstance(error, UndefinedValuesError) and isinstance(error.values, UndefinedValues)
    ]
    others = [str(error) for error in errors if not isinstance(error, UndefinedValuesError)]
    all_pixels = usable_pixels + sum(values.pixels for values in undefined)
    return [
        *_sum_up_sentences(dataset.root, [*dataset.problems, *others]),
        *_sum_up_values(dataset.root, undefined, all_pixels),
    ]


def _sum_up_sentences(root: Path, sentences: Sequence[str]) -> list[str]:
    """Return one sentence for those that differ in the names of files below ``root`` alone."""
    suffixes = "|".join(suffix.removeprefix(".") for suffix in (*IMAGE_SUFFIXES, ".mat"))
    # The names of files in the working folder begin with nothing that tells them from words.
    start = r"\S+?" if root == Path() else rf"{re.escape(str(root))}/.*?"
    file = re.compile(rf"{start}\.(?:{suffixes})\b", re.IGNORECASE)
    groups: dict[str, list[str]] = {}
    for sentence in sentences:
        groups.setdefault(file.sub("", sentence), []).append(sentence)
    summed = []
    for first, *more in groups.values():
        found = [match for sentence in more if (match := file.search(sentence))]
        if found:
            names = _examples(root, [Path(match[0]) for match in found])
            summed.append(f"{len(found) + 1} files: {first}; likewise {names}")
        else:
            summed.append(first)
    return summed


def _sum_up_values(root: Path, undefined: Sequence[UndefinedValues], all_pixels: int) -> list[str]:
    """Return a sentence for each undefined value, the most frequent first, or for a single file."""
    if len(undefined) == 1:
        return [str(undefined[0])]
    pixels: Counter[tuple[str, str, str]] = Counter()
    files: dict[tuple[str, str, str], list[Path]] = {}
    for values in undefined:
        for value, count in values.counts.items():
            key = values.kind, value, values.rule
            pixels[key] += count
            files.setdefault(key, []).append(values.path)
    summed = [
        f"{kind} {value} is no class's: {_count(len(files[kind, value, rule]), 'file')} "
        f"({_examples(root, files[kind, value, rule])}), {count / all_pixels:.2%} of all pixels: "
        f"{rule}"
        for (kind, value, rule), count in pixels.most_common(VALUES_SHOWN)
    ]
    more = len(pixels) - len(summed)
    if more:
        summed.append(f"{more} more values are no class's" + (f": {BLURRED}" if more > 255 else ""))
    return summed


def _aspect_warning(sizes: Counter[tuple[int, int]], resolution: tuple[int, int]) -> list[str]:
    """Return a sentence if most pictures are stretched far to the network's resolution."""
    aspects = sorted(width / height for width, height in sizes.elements())
    aspect = aspects[len(aspects) // 2]
    width, height = resolution
    stretch = width / height / aspect
    if max(stretch, 1 / stretch) <= MAX_STRETCH:
        return []
    better = propose_resolution(aspect, width * height)
    return [
        f"the resolution {width}x{height} stretches pictures of an aspect of {aspect:.2f} to "
        f"{width / height:.2f}, which costs accuracy: {better[0]}x{better[1]} has their aspect "
        f'(--set "resolution=[{better[0]}, {better[1]}]", with a crop that fits it)'
    ]


def propose_resolution(aspect: float, pixels: int) -> tuple[int, int]:
    """Return a (width, height) for the network of about this width / height and area."""
    relation = max(aspect, 1 / aspect)
    short = max(STEP, round(sqrt(pixels / relation) / STEP) * STEP)
    long = round(short * relation / STEP) * STEP
    return (long, short) if aspect >= 1 else (short, long)


def _examples(root: Path, files: Sequence[Path]) -> str:
    names = [os.path.relpath(file, root) for file in files[:EXAMPLES]]
    more = len(files) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number > 1)}"
