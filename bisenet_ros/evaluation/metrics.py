"""Segmentation metrics, computed from one confusion matrix over all images."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.errors import DatasetError

Image = NDArray[np.uint8]
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Scores:
    """Metrics in 0..1 of a confusion matrix.

    As in Cityscapes' evaluation script, a class that is predicted but never true has an IoU of 0; a
    class that is neither has NaN and is left out of ``miou``.

    - ``confusion``: int64 [C,C+1], pixels by true class and predicted class. The last column counts
      pixels without a predicted class; pixels without a true class are left out.
    """

    confusion: NDArray[np.int64]

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class, float64 [C]; NaN if the class does not occur."""
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
        """Share of the labeled pixels with the correct class."""
        return float(self.confusion.diagonal().sum() / self.confusion.sum())

    @property
    def frequency_weighted_iou(self) -> float:
        """Mean of ``iou`` weighted by each class's share of the true pixels (arXiv 1411.4038)."""
        share = self.confusion.sum(axis=1) / self.confusion.sum()
        return float(np.nansum(share * self.iou))

    def confusions(self, count: int) -> list[tuple[int, int, float]]:
        """Return the most frequent confusions, most frequent first.

        Args:
            count: largest number of pairs; pairs that do not occur are left out.

        Returns:
            (true class, predicted class, share of the true class's pixels, 0..1); the predicted
            class is C for pixels without one.
        """
        pixels = self.confusion.sum(axis=1, keepdims=True)
        shares = self.confusion / np.maximum(pixels, 1)
        np.fill_diagonal(shares, 0)
        worst = np.argsort(-shares, axis=None, kind="stable")[:count]
        pairs = zip(*np.unravel_index(worst, shares.shape), strict=True)
        return [(int(t), int(p), float(shares[t, p])) for t, p in pairs if shares[t, p]]


@dataclass(frozen=True)
class ScoredImage:
    """One sample with its prediction and scores.

    - ``number``: index of the sample, from 0.
    - ``image``: uint8 [H,W,3] RGB.
    - ``truth``, ``predicted``: class ids uint8 [H,W].
    """

    number: int
    image: Image
    truth: Labels
    predicted: Labels
    scores: Scores


def confusion_matrix(truth: Labels, predicted: Labels, num_classes: int) -> NDArray[np.int64]:
    """Return the confusion matrix of one image, int64 [C,C+1], see ``Scores``.

    Args:
        truth: class ids uint8 [H,W]; values of ``num_classes`` and above are unlabeled.
        predicted: class ids uint8 [H,W]; values of ``num_classes`` and above are no class.
        num_classes: C.

    Raises:
        ValueError: the shapes differ.
    """
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
    """Score ``predict`` over all samples.

    Args:
        samples: images uint8 [H,W,3] RGB with class ids uint8 [H,W].
        predict: returns class ids uint8 [H,W] of an image.
        num_classes: number of classes C.
        watch: called with each sample and its prediction, in order.

    Raises:
        DatasetError: no pixel of any sample has a class.
        ValueError: a prediction and its truth differ in size.
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
    """Return the IoU by class name; None, valid in JSON, if the class does not occur."""
    return {
        name: None if np.isnan(value) else float(value)
        for name, value in zip(names, scores.iou, strict=True)
    }
