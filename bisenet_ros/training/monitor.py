"""What a run shows and leaves behind while it goes on: a progress bar and log.csv."""

import csv
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from bisenet_ros.training.loop import Progress
from bisenet_ros.training.settings import Settings

LOG_COLUMNS = ("iteration", "loss", "learning_rate", "images_per_s", "waited_share")


class Monitor:
    """Shows and logs the iterations of a run; to be used in a ``with`` statement.

    Args:
        output: folder of the run, made if it is missing. log.csv in it gets a row an iteration.
        settings: of the run.
        first: iterations done before; later rows of an earlier log are dropped, since a run that
            was killed has logged more than it has saved.
    """

    def __init__(self, output: Path, settings: Settings, first: int) -> None:
        output.mkdir(parents=True, exist_ok=True)
        path = output / "log.csv"
        kept = _rows_until(path, first)
        self._batch_size = settings.batch_size
        self._file = path.open("w", newline="")
        self._log = csv.writer(self._file)
        self._log.writerow(LOG_COLUMNS)
        self._log.writerows(kept)
        self._file.flush()
        self._bar = tqdm(total=settings.iterations, initial=first, unit="it", desc="train")
        self._seconds = self._waited = 0.0

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()
        self._file.close()

    def show(self, progress: Progress) -> None:
        """Add one iteration."""
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
        self._log.writerow(
            [
                progress.iteration,
                f"{progress.loss:.4f}",
                f"{progress.learning_rate:.3g}",
                speed,
                f"{waited:.3f}",
            ]
        )

    def flush(self) -> None:
        """Write the rows so far to the disk."""
        self._file.flush()


def _rows_until(log: Path, iteration: int) -> list[list[str]]:
    if not iteration or not log.is_file():
        return []
    with log.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [row for row in rows if len(row) == len(LOG_COLUMNS) and int(row[0]) <= iteration]
