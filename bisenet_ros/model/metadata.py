"""Metadata of a model file: what inference needs to know about the weights, and its JSON form.

Weights alone do not determine normalization, class order or architecture variant, and running
them with the wrong ones silently produces wrong labels.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal, TypeVar, get_args

from bisenet_ros.classes import SemanticClass, check_classes
from bisenet_ros.errors import ModelFileError, describe, quoted
from bisenet_ros.network import PRESETS, Architecture

T = TypeVar("T")

FORMAT = 2
_READABLE = (1, FORMAT)
"""Format 1 stored scores as a mapping from "<dataset> <measure> <precision>" to the value."""

_SCORE_KEY = re.compile(r"(.+?) (miou|pixel accuracy|fw iou|iou .+) (\S+)")

_RENAMED = {"alpha": "width", "d": "depth"}
"""Fields of ``Architecture`` by their names in files of version 0.1."""

MAX_SIDE = 8192
"""Largest width or height in pixels; ``inference.resolution`` has the same."""

_MAX_KEY = 200
_MAX_TEXT = 100_000
"""Characters of a key of format 1, whose pattern takes time with their cube, and of any text."""

_RATIO = re.compile(r"[0-9]{1,9}(/[0-9]{1,9}|\.[0-9]{1,9})?")

ChannelOrder = Literal["rgb", "bgr"]


@dataclass(frozen=True)
class Score:
    """One evaluation result.

    - ``dataset``: dataset and split, such as camvid/val.
    - ``measure``: miou, pixel accuracy, fw iou (frequency-weighted), or iou CLASS.
    - ``precision``: precision that the network ran in, such as fp32 or int8.
    - ``value``: 0..1.
    - ``measured_on``: ``Backend.arithmetic``, such as "openvino avx512"; empty if unknown. A score
      does not carry over to other arithmetic.
    """

    dataset: str
    measure: str
    precision: str
    value: float
    measured_on: str = ""

    @property
    def subject(self) -> tuple[str, str, str, str]:
        """Everything but the value: two scores with the same subject replace each other."""
        return self.dataset, self.measure, self.precision, self.measured_on


@dataclass(frozen=True)
class Metadata:
    """Metadata of a model file.

    - ``preset``: preset that ``architecture`` is derived from.
    - ``classes``: class of each logit, in order.
    - ``mean``, ``std``: normalization of images in 0..1, per channel in ``channel_order``.
    - ``resolution``: (width, height) in pixels that the network was trained for.
    - ``scores``: results of ``bisenet evaluate --record``.
    - ``recipe``: training settings.
    - ``calibration``: INT8 range [-v, v] of the input of each convolution, as v by module name;
      empty until ``bisenet calibrate``.
    """

    preset: str
    architecture: Architecture
    classes: tuple[SemanticClass, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resolution: tuple[int, int]
    channel_order: ChannelOrder = "rgb"
    dataset: str = ""
    license: str = ""
    scores: tuple[Score, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, float] = field(default_factory=dict)


def abbreviate(names: Sequence[str]) -> str:
    """Return the first five of ``names`` and the number of the others, for an error message."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (", ".join(names[:5]) + more) or "none"


def to_json(metadata: Metadata) -> dict[str, Any]:
    """Return the metadata as a JSON-serializable dict, which ``from_json`` reads."""
    document = asdict(metadata)
    document["architecture"]["lambda_"] = str(metadata.architecture.lambda_)
    return {"format": FORMAT, **document}


def from_json(document: Any) -> Metadata:
    """Parse and validate the output of ``to_json``.

    Raises:
        ModelFileError: a field is missing or not valid; the message names it.
    """
    if not isinstance(document, dict) or document.get("format") not in _READABLE:
        found = document.get("format") if isinstance(document, dict) else None
        raise ModelFileError(
            f"its metadata has format {quoted(found)}, but this version reads up to {FORMAT}; "
            "update bisenet_ros or create the file again"
        )

    if "licence" in document:  # its name in version 0.1
        document = {**document, "license": document["licence"]}

    def parse(name: str, convert: Callable[[Any], T]) -> T:
        try:
            return convert(document[name])
        except KeyError as error:
            reason = f"'{error.args[0]}' is missing"
        except (TypeError, ValueError, ArithmeticError) as error:
            reason = describe(error)
        raise ModelFileError(
            f"its metadata field '{name}' is {quoted(document.get(name))}, which cannot be used "
            f"({reason}); create the file again"
        )

    metadata = Metadata(
        preset=parse("preset", _preset),
        architecture=parse("architecture", _architecture),
        classes=parse("classes", _classes),
        mean=parse("mean", _triple),
        std=parse("std", _positive_triple),
        resolution=parse("resolution", _resolution),
        channel_order=parse("channel_order", _channel_order),
        dataset=parse("dataset", _text),
        license=parse("license", _text),
        scores=parse("scores", _scores),
        recipe=parse("recipe", _recipe),
        # Files written before INT8 was supported do not have this field.
        calibration=parse("calibration", _calibration) if "calibration" in document else {},
    )
    if len(metadata.classes) != metadata.architecture.num_classes:
        raise ModelFileError(
            f"its metadata names {len(metadata.classes)} classes, but its architecture has "
            f"{metadata.architecture.num_classes}; create the file again"
        )
    return metadata


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise ValueError(rule)


