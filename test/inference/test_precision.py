"""The arithmetic that is taken by default, and what is refused."""

import pytest

from bisenet_ros.inference.errors import InferenceError
from bisenet_ros.inference.precision import choose_precision, choose_precisions

CPU = ("int8", "bf16", "fp32")
GPU = ("int8", "fp16", "fp32")
FP32 = {"camvid/val miou fp32": 0.63, "camvid/val pixel accuracy fp32": 0.9}


def chosen(supported: tuple[str, ...], scores: dict[str, float]) -> str:
    return choose_precision("auto", supported, scores, "an engine")


@pytest.mark.parametrize(
    ("supported", "expected"),
    [(CPU, "bf16"), (GPU, "fp32"), (("fp32", "bf16"), "fp32"), (("fp16", "bf16", "fp32"), "bf16")],
)
@pytest.mark.parametrize(
    "scores",
    [{}, FP32, {"camvid/val miou": 0.63}, {"camvid/val miou int8": 0.9}, FP32 | {"x miou int8": 1}],
    ids=["none", "fp32 only", "without precision", "int8 only", "another data set"],
)
def test_unproven_means_bf16_or_fp32(
    supported: tuple[str, ...], expected: str, scores: dict[str, float]
) -> None:
    assert chosen(supported, scores) == expected


def test_fastest_within_half_a_point_of_fp32() -> None:
    assert chosen(CPU, FP32 | {"camvid/val miou int8": 0.6251}) == "int8"
    assert chosen(CPU, FP32 | {"camvid/val miou int8": 0.6249}) == "bf16"
    assert chosen(CPU, FP32 | {"camvid/val miou int8": 0.7}) == "int8"
    bad_bf16 = FP32 | {"camvid/val miou int8": 0.6, "camvid/val miou bf16": 0.6}
    assert chosen(CPU, bad_bf16) == "fp32"
    assert chosen(GPU, FP32 | {"camvid/val miou fp16": 0.63}) == "fp16"


def test_all_that_are_accurate_are_in_order() -> None:
    scores = FP32 | {"camvid/val miou int8": 0.63, "camvid/val miou fp16": 0.6}
    assert choose_precisions("auto", GPU, scores, "an engine") == ["int8", "fp32"]
    assert choose_precisions("fp16", GPU, scores, "an engine") == ["fp16"]
    unscored = ("fp16", "fp32")
    assert choose_precisions("auto", GPU, {}, "an engine", unscored) == ["fp16", "fp32"]
    assert choose_precisions("auto", GPU, scores, "an engine", unscored) == ["int8", "fp32"]


def test_every_data_set_must_agree() -> None:
    scores = FP32 | {"camvid/val miou int8": 0.63, "street miou fp32": 0.8, "street miou int8": 0.7}
    assert chosen(CPU, scores) == "bf16"
    assert chosen(CPU, scores | {"street miou int8": 0.8}) == "int8"


def test_iou_of_a_class_is_no_score_to_choose_by() -> None:
    assert chosen(CPU, FP32 | {"camvid/val iou car fp32": 0.5, "camvid/val iou car int8": 0.5}) == (
        "bf16"
    )


def test_what_is_asked_for_is_taken_or_refused() -> None:
    for precision in CPU:
        assert choose_precision(precision, CPU, FP32, "an engine") == precision
    for precision in ("fp16", "fp64", ""):
        with pytest.raises(
            InferenceError,
            match=f"precision '{precision}' is not for an engine; use auto, int8, bf16, fp32$",
        ):
            choose_precision(precision, CPU, FP32, "an engine")
