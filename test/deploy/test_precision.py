"""The loss of a precision by the scores in a model file."""

import pytest

from bisenet_ros.deploy.precision import miou_drop
from bisenet_ros.model.metadata import Score

HERE, ELSEWHERE = "openvino avx2 7-bit", "openvino avx512"


def fp32(dataset: str, value: float, measured_on: str = "torch avx2") -> Score:
    return Score(dataset, "miou", "fp32", value, measured_on)


def int8(dataset: str, value: float, measured_on: str = HERE) -> Score:
    return Score(dataset, "miou", "int8", value, measured_on)


def drop(*scores: Score) -> float | None:
    return miou_drop(scores, "int8", HERE)


def test_the_largest_loss_of_all_data_sets_counts() -> None:
    scores = fp32("val", 0.70), int8("val", 0.69), fp32("street", 0.80), int8("street", 0.75)
    assert drop(*scores) == pytest.approx(0.05)
    assert drop(*scores[:2]) == pytest.approx(0.01)
    assert drop(fp32("val", 0.70), int8("val", 0.71)) == pytest.approx(-0.01)


def test_scores_of_other_arithmetic_prove_nothing() -> None:
    assert drop(fp32("val", 0.70), int8("val", 0.60, ELSEWHERE)) is None
    assert drop(fp32("val", 0.70), int8("val", 0.70, "")) is None
    scores = fp32("val", 0.70), int8("val", 0.60, ELSEWHERE), int8("val", 0.69)
    assert drop(*scores) == pytest.approx(0.01)


@pytest.mark.parametrize("measured_on", [HERE, ELSEWHERE, ""])
def test_fp32_counts_wherever_it_was_measured(measured_on: str) -> None:
    assert drop(fp32("val", 0.70, measured_on), int8("val", 0.69)) == pytest.approx(0.01)


@pytest.mark.parametrize(
    "scores",
    [
        (),
        (fp32("val", 0.7),),
        (int8("val", 0.7),),
        (fp32("val", 0.7), int8("street", 0.6)),
        (
            Score("val", "iou car", "fp32", 0.7, HERE),
            Score("val", "iou car", "int8", 0.1, HERE),
        ),
    ],
    ids=["none", "fp32 alone", "int8 alone", "different data sets", "of a class"],
)
def test_without_two_scores_to_compare_there_is_no_loss(scores: tuple[Score, ...]) -> None:
    assert drop(*scores) is None
