"""Which arithmetic an engine computes in, and whether it is accurate enough to be a default."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bisenet_ros.errors import InferenceError, quoted

if TYPE_CHECKING:
    from bisenet_ros.model.metadata import Score

PRECISIONS = ("fp32", "bf16", "fp16", "int8")
ONNX_PRECISIONS = ("int8", "fp16", "fp32")
"""Of files, fastest first; bf16 is what an engine makes of fp32 when it is loaded."""

MAX_DROP = 0.005
"""Largest loss of mean IoU, 0..1, against fp32 of a precision that is taken by default."""


def check_precision(precision: str, supported: Sequence[str], engine: str) -> None:
    """Raise InferenceError if ``precision`` is not supported by ``engine``, "torch on cpu"."""
    if precision not in supported:
        raise InferenceError(
            f"precision {quoted(precision)} is not for {engine}; use auto, {', '.join(supported)}"
        )


def miou_drop(scores: "Iterable[Score]", precision: str, measured_on: str) -> float | None:
    """Return the largest loss of mean IoU against fp32 over the data sets with both scores.

    Args:
        scores: of the model file.
        precision: one of ``PRECISIONS``.
        measured_on: the arithmetic in question, ``Backend.arithmetic``. Scores of ``precision``
            that were measured on another one are ignored: int8 that is exact on one CPU may
            saturate on the next. Those of fp32 count wherever they were measured.

    Returns:
        The loss in 0..1, negative for a gain; None if no data set has both scores.
    """
    mious = [score for score in scores if score.measure == "miou"]
    exact = {score.dataset: score.value for score in mious if score.precision == "fp32"}
    drops = [
        exact[score.dataset] - score.value
        for score in mious
        if (score.precision, score.measured_on) == (precision, measured_on)
        and score.dataset in exact
    ]
    return max(drops, default=None)
