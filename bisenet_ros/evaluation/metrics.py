"""Scores of labels against the truth, from one confusion matrix over all images."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.errors import DatasetError

Image = NDArray[np.uint8]
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Scores:
    """Fractions in 0..1 from a confusion matrix, int64 [C, C+1]: [true class, predicted class].

    Pixels without a true class are not in it. The last column counts pixels that have a true class
    and were given none. As in the evaluation script of Cityscapes, a class that is predicted but
    nowhere true has an IoU of 0; one that is neither has NaN, and does not count in ``miou``.
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

    @property
    def frequency_weighted_iou(self) -> float:
        """Mean of ``iou`` weighted by each class's share of the true pixels (arXiv 1411.4038)."""
        share = self.confusion.sum(axis=1) / self.confusion.sum()
        return float(np.nansum(share * self.iou))

    def confusions(self, count: int) -> list[tuple[int, int, float]]:
        """The worst ``(true class, predicted class, share of the true class)``, worst first.

        The predicted class is C where none was predicted. Pairs that never occur are left out.
        """
        pixels = self.confusion.sum(axis=1, keepdims=True)
        shares = self.confusion / np.maximum(pixels, 1)
        np.fill_diagonal(shares, 0)
        worst = np.argsort(-shares, axis=None, kind="stable")[:count]
        pairs = zip(*np.unravel_index(worst, shares.shape), strict=True)
        return [(int(t), int(p), float(shares[t, p])) for t, p in pairs if shares[t, p]]


@dataclass(frozen=True)
class ScoredImage:
    """Sample ``number`` from 0, uint8 [H,W,3] RGB and [H,W], and how well it was predicted."""

    number: int
    image: Image
    truth: Labels
    predicted: Labels
    scores: Scores


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
    samples: Iterable[tuple[Image, Labels]],
    predict: Callable[[Image], Labels],
    num_classes: int,
    watch: Callable[[ScoredImage], object] | None = None,
) -> Scores:
    """Score ``predict`` (image uint8 [H,W,3] RGB to labels uint8 [H,W]) over all samples.

    ``watch`` sees each sample with its prediction, in order.

    Raises:
        DatasetError: no pixel of any sample has a class.
        ValueError: a prediction has another size than its truth.
    """
    total = np.zeros((num_classes, num_classes + 1), np.int64)
    for number, (image, truth) in enumerate(samples):
        predicted = predict(image)
        confusion = confusion_matrix(truth, predicted, num_classes)
        total += confusion
        if watch is not None:
            watch(ScoredImage(number, image, truth, predicted, Scores(confusion)))
    if not total.any():
        raise DatasetError("no pixel of these images has a class, so there is nothing to score")
    return Scores(total)


def iou_by_class(scores: Scores, names: Sequence[str]) -> dict[str, float | None]:
    """IoU by class name; None where the class does not occur, so that it is valid JSON."""
    return {
        name: None if np.isnan(value) else float(value)
        for name, value in zip(names, scores.iou, strict=True)
    }
