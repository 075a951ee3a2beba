"""Results of the demo: counts, latency, mIoU, overlays and their contact sheet."""

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
"""Maximum width in pixels of an image in the contact sheet."""
JPEG_QUALITY = 90

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class _Frame:
    number: int
    time: float
    labels: Pixels | None


class Recorder:
    """Records published frames and received labels, and writes overlays to disk.

    Frames are identified by their stamps, and labels arrive in the order of the frames. Only
    frames in flight are kept in memory.

    Args:
        output: Output folder; the overlays of an earlier demo in it are removed.
        classes: Classes of the model.
        class_names: Names of the true labels' classes; labels are not scored if they differ from
            the model's. None if they are the same.

    Attributes:
        sent: Number of frames published.
        received: Number of frames whose labels were received.
        pictures: Folder of the overlays, named by frame number.
    """

    def __init__(
        self,
        output: Path,
        classes: tuple[SemanticClass, ...],
        class_names: tuple[str, ...] | None = None,
    ) -> None:
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
        self._in_flight: dict[int, _Frame] = {}
        # One past the number of the latest frame whose labels and overlay were received.
        self._answered = self._pictured = 0
        self._latencies: list[float] = []
        self._first_sent = self._last_received = 0.0

    @property
    def unanswered(self) -> int:
        """Number of frames published after the latest one whose labels were received."""
        return self.sent - self._answered

    def is_answered(self) -> bool:
        """Return whether the labels of the latest frame were received."""
        return self._answered == self.sent

    def is_complete(self) -> bool:
        """Return whether labels and overlay of the latest frame were received."""
        return self.is_answered() and self._pictured == self.sent

    def publish(self, stamp: int, time: float, labels: Pixels | None) -> None:
        """Record a frame published at ``time`` [s].

        Args:
            stamp: Stamp of the frame.
            time: When it was published [s].
            labels: Ground truth, uint8 [H,W], or None.
        """
        if self.sent == 0:
            self._first_sent = time
        self._in_flight[stamp] = _Frame(self.sent, time, labels if self._scores_labels else None)
        self.sent += 1

    def receive_labels(self, stamp: int, labels: Pixels, time: float) -> None:
        """Record the node's labels, uint8 [H,W], received at ``time`` [s].

        Raises:
            LabelsError: The ground truth contains an id that the model does not have.
        """
        frame = self._in_flight.get(stamp)
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
        """Write the node's overlay, uint8 [H,W,3] RGB, to disk."""
        frame = self._in_flight.get(stamp)
        if frame is None or frame.number < self._pictured:
            return
        self._pictured = frame.number + 1
        path = self.pictures / f"{frame.number:06d}.jpg"
        write_picture(path, image, JPEG_QUALITY)
        self._forget()

    def write_contact_sheet(self) -> Path | None:
        """Write a contact sheet of evenly spaced overlays; return its path, None without any."""
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
        """Return the measurements for ``--json``; unknown values are None.

        ``fps`` is the rate of labels from publishing the first frame to receiving the last label.
        ``latency_ms`` is measured from publishing a frame to receiving its labels. ``miou`` is a
        fraction, computed over all received frames.
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
        """Return the measurements as text, one per line."""
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
            lines.append(("mIoU", "unknown: the labels have other classes than the model"))
        return "\n".join(f"{name:<12} {value}" for name, value in lines)

    def _score(self, truth: Pixels, labels: Pixels) -> None:
        count = len(self._classes)
        unknown = truth[(truth >= count) & (truth != IGNORE_ID)]
        if unknown.size:
            raise LabelsError(
                f"the label images contain the id {unknown[0]}, but the model's classes are 0 to "
                f"{count - 1}: map the ids to these, and all others to {IGNORE_ID}"
            )
        self._confusion += confusion_matrix(truth, labels, count)

    def _forget(self) -> None:
        """Remove frames that are complete or were dropped by the node."""
        done = min(self._answered, self._pictured)
        for stamp in [s for s, frame in self._in_flight.items() if frame.number < done]:
            del self._in_flight[stamp]

    def _overlays(self) -> list[Path]:
        return sorted(self.pictures.glob("[0-9]" * 6 + ".jpg"))


def _thumbnail(path: Path) -> Pixels:
    image = read_image(path)
    height, width = image.shape[:2]
    return fit(image, min(width, SHEET_WIDTH), height)
