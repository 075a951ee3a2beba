"""Precisions of engines, and their loss of accuracy by recorded scores."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bisenet_ros.errors import InferenceError, quoted

if TYPE_CHECKING:
    from bisenet_ros.model.metadata import Score

PRECISIONS = ("fp32", "bf16", "fp16", "int8")
ONNX_PRECISIONS = ("int8", "fp16", "fp32")
"""Precisions of files, fastest first; for bf16, engines convert an fp32 file on loading."""

MAX_DROP = 0.005
"""Largest loss of mean IoU against fp32, 0..1, at which a precision may be the default."""


def check_precision(precision: str, supported: Sequence[str], engine: str) -> None:
    """Check a precision.

    Args:
        precision: name to check.
        supported: names that are valid.
        engine: for the message, such as "torch on cpu".

    Raises:
        InferenceError: ``precision`` is not in ``supported``.
    """
    if precision not in supported:
        raise InferenceError(
            f"precision {quoted(precision)} is not supported by {engine}; use auto, "
            f"{', '.join(supported)}"
        )


def miou_drop(scores: "Iterable[Score]", precision: str, measured_on: str) -> float | None:
    """Return the largest loss of mean IoU against fp32 over the datasets with both scores.

    Args:
        scores: of the model file.
        precision: one of ``PRECISIONS``.
        measured_on: the engine's ``Backend.arithmetic``. Scores of ``precision`` for another
            arithmetic are ignored: INT8 that is exact on one CPU may saturate on another. Scores
            of fp32 count regardless of arithmetic.

    Returns:
        The loss in 0..1, negative for a gain; None if no dataset has both scores.
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
