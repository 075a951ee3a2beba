"""The node's parameters: name, type, default, range and description of each exist here alone.

``scripts/generate_parameter_docs.py`` writes config/segment.yaml and the README's table from here,
and the launch file describes its arguments from here. So nothing here may import torch or OpenCV:
the Python that runs ``ros2 launch`` may lack them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from bisenet_ros.deploy.precision import MAX_DROP, PRECISIONS
from bisenet_ros.errors import InferenceError, ParameterError, first_line, quoted
from bisenet_ros.images.bit_depth import FULL_DEPTH, MIN_DEPTH
from bisenet_ros.images.encoded import MAX_IMAGE_PIXELS
from bisenet_ros.inference.backend import BACKENDS, EngineOptions
from bisenet_ros.inference.resolution import (
    MAX_SIDE,
    MIN_SIDE,
    MULTIPLE,
    LabelSize,
    parse_resolution,
)
from bisenet_ros.resources import SHIPPED_MODEL, expand_home
from bisenet_ros.ros.qos import DURABILITY, RELIABILITY

OUTPUTS = {"label": "mono8", "confidence": "mono8", "overlay": "rgb8", "color": "rgb8"}
"""Images that the node can publish, with their encoding in sensor_msgs/Image."""

Effect = Literal["configure", "always", "with confidence", "start"]
EFFECTS: Mapping[Effect, str] = {
    "configure": "Read at configure.",
    "always": "Takes effect at once.",
    "with confidence": "Takes effect at once if the engine computes confidence, else at configure.",
    "start": "Read at startup.",
}
"""When the value of a parameter takes effect."""

Value: TypeAlias = bool | int | float | str | tuple[str, ...]
T = TypeVar("T", bound=Value)


@dataclass(frozen=True)
class Definition:
    """A parameter as ROS, the parameter file and the README describe it.

    - ``default``: its type is that of the parameter; a tuple means a list of strings.
    - ``choices``: valid strings, or elements of the list; empty if any is valid.
    - ``minimum``, ``maximum``: inclusive range of a number.
    - ``smallest_nonzero``: for a number that is 0, or from this to ``maximum``.
    - ``form``: description of valid strings, if there are no ``choices``.
    - ``parse``: raises InferenceError for a non-empty string that is not valid.
    - ``effect``: "configure" parameters can be set only while the node is unconfigured, "always"
      ones at any time, "start" ones only before it starts; one "with confidence" is like "always"
      if the engine computes confidence, else like "configure".
    """

    default: Value
    description: str
    choices: Sequence[str] = ()
    minimum: float | None = None
    maximum: float | None = None
    smallest_nonzero: float | None = None
    form: str = ""
    parse: Callable[[str], object] | None = None
    effect: Effect = "configure"

    @property
    def ros_default(self) -> bool | int | float | str | list[str]:
        """The default as a type that rclpy accepts."""
        return list(self.default) if isinstance(self.default, tuple) else self.default

    @property
    def type(self) -> Parameter.Type:
        """The ROS type, which cannot change."""
        found: Parameter.Type = Parameter.Type.from_parameter_value(self.ros_default)
        return found

    @property
    def valid(self) -> str:
        """Description of the valid values; empty if all values of the type are."""
        if self.minimum is None:
            return ", ".join(self.choices) or self.form
        if self.smallest_nonzero is None:
            return f"{self.minimum:.10g} to {self.maximum:.10g}"
        return f"0, or {self.smallest_nonzero:g} to {self.maximum:g}"

    def descriptor(self) -> ParameterDescriptor:
        """Return the descriptor, without the name."""
        valid = f"Valid: {self.valid}. " if self.valid else ""
        descriptor = ParameterDescriptor(
            type=self.type.value,
            description=self.description,
            additional_constraints=valid + EFFECTS[self.effect],
            read_only=self.effect == "start",
        )
        if self.type is Parameter.Type.INTEGER:
            span = IntegerRange(from_value=self.minimum, to_value=self.maximum, step=1)
            descriptor.integer_range = [span]
        elif self.type is Parameter.Type.DOUBLE:
            span = FloatingPointRange(from_value=self.minimum, to_value=self.maximum)
            descriptor.floating_point_range = [span]
        return descriptor

    def problem(self, value: Any) -> str | None:
        """Return why ``value`` is not valid, or None; rclpy has checked its type and range."""
        if self.choices:
            given = [value] if isinstance(value, str) else value
            bad = [quoted(each) for each in given if each not in self.choices]
            return f"has {', '.join(bad)} (valid: {self.valid})" if bad else None
        if self.smallest_nonzero is not None and value != 0 and value < self.smallest_nonzero:
            return f"is {value} (valid: {self.valid})"
        if self.parse is not None and value:
            try:
                self.parse(value)
            except InferenceError as error:
                return f"cannot be used: {error}"
        return None


def _parameter(default: T, description: str, *, name: str | None = None, **details: Any) -> T:
    """Return a field of ``Parameters``.

    Args:
        default, description, details: see ``Definition``.
        name: the parameter's name, if it is not the field's.
    """
    definition = Definition(default, description, **details)
    return field(default=default, metadata={"name": name, "definition": definition})


@dataclass(frozen=True)
class Parameters:
    """Values of all parameters."""

    model: str = _parameter(
        "", f"Path of a model file, or name of a shipped model; by default {SHIPPED_MODEL}."
    )
    classes: str = _parameter(
        "",
        "Path of a class file, or camvid, cityscapes or cocostuff, whose names and colors replace "
        "those in the model file.",
    )
    backend: str = _parameter(
        "auto",
        "Inference engine; auto = TensorRT, else PyTorch on CUDA, else the faster of OpenVINO and "
        "PyTorch on the CPU.",
        choices=("auto", *BACKENDS),
    )
    device: str = _parameter(
        "auto",
        "Device that runs the network; auto = the NVIDIA GPU if there is one, else the CPU.",
        form="auto, cpu, cuda or cuda:N (NVIDIA), gpu or gpu.N (Intel)",
    )
    precision: str = _parameter(
        "auto",
        "Arithmetic of the network; auto = the fastest that costs the model less than "
        f"{100 * MAX_DROP:g} points of mIoU.",
        choices=("auto", *PRECISIONS),
    )
    threads: int = _parameter(
        0,
        "CPU threads of the engine; 0 = one per core that the node's CPU affinity and quota allow.",
        minimum=0,
        maximum=1024,
    )
    engine_cache: str = _parameter(
        "", "Folder for compiled engines, in engines/; by default ~/.cache/bisenet_ros."
    )
    resolution: str = _parameter(
        "",
        "Network input size [px]; by default the model's.",
        form=f"WxH, both multiples of {MULTIPLE} from {MIN_SIDE} to {MAX_SIDE}",
        parse=parse_resolution,
    )
    label_size: LabelSize = _parameter(  # noqa: RUF009  # it is a field
        "input",
        "Size of the published images: that of the input image or that of the network.",
        choices=get_args(LabelSize),
    )
    input_transport: str = _parameter(
        "raw",
        "Image transport; compressed = subscribe to the image topic's name + /compressed.",
        choices=("raw", "compressed"),
    )
    outputs: tuple[str, ...] = _parameter(
        ("label", "overlay", "color"),
        "Images to publish, each on ~/NAME; overlay and color also as JPEG, on ~/NAME/compressed.",
        choices=tuple(OUTPUTS),
    )
    max_rate: float = _parameter(
        0.0,
        "Maximum inference rate [Hz]; 0 = unlimited.",
        minimum=0.0,
        maximum=1000.0,
        smallest_nonzero=0.01,
        effect="always",
    )
    max_image_pixels: int = _parameter(
        MAX_IMAGE_PIXELS,
        "Largest image that is decoded, width x height [px]; larger ones are rejected.",
        minimum=1024,
        maximum=1024**3,
        effect="always",
    )
    bit_depth: int = _parameter(
        FULL_DEPTH,
        "Bits of the values in 16-bit images (mono16, rgb16, Bayer 16); 10, 12 or 14 if the camera "
        "driver does not shift them up to fill 16.",
        minimum=MIN_DEPTH,
        maximum=FULL_DEPTH,
        effect="always",
    )
    overlay_alpha: float = _parameter(
        0.5,
        "Opacity of the class colors in the overlay.",
        minimum=0.0,
        maximum=1.0,
        effect="always",
    )
    confidence_threshold: float = _parameter(
        0.0,
        "Probability below which a pixel is labeled 255 (no class); 0 = never.",
        minimum=0.0,
        maximum=1.0,
        effect="with confidence",
    )
    image_reliability: str = _parameter(
        "best_effort",
        "Reliability of the image subscription; best_effort matches every publisher and has no old "
        "images resent.",
        name="image_qos.reliability",
        choices=tuple(RELIABILITY),
    )
    image_durability: str = _parameter(
        "volatile",
        "Durability of the image subscription; transient_local (latched images) needs reliable.",
        name="image_qos.durability",
        choices=tuple(DURABILITY),
    )
    image_depth: int = _parameter(
        1,
        "Queue depth of the image subscription [messages]; only the newest image is processed.",
        name="image_qos.depth",
        minimum=1,
        maximum=100,
    )
    output_reliability: str = _parameter(
        "reliable",
        "Reliability of the image publishers; reliable matches every subscriber.",
        name="output_qos.reliability",
        choices=tuple(RELIABILITY),
    )
    output_durability: str = _parameter(
        "volatile",
        "Durability of the image publishers; transient_local (latched images) needs reliable.",
        name="output_qos.durability",
        choices=tuple(DURABILITY),
    )
    output_depth: int = _parameter(
        2,
        "Queue depth of each image publisher [messages].",
        name="output_qos.depth",
        minimum=1,
        maximum=100,
    )
    autostart: bool = _parameter(
        False, "Configure and activate at startup, without a lifecycle manager.", effect="start"
    )

    @property
    def with_confidence(self) -> bool:
        """True if the engine has to compute the confidence of each label."""
        return "confidence" in self.outputs or self.confidence_threshold > 0

    @property
    def engine_options(self) -> EngineOptions:
        """The engine that the parameters select."""
        return EngineOptions(
            backend=self.backend,
            device=self.device,
            precision=self.precision,
            resolution=parse_resolution(self.resolution) if self.resolution else None,
            threads=self.threads,
            engine_cache=expand_home(self.engine_cache) if self.engine_cache else None,
            confidence=self.with_confidence,
        )


_FIELDS = {f.metadata["name"] or f.name: f for f in fields(Parameters)}

DEFINITIONS: Mapping[str, Definition] = {
    name: entry.metadata["definition"] for name, entry in _FIELDS.items()
}
"""Every parameter by its name in ROS, in the order of the parameter file."""


def declare(node: Node) -> dict[str, str]:
    """Declare every parameter of ``Parameters`` on ``node``.

    A value of the wrong type or range, from the command line or a file, is ignored: the parameter
    keeps its default, so that the node runs and the value can be corrected.

    Returns:
        For each parameter whose value was ignored, the reason.
    """
    refused = {}
    for name, definition in DEFINITIONS.items():
        default, descriptor = definition.ros_default, definition.descriptor()
        try:
            declared = node.declare_parameter(name, default, descriptor)
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            refused[name] = f"parameter '{name}' cannot have the value given: {first_line(error)}"
        else:
            if declared.type_ != Parameter.Type.NOT_SET:
                continue
            # An empty list in a parameter file has no type.
            node.undeclare_parameter(name)
            refused[name] = f"parameter '{name}' is given without a value"
        node.declare_parameter(name, default, descriptor, ignore_override=True)
    return refused


def unknown(node: Node) -> list[str]:
    """Return the given parameters that ``node`` does not have, with the likely intended names."""
    # rclpy has no public attribute for the values given.
    names = [name for name in node._parameter_overrides if not node.has_parameter(name)]
    meant = {name: get_close_matches(name, DEFINITIONS, n=1) for name in names}
    return [f"'{n}'" + (f" (meant '{m[0]}'?)" if m else "") for n, m in meant.items()]


def read(node: Node, refused: Iterable[str] = ()) -> Parameters:
    """Return the current values of all parameters of ``node``.

    Args:
        node: has been passed to ``declare``.
        refused: reasons from ``declare`` for parameters that have not been set since.

    Raises:
        ParameterError: naming every value that is not valid, ``refused`` first.
    """
    given = {name: node.get_parameter(name) for name in DEFINITIONS}
    problems = [*refused, *filter(None, map(problem, given.values()))]
    for end in ("image_qos", "output_qos"):
        qos = given[f"{end}.reliability"].value, given[f"{end}.durability"].value
        if qos == ("best_effort", "transient_local"):
            problems.append(
                f"{end}.durability is transient_local and {end}.reliability best_effort: what was "
                f"published before is sent to reliable subscribers only, so set {end}.reliability "
                "to reliable"
            )
    if problems:
        raise ParameterError("; ".join(problems))
    values: dict[str, Any] = {}
    for name, entry in _FIELDS.items():
        value = given[name].value
        values[entry.name] = tuple(value) if isinstance(entry.default, tuple) else value
    return Parameters(**values)


def problem(parameter: Parameter) -> str | None:
    """Return why the value of ``parameter`` is not valid, naming the valid ones, or None.

    rclpy has checked its type and range. Parameters that are not in ``DEFINITIONS`` are valid.
    """
    definition = DEFINITIONS.get(parameter.name)
    found = definition.problem(parameter.value) if definition else None
    return f"parameter '{parameter.name}' {found}" if found else None


def is_fixed(name: str, with_confidence: bool) -> bool:
    """Return whether parameter ``name`` is read at configure alone."""
    effect = DEFINITIONS[name].effect if name in DEFINITIONS else "always"
    return effect == "configure" or (effect == "with confidence" and not with_confidence)
