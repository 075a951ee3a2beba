"""Plots of a model's errors: its worst images and the confusion matrix."""

import heapq
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import SemanticClass, palette
from bisenet_ros.errors import write_errors
from bisenet_ros.evaluation.metrics import ScoredImage
from bisenet_ros.images.render import contact_sheet, legend, overlay, write_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WRONG = (255, 40, 40)
ALPHA = 0.6
"""Opacity of the class colors in overlays, 0..1."""


class WorstImages:
    """Collect the images with the lowest mIoU among those passed to ``watch``.

    Args:
        count: number of images to keep, in memory.
        classes: for colors and legend.
    """

    def __init__(self, count: int, classes: Sequence[SemanticClass]) -> None:
        self.count = count
        self.classes = classes
        self._kept: list[tuple[float, int, ScoredImage]] = []

    def watch(self, scored: ScoredImage) -> None:
        """Consider an image, unless none of its pixels has a class."""
        if not scored.scores.confusion.any():
            return
        # The heap's smallest element is the best of the kept images, which is replaced next.
        entry = (-scored.scores.miou, -scored.number, scored)
        if len(self._kept) < self.count:
            heapq.heappush(self._kept, entry)
        else:
            heapq.heappushpop(self._kept, entry)

    def write(self, folder: str | Path, name: Callable[[int], str]) -> list[Path]:
        """Write a PNG for each image: prediction, truth and errors side by side, with a legend.

        Files of an earlier run are deleted.

        Args:
            folder: created if missing.
            name: returns the name of a sample by its number. Files are named by rank, mIoU and this
                name.

        Returns:
            The files, worst first.

        Raises:
            OSError: a file cannot be written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("[0-9][0-9][0-9]_[01].[0-9][0-9][0-9]_*.png"):
            old.unlink()
        colors = palette(self.classes)
        paths = []
        for rank, (negative, _, scored) in enumerate(sorted(self._kept, reverse=True), start=1):
            path = folder / f"{rank:03}_{-negative:.3f}_{name(scored.number)}.png"
            columns = [
                overlay(scored.image, scored.predicted, colors, ALPHA),
                overlay(scored.image, scored.truth, colors, ALPHA),
                error_map(scored),
            ]
            width = 3 * scored.image.shape[1]
            write_picture(path, contact_sheet(columns, 3, legend(self.classes, width)))
            paths.append(path)
        return paths


def error_map(scored: ScoredImage) -> NDArray[np.uint8]:
    """Return an image of the errors, uint8 [H,W,3] RGB.

    Wrong labels are red, pixels without a true class black, all others a dark gray version of the
    image.
    """
    gray = cv2.cvtColor(scored.image, cv2.COLOR_RGB2GRAY) // 2
    picture = np.repeat(np.asarray(gray, np.uint8)[..., None], 3, axis=2)
    counted = scored.truth < len(scored.scores.confusion)
    picture[~counted] = 0
    picture[counted & (scored.truth != scored.predicted)] = WRONG
    return picture


def plot_confusion(confusion: NDArray[np.int64], names: Sequence[str], path: str | Path) -> None:
    """Write ``confusion_figure`` to an image file.

    Args:
        confusion: int64 [C,C+1], see ``Scores``.
        names: of the C classes.
        path: file to write; its suffix selects the format.

    Raises:
        OSError: the file cannot be written.
        ValueError: matplotlib does not support the suffix.
    """
    figure = confusion_figure(confusion, names)
    with write_errors(Path(path)):
        figure.savefig(path, dpi=120)


def confusion_figure(confusion: NDArray[np.int64], names: Sequence[str]) -> "Figure":
    """Return a figure of the confusion matrix, each row in percent of its true class.

    A column "none" counts pixels without a predicted class, and is drawn only if there are any. The
    row of a class that does not occur is empty.

    Args:
        confusion: int64 [C,C+1], see ``Scores``.
        names: of the C classes.
    """
    from matplotlib.figure import Figure

    columns = [*names, "none"] if confusion[:, -1].any() else list(names)
    pixels = confusion.sum(axis=1, keepdims=True)
    shown = 100 * confusion[:, : len(columns)] / np.maximum(pixels, 1)

    side = 2 + 0.45 * len(columns)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot(xlabel="predicted", ylabel="true")
    axes.imshow(shown, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(range(len(columns)), columns, rotation=90)
    axes.set_yticks(range(len(names)), names)
    for row, column in np.argwhere(shown >= 0.5):
        value = shown[row, column]
        color = "white" if value > 50 else "black"
        axes.text(
            column, row, f"{value:.0f}", ha="center", va="center", color=color, fontsize="small"
        )
    axes.set_title("percent of the true class")
    return figure
