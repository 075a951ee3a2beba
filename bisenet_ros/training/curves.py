"""Plot of a run's loss, learning rate and validation scores."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.training.run_logger import LOG, VALIDATION

SMOOTHED_SHARE = 0.02
"""Window of the moving average of the loss, as a share of the run."""

CLASSES_DRAWN = 25
"""With more classes than this, only the mean IoU is plotted: the lines would be unreadable."""


def plot_curves(output: Path, path: Path) -> None:
    """Plot loss, learning rate and validation scores, if any, against the iteration.

    Does nothing if the log is empty, as after resuming a finished checkpoint in a new folder.

    Args:
        output: Folder of a run, with the files of ``RunLogger``.
        path: Image file to write.

    Raises:
        OSError: A file cannot be read or written.
    """
    from matplotlib.figure import Figure

    run = _columns(output / LOG)
    if not len(run["iteration"]):
        return
    validation = _columns(output / VALIDATION)
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
        iterations = validation.pop("iteration")
        for name, values in validation.items():
            if name == "miou" or len(validation) - 1 <= CLASSES_DRAWN:
                main = name == "miou"
                bottom.plot(
                    iterations,
                    100 * values,
                    label=name,
                    color="black" if main else None,
                    linewidth=2 if main else 0.8,
                )
        bottom.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=120)


def _columns(path: Path) -> dict[str, NDArray[np.float64]]:
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return {
        name: np.array([float(row[column] or "nan") for row in rows])
        for column, name in enumerate(header)
    }
