"""The node's parameters: declared, checked and read in one place."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, get_args

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from bisenet_ros.deploy.precision import PRECISIONS
from bisenet_ros.errors import ParameterError, quoted
from bisenet_ros.inference.backend import BACKENDS
from bisenet_ros.inference.resolution import LabelSize, parse_resolution
from bisenet_ros.ros.publishers import OUTPUTS
from bisenet_ros.ros.qos import DURABILITY, RELIABILITY


def _parameter(
    default: Any,
    description: str,
    *,
    name: str | None = None,
    choices: Sequence[str] = (),
    low: float | None = None,
    high: float | None = None,
    when: str = "configure",
) -> Any:
    metadata = {
        "name": name,
        "description": description,
        "choices": choices,
        "low": low,
        "high": high,
        "when": when,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Parameters:
    """Values of all parameters; the metadata of each field is its ROS description.

    ``when`` says when a value takes effect: "configure" ones can be set only while the node is
    unconfigured, "always" ones at any time, "start" ones only on the command line; the one that is
    "with confidence" like "always" where the engine computes confidence, else like "configure".
    """

    model: str = _parameter(
        "", "Model file, or name of a shipped model; empty: the shipped CamVid model."
    )
    classes: str = _parameter(
        "",
        "Class file, or camvid, cityscapes or cocostuff: names and colors instead of the model's; "
        "empty: the model's.",
    )
    backend: str = _parameter("auto", "Inference engine.", choices=("auto", *BACKENDS))
    device: str = _parameter("auto", "auto, cpu, cuda, cuda:N, or gpu or gpu.N for an Intel GPU.")
    precision: str = _parameter("auto", "Arithmetic of the network.", choices=("auto", *PRECISIONS))
    threads: int = _parameter(
        0,
        "CPU threads of the engine; 0: one for each core that the node may use.",
        low=0,
        high=1024,
    )
    engine_cache: str = _parameter(
        "", "Folder for compiled engines; empty: the cache folder of the user."
    )
    resolution: str = _parameter(
        "", "Size of the network's input, WxH in pixels, divisible by 8; empty: the model's."
    )
    label_size: LabelSize = _parameter(  # noqa: RUF009  # it is a field
        "input",
        "Size of the published images: the input's or the network's.",
        choices=get_args(LabelSize),
    )
    input_transport: str = _parameter(
        "raw",
        "Subscribe to 'image', or to its resolved name + '/compressed'.",
        choices=("raw", "compressed"),
    )
    outputs: tuple[str, ...] = _parameter(
        ("label", "overlay", "color"), "Images to publish.", choices=tuple(OUTPUTS)
    )
    max_rate: float = _parameter(
        0.0,
        "Frames a second that the network is given, to leave the CPU to others; 0: all it can.",
        low=0.0,
        high=1000.0,
        when="always",
    )
    overlay_alpha: float = _parameter(
        0.5, "Share of the class color in the overlay.", low=0.0, high=1.0, when="always"
    )
    confidence_threshold: float = _parameter(
        0.0,
        "Probability below which a pixel is labelled 255; 0 computes no confidence for it.",
        low=0.0,
        high=1.0,
        when="with confidence",
    )
    image_reliability: str = _parameter(
        "best_effort",
        "Of the image subscription.",
        name="image_qos.reliability",
        choices=tuple(RELIABILITY),
    )
    image_durability: str = _parameter(
        "volatile",
        "Of the image subscription.",
        name="image_qos.durability",
        choices=tuple(DURABILITY),
    )
    image_depth: int = _parameter(
        1,
        "Images that the middleware keeps for the node, which works on the newest alone.",
        name="image_qos.depth",
        low=1,
        high=100,
    )
    output_reliability: str = _parameter(
        "reliable",
        "Of the published images.",
        name="output_qos.reliability",
        choices=tuple(RELIABILITY),
    )
    output_durability: str = _parameter(
        "volatile",
        "Of the published images.",
        name="output_qos.durability",
        choices=tuple(DURABILITY),
    )
    output_depth: int = _parameter(
        2,
        "Images that the middleware keeps for each subscriber.",
        name="output_qos.depth",
        low=1,
        high=100,
    )
    autostart: bool = _parameter(False, "Configure and activate without being asked.", when="start")

    @property
    def with_confidence(self) -> bool:
        """Whether the engine has to compute the confidence of each label."""
        return "confidence" in self.outputs or self.confidence_threshold > 0


_WHEN = {
    "configure": "Read at configure.",
    "always": "Takes effect at once.",
    "with confidence": "Takes effect at once if the engine computes confidence, else at configure.",
    "start": "Read at the start.",
}
"""What a description says at its end."""

_FIELDS = {f.metadata["name"] or f.name: f for f in fields(Parameters)}


def declare(node: Node) -> dict[str, str]:
    """Declare every parameter of ``Parameters`` on ``node``.

    A value of the wrong type or range, given on the command line or in a file, is not taken: the
    parameter keeps its default, so that the node lives and the value can be mended.

    Returns:
        The reason for each parameter whose given value was not taken.
    """
    refused = {}
    for name, entry in _FIELDS.items():
        default = list(entry.default) if isinstance(entry.default, tuple) else entry.default
        descriptor = _descriptor(name)
        try:
            declared = node.declare_parameter(name, default, descriptor)
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            refused[name] = f"parameter '{name}' cannot have the value given: {error}"
        else:
            if declared.type_ != Parameter.Type.NOT_SET:
                continue
            # So an empty list comes out of a parameter file.
            node.undeclare_parameter(name)
            refused[name] = f"parameter '{name}' is given without a value"
        node.declare_parameter(name, default, descriptor, ignore_override=True)
    return refused


def unknown(node: Node) -> list[str]:
    """Parameters that were given and that ``node`` does not have, with what may have been meant."""
    # rclpy has no public name for what was given.
    names = [name for name in node._parameter_overrides if not node.has_parameter(name)]
    meant = {name: get_close_matches(name, _FIELDS, n=1) for name in names}
    return [f"'{n}'" + (f" (meant '{m[0]}'?)" if m else "") for n, m in meant.items()]


def read(node: Node) -> Parameters:
    """All parameters of ``node`` as they are now.

    Raises:
        ParameterError, InferenceError: the first value that cannot be used.
    """
    values: dict[str, Any] = {}
    for name, entry in _FIELDS.items():
        parameter = node.get_parameter(name)
        check(parameter)
        value = parameter.value
        values[entry.name] = tuple(value) if isinstance(entry.default, tuple) else value
    for end in ("image", "output"):
        qos = values[f"{end}_reliability"], values[f"{end}_durability"]
        if qos == ("best_effort", "transient_local"):
            raise ParameterError(
                f"{end}_qos.durability is transient_local and {end}_qos.reliability best_effort: "
                "what was published before is sent to reliable subscribers only, so set "
                f"{end}_qos.reliability to reliable"
            )
    return Parameters(**values)


def check(parameter: Parameter) -> None:
    """Check what the parameter's type and range do not say; other nodes' parameters pass.

    Raises:
        ParameterError, InferenceError: naming the value and the valid ones.
    """
    entry = _FIELDS.get(parameter.name)
    if entry is None:
        return
    choices = entry.metadata["choices"]
    given = [parameter.value] if isinstance(parameter.value, str) else parameter.value
    if choices:
        for value in given:
            if value not in choices:
                raise ParameterError(
                    f"parameter {quoted(parameter.name)} has {quoted(value)}; valid: "
                    f"{', '.join(choices)}"
                )
    if parameter.name == "resolution" and parameter.value:
        parse_resolution(parameter.value)


def is_fixed(name: str, with_confidence: bool) -> bool:
    """Whether parameter ``name`` is read at configure, so that a later change has no effect."""
    entry = _FIELDS.get(name)
    when = entry.metadata["when"] if entry else "always"
    return when == "configure" or (when == "with confidence" and not with_confidence)


def _descriptor(name: str) -> ParameterDescriptor:
    metadata = _FIELDS[name].metadata
    descriptor = ParameterDescriptor(
        description=f"{metadata['description']} {_WHEN[metadata['when']]}",
        read_only=metadata["when"] == "start",
    )
    if metadata["choices"]:
        descriptor.additional_constraints = f"Valid: {', '.join(metadata['choices'])}."
    low, high = metadata["low"], metadata["high"]
    if isinstance(low, int):
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    elif low is not None:
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return descriptor
