"""The confusion matrix as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def plot_confusion(confusion: NDArray[np.int64], names: Sequence[str], path: Path) -> None:
    """Write the matrix of ``Scores``, each row as percent of its true class, as an image file.

    A column "none" for pixels that were given no class is there only if there are such pixels; the
    row of a class that is nowhere true stays empty.

    Raises:
        OSError: the file cannot be written.
        ValueError: matplotlib knows no format of its suffix.
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
        colour = "white" if value > 50 else "black"
        axes.text(
            column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize="small"
        )
    axes.set_title("percent of the true class")
    figure.savefig(path, dpi=120)
