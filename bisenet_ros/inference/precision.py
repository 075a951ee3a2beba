"""Which arithmetic an engine computes in, asked for or chosen."""

from collections.abc import Mapping, Sequence

from bisenet_ros.inference.errors import InferenceError

PRECISIONS = ("fp32", "bf16", "fp16", "int8")

MAX_DROP = 0.005
"""How far the mean IoU, 0..1, of a precision taken by default may lie under that of fp32."""

_UNSCORED = ("bf16", "fp32")
"""What is taken without a score to prove it. fp16 can overflow, and INT8 costs accuracy."""


def choose_precision(
    asked: str, supported: Sequence[str], scores: Mapping[str, float], engine: str
) -> str:
    """The first of ``choose_precisions``."""
    return choose_precisions(asked, supported, scores, engine)[0]


def choose_precisions(
    asked: str,
    supported: Sequence[str],
    scores: Mapping[str, float],
    engine: str,
    unscored: Sequence[str] = _UNSCORED,
) -> list[str]:
    """What to try: ``asked``, or for "auto" all that are accurate enough, fastest first.

    Accurate enough is what ``scores`` have within ``MAX_DROP`` of fp32 on every data set on which
    both are known, or one of ``unscored`` where they have nothing.

    Args:
        asked: auto, or one of ``PRECISIONS``.
        supported: what the engine can do for this model, fastest first, with fp32 in it.
        scores: of the model file; its keys are "<data set> miou <precision>".
        engine: for the error, such as "torch on cpu".
        unscored: taken without a score.

    Raises:
        InferenceError: the precision asked for is not supported.
    """
    if asked == "auto":
        return [each for each in supported if _accurate(each, scores, unscored)]
    if asked not in supported:
        raise InferenceError(
            f"precision '{asked}' is not for {engine}; use auto, {', '.join(supported)}"
        )
    return [asked]


def _accurate(precision: str, scores: Mapping[str, float], unscored: Sequence[str]) -> bool:
    if precision == "fp32":
        return True
    drops = [
        scores[f"{name.removesuffix(precision)}fp32"] - value
        for name, value in scores.items()
        if name.endswith(f" miou {precision}") and f"{name.removesuffix(precision)}fp32" in scores
    ]
    return max(drops) <= MAX_DROP if drops else precision in unscored
