"""Progress bar, CSV logs and TensorBoard events of a run."""

import csv
import sys
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from statistics import mean
from typing import Any

from tqdm import tqdm

from bisenet_ros.errors import TrainingError, first_line, write_errors
from bisenet_ros.evaluation.metrics import Scores
from bisenet_ros.training.loop import Progress
from bisenet_ros.training.settings import Settings

LOG = "log.csv"
VALIDATION = "validation.csv"
LOG_COLUMNS = ("iteration", "loss", "learning_rate", "images_per_s", "waited_share")

TIMED = 20
"""Number of iterations after which the remaining time is estimated."""
STARTUP = 5
"""Number of slow first iterations that the estimate leaves out."""


class RunLogger:
    """Shows and logs the iterations of a run, until ``close``.

    Args:
        output: Folder of the run; created if missing. log.csv receives a row per iteration,
            validation.csv a row per call of ``validated``.
        settings: Settings of the run.
        class_names: Names of the class columns of validation.csv.
        first: Number of iterations already completed. Rows of later iterations are removed from
            existing logs: a killed run has logged iterations after its last checkpoint.
        tensorboard: Whether to write event files into ``output`` as well.

    Raises:
        TrainingError: ``tensorboard`` is set, but TensorBoard is not installed.
    """

    def __init__(
        self,
        output: Path,
        settings: Settings,
        class_names: Sequence[str],
        first: int,
        *,
        tensorboard: bool,
    ) -> None:
        output.mkdir(parents=True, exist_ok=True)
        self._batch_size = settings.batch_size
        self._iterations = settings.iterations
        self._log = _Table(output / LOG, LOG_COLUMNS, first)
        self._class_names = class_names
        columns = ("iteration", "miou", *class_names)
        self._validation = _Table(output / VALIDATION, columns, first)
        self._events = None
        if tensorboard:
            self._events = import_summary_writer()(str(output), purge_step=first + 1)
        # Unlike other progress bars also shown in redirected output, to follow long runs. The
        # delay hides it until the first iteration, so that an earlier error stands alone.
        self._bar = tqdm(
            total=settings.iterations,
            initial=first,
            unit="it",
            desc="train",
            delay=1e-3,
        )
        self._timed: list[float] = []
        self._seconds = self._waited = 0.0

    def show(self, progress: Progress) -> None:
        """Show and log one iteration."""
        self._seconds += progress.seconds
        self._waited += progress.waited
        speed = f"{self._batch_size / progress.seconds:.2f}"
        waited = self._waited / self._seconds
        self._bar.update()
        self._bar.set_postfix(
            loss=f"{progress.loss:.3f}",
            lr=f"{progress.learning_rate:.2g}",
            images_s=speed,
            waited=f"{waited:.0%}",
        )
        self._log.add(
            progress.iteration,
            f"{progress.loss:.4f}",
            f"{progress.learning_rate:.3g}",
            speed,
            f"{waited:.3f}",
        )
        rates = {"loss": progress.loss, "learning_rate": progress.learning_rate}
        self._add_scalars(progress.iteration, rates)
        if len(self._timed) < TIMED:
            self._timed.append(progress.seconds)
            left = self._iterations - progress.iteration
            if len(self._timed) == TIMED <= left:
                self._bar.write(time_left(left, mean(self._timed[STARTUP:])), file=sys.stderr)

    def validated(self, iteration: int, scores: Scores) -> None:
        """Log the scores on the validation images after ``iteration``."""
        values = [scores.miou, *scores.iou]
        self._validation.add(iteration, *("" if isnan(v) else f"{v:.4f}" for v in values))
        by_class = dict(zip(self._class_names, scores.iou, strict=True))
        self._add_scalars(
            iteration,
            {"validation_miou": scores.miou}
            | {f"validation_iou/{name}": v for name, v in by_class.items() if not isnan(v)},
        )

    def has_validated(self, iteration: int) -> bool:
        """Return whether the scores after ``iteration`` are logged."""
        return self._validation.last == iteration

    def end_bar(self) -> None:
        """End the progress bar, so that other output can follow."""
        self._bar.close()

    def flush(self) -> None:
        """Write buffered rows to the files."""
        self._log.flush()
        self._validation.flush()

    def close(self) -> None:
        """End the progress bar and close all files."""
        self.end_bar()
        self._log.close()
        self._validation.close()
        if self._events is not None:
            self._events.close()

    def _add_scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, iteration)


def import_summary_writer() -> Any:
    """Return PyTorch's class that writes TensorBoard's event files.

    Raises:
        TrainingError: TensorBoard cannot be imported.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError(
            f"TensorBoard cannot be imported ({first_line(error)}): pip install tensorboard, or "
            f"omit --tensorboard; {LOG} and {VALIDATION} have the same values"
        ) from None
    return SummaryWriter


def time_left(iterations: int, seconds: float) -> str:
    """Return a text with the time that ``iterations`` take at ``seconds`` each."""
    total = iterations * seconds
    if total < 90:
        about = f"{total:.0f} s"
    elif total < 90 * 60:
        about = f"{total / 60:.0f} min"
    else:
        about = f"{total / 3600:.1f} h"
    each = f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"
    return f"about {about} left: {iterations} iterations at {each}"


class _Table:
    """CSV file with a header row and the iteration in its first column."""

    def __init__(self, path: Path, columns: Sequence[str], first: int) -> None:
        kept = _rows_until(path, first, len(columns))
        self.last = int(kept[-1][0]) if kept else 0
        self._path = path
        with write_errors(path):
            self._file = path.open("w", newline="")
            self._writer = csv.writer(self._file)
            self._writer.writerow(columns)
            self._writer.writerows(kept)
            self._file.flush()

    def add(self, iteration: int, *row: object) -> None:
        with write_errors(self._path):
            self._writer.writerow([iteration, *row])
        self.last = iteration

    def flush(self) -> None:
        with write_errors(self._path):
            self._file.flush()

    def close(self) -> None:
        with write_errors(self._path):
            self._file.close()


def _rows_until(table: Path, iteration: int, columns: int) -> list[list[str]]:
    if not iteration or not table.is_file():
        return []
    with table.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [
        row for row in rows if len(row) == columns and row[0].isdigit() and int(row[0]) <= iteration
    ]
