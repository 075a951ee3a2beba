"""Plot of a run's loss, learning rate and validation scores."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.atomic import atomic_write
from bisenet_ros.classes import SemanticClass
from bisenet_ros.errors import write_errors
from bisenet_ros.training.run_logger import LOG, VALIDATION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMOOTHED_SHARE = 0.02
"""Window of the moving average of the loss, as a share of the run."""

CLASSES_DRAWN = 25
"""With more classes than this, only the mean IoU is plotted: the lines would be unreadable."""


def plot_curves(output: Path, path: Path, classes: Sequence[SemanticClass]) -> None:
    """Plot loss, learning rate and validation scores, if any, against the iteration.

    The IoU of each class has the color of the class, with an outline that shows light ones.

    Does nothing if the log is empty, as after resuming a finished checkpoint in a new folder.

    Args:
        output: Folder of a run, with the files of ``RunLogger``.
        path: Image file to write, atomically.
        classes: Classes of the validation scores.

    Raises:
        OSError: A file cannot be read or written.
    """
    run = _columns(output / LOG)
    if not len(run["iteration"]):
        return
    figure = curves_figure(run, _columns(output / VALIDATION), classes)
    with write_errors(path), atomic_write(path) as written:
        figure.savefig(written, dpi=120)


def curves_figure(
    run: Mapping[str, NDArray[np.float64]],
    validation: Mapping[str, NDArray[np.float64]],
    classes: Sequence[SemanticClass],
) -> "Figure":
    """Return the figure that ``plot_curves`` writes, from the columns of the logs by name."""
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke

    scored = len(validation["iteration"]) > 0
    figure = Figure(figsize=(8, 6 if scored else 3.5), layout="constrained")
    panels = figure.subplots(2 if scored else 1, 1, sharex=True, squeeze=False)[:, 0]
    panels[-1].set(xlabel="iteration")
    top = panels[0]
    # Clip the axis: the first losses are far above all others.
    top.set(ylabel="loss (all heads)", ylim=(0, 1.5 * np.percentile(run["loss"], 95)))
    top.plot(run["iteration"], run["loss"], alpha=0.25, color="C0")
    width = max(1, round(SMOOTHED_SHARE * len(run["loss"])))
    mean = np.convolve(run["loss"], np.full(width, 1 / width), mode="valid")
    top.plot(run["iteration"][width - 1 :], mean, color="C0")
    rate = top.twinx()
    rate.set(ylabel="learning rate")
    rate.plot(run["iteration"], run["learning_rate"], color="C1")
    if scored:
        bottom = panels[1]
        bottom.set(ylabel="validation, %")
        iterations = validation["iteration"]
        mean_iou = 100 * validation["miou"]
        bottom.plot(
            iterations,
            mean_iou,
            label="miou",
            color="black",
            linewidth=2,
            linestyle="--",
            zorder=3,  # above the classes
        )
        for entry in classes if len(classes) <= CLASSES_DRAWN else ():
            bottom.plot(
                iterations,
                100 * validation[entry.name],
                label=entry.name,
                color=[value / 255 for value in entry.color],
                path_effects=[withStroke(linewidth=1.8, foreground="gray")],
            )
        bottom.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _columns(path: Path) -> dict[str, NDArray[np.float64]]:
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return {
        name: np.array([float(row[column] or "nan") for row in rows])
        for column, name in enumerate(header)
    }
