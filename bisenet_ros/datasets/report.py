"""Statistics and problems of a dataset, to be found before hours of training."""

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
    """Statistics of a dataset over its usable pairs; ``str`` formats them as a table.

    - ``usable``: the dataset without unusable pairs.
    - ``sizes``: number of images by (width, height).
    - ``pixels``: int64 [classes + 1], number of pixels of each class, last of unlabelled ones.
    - ``images_with``: int64 [classes], number of images that contain the class.
    - ``problems``: a sentence for each unusable file.
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
            sizes.append(f"others of {len(self.sizes) - SIZES_SHOWN} more sizes")
        width = max(len("class"), *(len(entry.name) for entry in classes))
        lines = [
            f"{len(self.usable)} pairs can be used: {', '.join(sizes) or 'none'}",
            f"{'class':<{width}}  {'share':>8}  {'images':>7}",
        ]
        for entry, pixels, images in zip(classes, self.pixels, self.images_with, strict=False):
            lines.append(f"{entry.name:<{width}}  {pixels / labelled:8.3%}  {images:7}")
        unlabelled = self.pixels[-1] / max(1, int(self.pixels.sum()))
        lines.append(f"{unlabelled:.2%} of all pixels are unlabelled")
        absent = [entry.name for entry in classes if not self.pixels[entry.id]]
        if absent:
            lines.append(f"classes in no image, which cannot be learned: {', '.join(absent)}")
        lines.append(f"problems: {len(self.problems)}")
        return "\n".join([*lines, *(f"  {problem}" for problem in self.problems)])


def check_dataset(dataset: Dataset, done: Callable[[], Any] = lambda: None) -> DatasetReport:
    """Read every pair of a dataset on several threads.

    Args:
        dataset: may have problems, which are included in the report.
        done: called after each pair, such as to update a progress bar.
    """
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

    with ThreadPoolExecutor() as pool:  # OpenCV releases the GIL
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
        only = f"'{dataset.classes[seen[0]].name}' or " if len(seen) else ""
        problems.append(
            f"all pixels of {dataset.root} are {only}unlabelled, so there is nothing to learn"
        )
    kept = replace(dataset, pairs=tuple(usable), problems=())
    return DatasetReport(kept, sizes, pixels, images_with, tuple(problems))
