"""Scores of labels against the truth, from one confusion matrix over all images."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Scores:
    """Fractions in 0..1 from a confusion matrix, int64 [C, C+1]: [true class, predicted class].

    The last column counts pixels that have a true class and were given none. A class that occurs
    neither in the truth nor in the prediction has an IoU of NaN and does not count in ``miou``.
    """

    confusion: NDArray[np.int64]

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class."""
        hits = self.confusion.diagonal().astype(np.float64)
        predicted = self.confusion.sum(axis=0)[: len(hits)]
        union = self.confusion.sum(axis=1) + predicted - hits
        iou: NDArray[np.float64] = np.divide(
            hits, union, out=np.full_like(hits, np.nan), where=union > 0
        )
        return iou

    @property
    def miou(self) -> float:
        """Mean of ``iou`` over the classes that occur."""
        return float(np.nanmean(self.iou))

    @property
    def pixel_accuracy(self) -> float:
        """Share of the labelled pixels that are right."""
        return float(self.confusion.diagonal().sum() / self.confusion.sum())


def confusion_matrix(truth: Labels, predicted: Labels, num_classes: int) -> NDArray[np.int64]:
    """The matrix of ``Scores`` for one image; pixels without a true class are left out."""
    if truth.shape != predicted.shape:
        raise ValueError(f"truth has shape {truth.shape} and the prediction {predicted.shape}")
    counted = truth < num_classes
    columns = np.minimum(predicted[counted], num_classes).astype(np.int64)
    flat = truth[counted].astype(np.int64) * (num_classes + 1) + columns
    counts = np.bincount(flat, minlength=num_classes * (num_classes + 1))
    return counts.reshape(num_classes, num_classes + 1)


def evaluate(
    samples: Iterable[tuple[NDArray[np.uint8], Labels]],
    predict: Callable[[NDArray[np.uint8]], Labels],
    num_classes: int,
) -> Scores:
    """Score ``predict`` (image uint8 [H,W,3] RGB to labels uint8 [H,W]) over all samples.

    Raises:
        ValueError: no pixel of any sample has a class.
    """
    total = np.zeros((num_classes, num_classes + 1), np.int64)
    for image, truth in samples:
        total += confusion_matrix(truth, predict(image), num_classes)
    if not total.any():
        raise ValueError("no pixel of these images has a class, so there is nothing to score")
    return Scores(total)


def iou_by_class(scores: Scores, names: Sequence[str]) -> dict[str, float | None]:
    """IoU by class name; None where the class does not occur, so that it is valid JSON."""
    return {
        name: None if np.isnan(value) else float(value)
        for name, value in zip(names, scores.iou, strict=True)
    }
