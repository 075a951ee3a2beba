"""Metrics against values computed by hand."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from bisenet_ros.evaluation.metrics import (
    ScoredImage,
    Scores,
    confusion_matrix,
    evaluate,
    iou_by_class,
)


def row(*labels: int) -> NDArray[np.uint8]:
    return np.array([labels], np.uint8)


def test_confusion_matrix_counts_truth_by_prediction() -> None:
    truth = row(0, 0, 0, 1, 1, 2, 255, 255)
    predicted = row(0, 0, 1, 1, 255, 0, 0, 255)
    expected = [[2, 1, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0]]
    np.testing.assert_array_equal(confusion_matrix(truth, predicted, 3), expected)


def test_scores_by_hand() -> None:
    scores = Scores(np.array([[2, 1, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0]]))
    # IoU: 2 of (3 true + 1 wrong); 1 of (2 true + 1 wrong); 0 of 1. The pixel predicted 255 is
    # wrong for its true class and for no other.
    assert scores.iou.tolist() == pytest.approx([2 / 4, 1 / 3, 0])
    assert scores.miou == pytest.approx((2 / 4 + 1 / 3) / 3)
    assert scores.pixel_accuracy == pytest.approx(3 / 6)
    assert scores.frequency_weighted_iou == pytest.approx(3 / 6 * 2 / 4 + 2 / 6 * 1 / 3)
    # The worst row by row; ties in the order of the matrix. Class 3 stands for no class.
    expected = [(2, 0, 1.0), (1, 3, 0.5), (0, 1, pytest.approx(1 / 3))]
    assert scores.confusions(5) == expected
    assert scores.confusions(2) == expected[:2]


def test_an_absent_class_does_not_count() -> None:
    scores = Scores(confusion_matrix(row(0, 0, 2, 2), row(0, 0, 2, 0), 3))
    assert math.isnan(scores.iou[1])
    assert scores.miou == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert scores.frequency_weighted_iou == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert scores.confusions(5) == [(2, 0, 0.5)]
    assert iou_by_class(scores, "abc") == {"a": pytest.approx(2 / 3), "b": None, "c": 0.5}


def test_a_class_that_is_only_predicted_counts_as_zero() -> None:
    scores = Scores(confusion_matrix(row(0, 0), row(0, 1), 2))
    assert scores.iou.tolist() == [0.5, 0.0]


def test_evaluate_sums_pixels_over_images_of_any_size() -> None:
    image = np.zeros((1, 4, 3), np.uint8)
    samples = [(image, row(0, 0, 0, 1)), (image[:, :1], row(1))]
    # IoU over both: class 0 has 3 of 5, class 1 0 of 2; a mean over images would differ.
    scores = evaluate(samples, lambda x: np.zeros(x.shape[:2], np.uint8), 2)
    assert scores.iou.tolist() == pytest.approx([3 / 5, 0])


def test_watch_sees_each_image_with_its_own_scores() -> None:
    image = np.zeros((1, 2, 3), np.uint8)
    samples = [(image, row(0, 1)), (image + np.uint8(9), row(1, 255))]
    seen: list[ScoredImage] = []
    scores = evaluate(samples, lambda x: np.ones(x.shape[:2], np.uint8), 2, seen.append)
    assert [each.number for each in seen] == [0, 1]
    assert [each.image.max() for each in seen] == [0, 9]
    assert [each.truth.tolist() for each in seen] == [[[0, 1]], [[1, 255]]]
    assert seen[0].predicted.tolist() == [[1, 1]]
    assert [each.scores.miou for each in seen] == [0.25, 1.0]
    assert scores.confusion.sum() == 3


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"truth has shape \(1, 2\) and the prediction \(1, 3\)"):
        confusion_matrix(row(0, 1), row(0, 1, 1), 2)
    with pytest.raises(ValueError, match="no pixel"):
        evaluate([(np.zeros((1, 2, 3), np.uint8), row(255, 255))], lambda x: row(0, 0), 2)
