"""What is in a dataset, and what is wrong with it, found before hours of training."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import IGNORE_ID
from bisenet_ros.datasets import Dataset
from bisenet_ros.errors import DatasetError

SIZES_SHOWN = 5


@dataclass(frozen=True)
class DatasetReport:
    """What was read; ``str`` of it is a table for people.

    - ``usable``: the dataset without the pairs that cannot be used; the figures are of these.
    - ``sizes``: number of images by (width, height).
    - ``pixels``: int64 [classes + 1], of each class, and last of none.
    - ``images_with``: int64 [classes], images that show the class.
    - ``problems``: a sentence for each file that cannot be used.
    """

    usable: Dataset
    sizes: Counter[tuple[int, int]]
    pixels: NDArray[np.int64]
    images_with: NDArray[np.int64]
    problems: tuple[str, ...]

    def __str__(self) -> str:
        classes = self.usable.classes
        labelled = max(1, int(self.pixels[:-1].sum()))
        sizes = [f"{count} of {w}x{h}" for (w, h), count in self.sizes.most_common(SIZES_SHOWN)]
        if len(self.sizes) > SIZES_SHOWN:
            sizes.append(f"the others of {len(self.sizes) - SIZES_SHOWN} more sizes")
        width = max(len("class"), *(len(entry.name) for entry in classes))
        lines = [
            f"{len(self.usable)} pairs can be used: {', '.join(sizes) or 'none'}",
            f"{'class':<{width}}  {'share':>8}  {'images':>7}",
        ]
        for entry, pixels, images in zip(classes, self.pixels, self.images_with, strict=False):
            lines.append(f"{entry.name:<{width}}  {pixels / labelled:8.3%}  {images:7}")
        none = self.pixels[-1] / max(1, int(self.pixels.sum()))
        lines.append(f"{none:.2%} of all pixels have no class")
        absent = [entry.name for entry in classes if not self.pixels[entry.id]]
        if absent:
            lines.append(f"in no image, so nothing is learned of them: {', '.join(absent)}")
        lines.append(f"problems: {len(self.problems)}")
        return "\n".join([*lines, *(f"  {problem}" for problem in self.problems)])


def check_dataset(dataset: Dataset, done: Callable[[], Any] = lambda: None) -> DatasetReport:
    """Read every pair of ``dataset``, several at a time; ``done`` is called after each."""
    number = len(dataset.classes)
    sizes: Counter[tuple[int, int]] = Counter()
    pixels = np.zeros(number + 1, np.int64)
    images_with = np.zeros(number, np.int64)
    problems = list(dataset.problems)
    usable = []

    def read(index: int) -> tuple[NDArray[np.int64], tuple[int, int]] | str:
        try:
            labels = dataset[index][1]
        except DatasetError as error:
            return str(error)
        counts = np.bincount(labels.ravel(), minlength=IGNORE_ID + 1)
        return np.append(counts[:number], counts[IGNORE_ID]), (labels.shape[1], labels.shape[0])

    with ThreadPoolExecutor() as pool:  # OpenCV reads files without holding Python's lock
        for pair, result in zip(dataset.pairs, pool.map(read, range(len(dataset))), strict=True):
            if isinstance(result, str):
                problems.append(result)
            else:
                counts, size = result
                usable.append(pair)
                sizes[size] += 1
                pixels += counts
                images_with += counts[:number] > 0
            done()
    seen = np.flatnonzero(pixels[:-1])
    if usable and len(seen) < 2:
        what = "no class" if not len(seen) else f"'{dataset.classes[seen[0]].name}' or no class"
        problems.append(f"all pixels of {dataset.root} are of {what}, so there is nothing to learn")
    kept = replace(dataset, pairs=tuple(usable), problems=())
    return DatasetReport(kept, sizes, pixels, images_with, tuple(problems))
