"""The folder that ``bisenet segment`` writes, which a later run can continue."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import SemanticClass, palette
from bisenet_ros.cli.output_files import write_json
from bisenet_ros.documents import parse_json, read_text
from bisenet_ros.errors import DocumentError, OutputError, quoted, write_errors
from bisenet_ros.images.label_images import read_label_image
from bisenet_ros.images.render import overlay, write_picture
from bisenet_ros.inference.segmenter import Segmentation

RECORD = "segment.json"
"""File with the settings that the labels were made with."""

Pixels = NDArray[np.uint8]


class Pictures(NamedTuple):
    """Labels uint8 [H,W], overlay uint8 [H,W,3] RGB and, if wanted, confidence uint8 [H,W]."""

    labels: Pixels
    overlay: Pixels
    confidence: Pixels | None


class SegmentOutput:
    """A folder with labels/, overlay/ and, if wanted, confidence/, and a record of its settings.

    A frame whose pictures are all there is complete: they are written to another name first.

    - ``folders``: labels/, overlay/ and, if wanted, confidence/.
    """

    def __init__(self, folder: Path, *, alpha: float, confidence: bool) -> None:
        """Check ``folder``, which need not exist.

        Raises:
            OutputError: it has labels that were not written by ``bisenet segment``.
        """
        self._folder = folder
        self._alpha = alpha
        self._confidence = confidence
        self._labels, self._overlay = folder / "labels", folder / "overlay"
        self.folders = [self._labels, self._overlay]
        if confidence:
            self.folders.append(folder / "confidence")
        self._has_labels = self._labels.is_dir() and any(self._labels.iterdir())
        if self._has_labels and not (folder / RECORD).is_file():
            # Do not overwrite: they may be the labels of a dataset.
            raise OutputError(
                f"{self._labels} already contains files: remove them, or use another --output"
            )

    def begin(self, settings: Mapping[str, Any], classes: Sequence[SemanticClass]) -> None:
        """Record the settings and classes, or check that the labels in the folder have the same.

        Args:
            settings: All that determines the labels of a frame, as JSON values.
            classes: Classes of the model.

        Raises:
            OutputError: The folder has labels of other settings.
        """
        self._colors = palette(tuple(classes))
        record = self._folder / RECORD
        if self._has_labels:
            _check_record(record, settings)
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)
        write_json(record, settings)
        lines = (
            f"{entry.id} {entry.name} {' '.join(map(str, entry.color))}\n" for entry in classes
        )
        listed = self._folder / "classes.txt"
        with write_errors(listed):
            listed.write_text("".join(lines), encoding="utf-8")

    def check_no_labels(self, source: str) -> None:
        """Raise OutputError if there are labels, which are not those of ``source``'s new frames."""
        if self._has_labels:
            raise OutputError(
                f"{self._labels} already contains files, and no run of live images of {source} can "
                "be continued: remove them, or use another --output"
            )

    def has(self, name: str, file: Path | None) -> bool:
        """Return whether all pictures of a frame are there, and none is older than its file."""
        paths = self._paths(name)
        if not all(path.is_file() for path in paths):
            return False
        since = 0 if file is None else file.stat().st_mtime_ns
        return all(path.stat().st_mtime_ns >= since for path in paths)

    def read(self, name: str, image: Pixels) -> Pictures:
        """Return the pictures of a frame that the folder has.

        Raises:
            ImageFileError: A picture cannot be read.
            OutputError: The labels are not of the size of ``image``.
        """
        paths = self._paths(name)
        labels = read_label_image(paths[0])
        if labels.shape != image.shape[:2]:
            raise OutputError(f"{paths[0]} is not of the size of its frame: remove it")
        confidence = read_label_image(paths[2]) if self._confidence else None
        return self._pictures(image, labels, confidence)

    def write(self, name: str, segmentation: Segmentation) -> Pictures:
        """Write and return the pictures of a frame.

        Raises:
            OSError: A picture cannot be written.
        """
        pictures = self._pictures(segmentation.image, segmentation.labels, segmentation.confidence)
        written = [pixels for pixels in pictures if pixels is not None]
        for path, pixels in zip(self._paths(name), written, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._folder / f".partial{path.suffix}"
            write_picture(partial, pixels)
            partial.replace(path)
        return pictures

    def _paths(self, name: str) -> list[Path]:
        suffixes = (".png", ".jpg", ".png")
        return [
            folder / f"{name}{suffix}"
            for folder, suffix in zip(self.folders, suffixes, strict=False)
        ]

    def _pictures(self, image: Pixels, labels: Pixels, confidence: Pixels | None) -> Pictures:
        shown = overlay(image, labels, self._colors, self._alpha)
        return Pictures(labels, shown, confidence if self._confidence else None)


def _check_record(record: Path, settings: Mapping[str, Any]) -> None:
    """Raise OutputError if ``record`` has other settings."""
    remedy = "use another --output, or remove its labels"
    try:
        recorded = parse_json(read_text(record))
    except DocumentError as error:
        raise OutputError(f"{record} cannot be read ({error}): {remedy}") from error
    if not isinstance(recorded, dict):
        raise OutputError(f"{record} is no record of settings: {remedy}")
    for key, value in json.loads(json.dumps(settings)).items():
        if recorded.get(key) != value:
            raise OutputError(
                f"{record.parent} has labels of {key} {quoted(recorded.get(key))}, not "
                f"{quoted(value)}: give the arguments of that run to continue it, or {remedy}"
            )