def _text(value: Any) -> str:
    usable = isinstance(value, str) and len(value) <= _MAX_TEXT
    _require(usable, f"must be text of at most {_MAX_TEXT} characters")
    return str(value)


def _preset(value: Any) -> str:
    _require(value in PRESETS, f"must be one of {', '.join(PRESETS)}")
    return str(value)


def _mapping(value: Any) -> dict[str, Any]:
    _require(isinstance(value, dict), "must be a mapping")
    return dict(value)


def _recipe(value: Any) -> dict[str, Any]:
    """The recipe; that of the model that training started from, if any, is in its ``init``."""
    recipe = _mapping(value)
    while "init" in value:
        value = _mapping(value["init"])
    return recipe


def _scores(value: Any) -> tuple[Score, ...]:
    records = _old_scores(value) if isinstance(value, dict) else value
    usable = isinstance(records, list) and all(isinstance(each, dict) for each in records)
    _require(usable, "must be a list of records")
    scores = tuple(
        Score(
            dataset=_text(record["dataset"]),
            measure=_text(record["measure"]),
            precision=_text(record["precision"]),
            value=float(record["value"]),
            measured_on=_text(record["measured_on"]),
        )
        for record in records
    )
    _require(all(0 <= score.value <= 1 for score in scores), "scores must be in [0, 1]")
    return scores


def _old_scores(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Convert the scores of format 1; a key that does not parse becomes the dataset's name."""
    records = []
    for key, value in scores.items():
        match = _SCORE_KEY.fullmatch(key) if len(key) <= _MAX_KEY else None
        dataset, measure, precision = match.groups() if match else (key, "", "")
        records.append(asdict(Score(dataset, measure, precision, value)))
    return records


def _calibration(value: Any) -> dict[str, float]:
    ranges = {name: float(magnitude) for name, magnitude in _mapping(value).items()}
    usable = all(math.isfinite(magnitude) and magnitude > 0 for magnitude in ranges.values())
    _require(usable, "magnitudes must be positive and finite")
    return ranges


def vary_architecture(base: Architecture, **changes: Any) -> Architecture:
    """Return ``base`` with some of its fields changed.

    Raises:
        ModelFileError: a field is out of range; the message names it.
    """
    try:
        return replace(base, **changes)
    except ValueError as error:
        raise ModelFileError(str(error)) from None


def _architecture(value: Any) -> Architecture:
    fields = {_RENAMED.get(name, name): entry for name, entry in _mapping(value).items()}
    return Architecture(**{**fields, "lambda_": _ratio(fields["lambda_"])})


def _ratio(value: Any) -> Fraction:
    # Fraction computes 10 ** 100000000 for "1e100000000".
    usable = type(value) in (int, float) or (isinstance(value, str) and _RATIO.fullmatch(value))
    _require(bool(usable), "lambda_ must be a ratio such as 1/4")
    return Fraction(value)


def _classes(value: Any) -> tuple[SemanticClass, ...]:
    return check_classes([SemanticClass(v["id"], v["name"], tuple(v["color"])) for v in value])


def _triple(value: Any) -> tuple[float, float, float]:
    _require(isinstance(value, list) and len(value) == 3, "must be three numbers")
    first, second, third = (float(v) for v in value)
    _require(math.isfinite(first + second + third), "must be finite")
    return first, second, third


def _positive_triple(value: Any) -> tuple[float, float, float]:
    triple = _triple(value)
    _require(min(triple) > 0, "must be positive")
    return triple


def _resolution(value: Any) -> tuple[int, int]:
    usable = (
        isinstance(value, list)
        and len(value) == 2
        and all(type(v) is int and 0 < v <= MAX_SIDE and v % 8 == 0 for v in value)
    )
    _require(usable, f"must be a width and a height, divisible by 8 and in 8..{MAX_SIDE}")
    return value[0], value[1]


def _channel_order(value: Any) -> ChannelOrder:
    _require(value in get_args(ChannelOrder), f"must be one of {', '.join(get_args(ChannelOrder))}")
    order: ChannelOrder = value
    return order
