"""What the demo saw: counts, latency, score, overlay pictures and their contact sheet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import IGNORE_ID, SemanticClass
from bisenet_ros.errors import LabelsError
from bisenet_ros.evaluation.metrics import Scores, confusion_matrix
from bisenet_ros.images.files import read_image
from bisenet_ros.images.render import contact_sheet, fit, legend, write_picture

SHEET_PICTURES = 12
SHEET_COLUMNS = 4
SHEET_WIDTH = 480
"""Pixels that a picture of the contact sheet is wide at most."""
JPEG_QUALITY = 90

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class _Frame:
    number: int
    time: float
    labels: Pixels | None


class Recorder:
    """Holds frames only while they are under way; what remains is figures, and pictures on disk.

    Frames are known by the stamps that they were published with, and answered in their order.

    - ``sent``, ``received``: number of frames published, and of those whose labels came.
    - ``pictures``: folder of the overlays, named by the number of their frame.
    """

    def __init__(
        self,
        output: Path,
        classes: tuple[SemanticClass, ...],
        class_names: tuple[str, ...] | None = None,
    ) -> None:
        """Remove the pictures that an earlier demo left in ``output``, a folder.

        ``classes`` are the model's. ``class_names`` are those of the true labels, which are not
        scored where the two differ; None means that they are the same.
        """
        self.sent = self.received = 0
        self.pictures = output / "overlay"
        self._sheet = output / "contact_sheet.png"
        self.pictures.mkdir(exist_ok=True)
        for old in [self._sheet, *self._overlays()]:
            old.unlink(missing_ok=True)
        self._classes = classes
        names = tuple(entry.name for entry in classes)
        self._scores_labels = class_names in (None, names)
        self._confusion = np.zeros((len(classes), len(classes) + 1), np.int64)
        self._under_way: dict[int, _Frame] = {}
        self._answered = self._pictured = 0  # frames up to the latest whose answer is here
        self._latencies: list[float] = []
        self._first_sent = self._last_received = 0.0

    @property
    def unanswered(self) -> int:
        """Number of frames published after the latest one whose labels came."""
        return self.sent - self._answered

    def is_answered(self) -> bool:
        """Whether the labels of the latest frame came."""
        return self._answered == self.sent

    def is_complete(self) -> bool:
        """Whether its overlay came as well."""
        return self.is_answered() and self._pictured == self.sent

    def publish(self, stamp: int, time: float, labels: Pixels | None) -> None:
        """A frame was published at ``time`` in seconds; ``labels``, uint8 [H, W], are the truth."""
        if self.sent == 0:
            self._first_sent = time
        self._under_way[stamp] = _Frame(self.sent, time, labels if self._scores_labels else None)
        self.sent += 1

    def receive_labels(self, stamp: int, labels: Pixels, time: float) -> None:
        """The node's labels, uint8 [H, W], arrived at ``time``.

        Raises:
            LabelsError: the frame's true labels have an id that the model does not have.
        """
        frame = self._under_way.get(stamp)
        if frame is None or frame.number < self._answered:
            return
        self._answered = frame.number + 1
        self.received += 1
        self._last_received = time
        self._latencies.append(1e3 * (time - frame.time))
        if frame.labels is not None:
            self._score(frame.labels, labels)
        self._forget()

    def receive_overlay(self, stamp: int, image: Pixels) -> None:
        """The node's overlay, uint8 [H, W, 3] RGB, arrived; it is written at once."""
        frame = self._under_way.get(stamp)
        if frame is None or frame.number < self._pictured:
            return
        self._pictured = frame.number + 1
        path = self.pictures / f"{frame.number:06d}.jpg"
        write_picture(path, image, JPEG_QUALITY)
        self._forget()

    def write_contact_sheet(self) -> Path | None:
        """Make one picture of overlays spread evenly over the run; None where there are none."""
        paths = self._overlays()
        if not paths:
            return None
        count = min(SHEET_PICTURES, len(paths))
        chosen = np.linspace(0, len(paths) - 1, count).round().astype(int)
        images = [_thumbnail(paths[index]) for index in chosen]
        columns = min(SHEET_COLUMNS, count)
        key = legend(self._classes, width=columns * images[0].shape[1])
        write_picture(self._sheet, contact_sheet(images, columns, key))
        return self._sheet

    def measurements(self) -> dict[str, Any]:
        """Figures for ``--json``; what is not known is None.

        ``fps`` are labels a second from the first frame's publication to the last label;
        ``latency_ms`` runs from a frame's publication to the arrival of its labels; ``miou`` is a
        fraction over the received frames together.
        """
        seconds = self._last_received - self._first_sent
        ranks = (50, 95, 99)
        percentiles = np.percentile(self._latencies, ranks) if self.received else [None] * 3
        return {
            "sent": self.sent,
            "received": self.received,
            "dropped": self.sent - self.received,
            "fps": self.received / seconds if self.received else None,
            "latency_ms": {
                f"p{rank}": None if value is None else float(value)
                for rank, value in zip(ranks, percentiles, strict=True)
            },
            "miou": Scores(self._confusion).miou if self._confusion.any() else None,
        }

    def table(self) -> str:
        """The same for people, a line each."""
        found = self.measurements()
        lines = [(name, str(found[name])) for name in ("sent", "received", "dropped")]
        if self.received:
            latency = found["latency_ms"]
            lines.append(("latency p50", f"{latency['p50']:.1f} ms"))
            lines.append(("latency p95", f"{latency['p95']:.1f} ms"))
            lines.append(("FPS", f"{found['fps']:.1f}"))
        if found["miou"] is not None:
            lines.append(("mIoU", f"{found['miou']:.1%}"))
        elif not self._scores_labels:
            lines.append(("mIoU", "unknown: the model's classes are not those of the labels"))
        return "\n".join(f"{name:<12} {value}" for name, value in lines)

    def _score(self, truth: Pixels, labels: Pixels) -> None:
        count = len(self._classes)
        unknown = truth[(truth >= count) & (truth != IGNORE_ID)]
        if unknown.size:
            raise LabelsError(
                f"the label images have the id {unknown[0]}, but the model's classes are 0 to "
                f"{count - 1}: map their ids to these, and all else to {IGNORE_ID}"
            )
        self._confusion += confusion_matrix(truth, labels, count)

    def _forget(self) -> None:
        """Let go of frames that nothing more is expected of; dropped ones are among them."""
        done = min(self._answered, self._pictured)
        for stamp in [s for s, frame in self._under_way.items() if frame.number < done]:
            del self._under_way[stamp]

    def _overlays(self) -> list[Path]:
        return sorted(self.pictures.glob("[0-9]" * 6 + ".jpg"))


def _thumbnail(path: Path) -> Pixels:
    image = read_image(path)
    height, width = image.shape[:2]
    return fit(image, min(width, SHEET_WIDTH), height)
