"""Definition, declaration and checks of a node's parameters.

Nothing here may import torch or OpenCV: the Python that runs ``ros2 launch`` may lack them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeAlias, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from bisenet_ros.errors import ParameterError, UserError, first_line, quoted

Effect = Literal["configure", "reload", "always", "with confidence", "start"]
EFFECTS: Mapping[Effect, str] = {
    "configure": "Read at configure.",
    "reload": "Read at configure and by ~/reload.",
    "always": "Takes effect at once.",
    "with confidence": "Takes effect at once if the engine computes confidence, else at configure.",
    "start": "Read at startup.",
}
"""When the value of a parameter takes effect."""

Value: TypeAlias = bool | int | float | str | tuple[str, ...] | tuple[int, ...]
T = TypeVar("T", bound=Value)


@dataclass(frozen=True)
class Definition:
    """A parameter as ROS, the parameter file and the README describe it.

    - ``default``: its type is that of the parameter; a tuple means a list.
    - ``choices``: valid strings, or elements of the list; empty if any is valid.
    - ``minimum``, ``maximum``: inclusive range of a number.
    - ``smallest_nonzero``: for a number that is 0, or from this to ``maximum``.
    - ``form``: description of valid strings, if there are no ``choices``.
    - ``parse``: raises UserError for a non-empty string or list that is not valid.
    - ``effect``: "configure" parameters can be set only while the node is unconfigured, "reload"
      and "always" ones at any time, "start" ones only before it starts; one "with confidence" is
      like "always" if the engine computes confidence, else like "configure".
    - ``per_camera``: whether each camera of the parameter ``cameras`` may have a value of its own,
      as parameter CAMERA.NAME.
    """

    default: Value
    description: str
    choices: Sequence[str] = ()
    minimum: float | None = None
    maximum: float | None = None
    smallest_nonzero: float | None = None
    form: str = ""
    parse: Callable[[Any], object] | None = None
    effect: Effect = "configure"
    per_camera: bool = False

    @property
    def ros_default(self) -> Any:
        """The default as a type that rclpy accepts, a list instead of a tuple."""
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
            except UserError as error:
                return f"cannot be used: {error}"
        return None


def parameter_field(default: T, description: str, *, name: str | None = None, **details: Any) -> T:
    """Return a field of a dataclass that a ``ParameterSet`` is made of.

    Args:
        default, description, details: see ``Definition``.
        name: the parameter's name, if it is not the field's.
    """
    definition = Definition(default, description, **details)
    return field(default=default, metadata={"name": name, "definition": definition})


class ParameterValues(Protocol):
    """A dataclass whose fields are made by ``parameter_field``."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def conflicts(self) -> list[str]:
        """Return what is wrong with values that are each valid."""


Values = TypeVar("Values", bound=ParameterValues)


class ParameterSet(Generic[Values]):
    """The parameters of one kind of node.

    - ``definitions``: every parameter by its name in ROS, in the order of the fields.

    Args:
        kind: has a field for each.
    """

    def __init__(self, kind: type[Values]) -> None:
        self._kind = kind
        self._fields = {each.metadata["name"] or each.name: each for each in fields(kind)}
        self.definitions: Mapping[str, Definition] = {
            name: entry.metadata["definition"] for name, entry in self._fields.items()
        }

    def declare(self, node: Node) -> dict[str, str]:
        """Declare every parameter on ``node``.

        A value of the wrong type or range, from the command line or a file, is ignored: the
        parameter keeps its default, so that the node runs and the value can be corrected.

        Returns:
            For each parameter whose value was ignored, the reason.
        """
        refused = {}
        for name, definition in self.definitions.items():
            default, descriptor = definition.ros_default, definition.descriptor()
            try:
                declared = node.declare_parameter(name, default, descriptor)
            except (InvalidParameterTypeException, InvalidParameterValueException) as error:
                refused[name] = (
                    f"parameter '{name}' cannot have the value given: {first_line(error)}"
                )
            else:
                if declared.type_ != Parameter.Type.NOT_SET:
                    continue
                # An empty list in a parameter file has no type.
                node.undeclare_parameter(name)
                if definition.default != ("",):
                    refused[name] = f"parameter '{name}' is given without a value"
            node.declare_parameter(name, default, descriptor, ignore_override=True)
        return refused

    def definition(self, name: str) -> Definition | None:
        """Return the definition of a parameter, also of one that a camera has of its own."""
        if name in self.definitions:
            return self.definitions[name]
        shared = self.definitions.get(name.partition(".")[2])
        return shared if shared is not None and shared.per_camera else None

    def of_cameras(self, cameras: Iterable[str]) -> list[str]:
        """Return the names of the parameters that ``cameras`` may have of their own."""
        own = [name for name, definition in self.definitions.items() if definition.per_camera]
        return [f"{camera}.{name}" for camera in cameras if camera for name in own]

    def unknown(self, node: Node) -> list[str]:
        """Return the given parameters that ``node`` lacks, with the likely intended names."""
        cameras = node.get_parameter("cameras").value if "cameras" in self.definitions else ()
        # rclpy has no public attribute for the values given.
        given = node._parameter_overrides.keys() - set(self.of_cameras(cameras))
        names = sorted(name for name in given if not node.has_parameter(name))
        meant = {name: get_close_matches(name, self.definitions, n=1) for name in names}
        return [f"'{n}'" + (f" (meant '{m[0]}'?)" if m else "") for n, m in meant.items()]

    def read(self, node: Node, refused: Iterable[str] = ()) -> Values:
        """Return the current values of all parameters of ``node``.

        Args:
            node: has been passed to ``declare``.
            refused: reasons from ``declare`` for parameters that have not been set since.

        Raises:
            ParameterError: naming every value that is not valid, ``refused`` first.
        """
        given = {name: node.get_parameter(name) for name in self.definitions}
        values = self._kind(
            **{
                entry.name: tuple(given[name].value)
                if isinstance(entry.default, tuple)
                else given[name].value
                for name, entry in self._fields.items()
            }
        )
        problems = [*refused, *filter(None, map(self.problem, given.values()))]
        problems += values.conflicts()
        if problems:
            raise ParameterError("; ".join(problems))
        return values

    def problem(self, parameter: Parameter) -> str | None:
        """Return why the value of ``parameter`` is not valid, naming the valid ones, or None.

        rclpy has checked its type and range. Parameters without a definition are valid.
        """
        definition = self.definition(parameter.name)
        found = definition.problem(parameter.value) if definition else None
        return f"parameter '{parameter.name}' {found}" if found else None


class NodeParameters(Generic[Values]):
    """The parameters of a running node: declared, and checked whenever they are set.

    - ``fixed``: whether those that are read at configure cannot be set.

    Args:
        node: gets the parameters; its log names values that are invalid or have no effect.
        parameters: of its kind.
        is_fixed: whether the parameter of this name cannot be set while ``fixed``.
        remark: added to the reason for refusing the parameter of this name then.
    """

    def __init__(
        self,
        node: Node,
        parameters: ParameterSet[Values],
        is_fixed: Callable[[str], bool],
        remark: Callable[[str], str] = lambda _: "",
    ) -> None:
        self.fixed = False
        self._node = node
        self._parameters = parameters
        self._is_fixed = is_fixed
        self._remark = remark
        self._refused = parameters.declare(node)
        for reason in self._refused.values():
            node.get_logger().error(reason)
        if given := parameters.unknown(node):
            node.get_logger().warning(
                f"unknown parameters, which have no effect: {', '.join(given)}"
            )
        # One that is read-only cannot be corrected while the node runs.
        for name, definition in parameters.definitions.items():
            if definition.effect == "start":
                self._refused.pop(name, None)
        node.add_on_set_parameters_callback(self._check)
        self._declare_for_cameras()
        node.add_post_set_parameters_callback(self._were_set)

    def read(self) -> Values:
        """Return the current values.

        Raises:
            ParameterError: see ``ParameterSet.read``.
        """
        names = {*self._parameters.definitions, *self._of_cameras()}
        refused = [reason for name, reason in self._refused.items() if name in names]
        return self._parameters.read(self._node, refused)

    def _of_cameras(self) -> list[str]:
        """Return the names of what each camera may have of its own; none if no name is valid."""
        if "cameras" not in self._parameters.definitions:
            return []
        cameras = self._node.get_parameter("cameras")
        return self._parameters.of_cameras(
            () if self._parameters.problem(cameras) else cameras.value
        )

    def _declare_for_cameras(self) -> None:
        """Declare what each camera may have of its own, without a default."""
        for name in self._of_cameras():
            if self._node.has_parameter(name):
                continue
            definition = self._parameters.definition(name)
            assert definition is not None
            kind, descriptor = definition.type, definition.descriptor()
            try:
                declared = self._node.declare_parameter(name, kind, descriptor)
            except (InvalidParameterTypeException, InvalidParameterValueException) as error:
                self._node.declare_parameter(name, kind, descriptor, ignore_override=True)
                reason = f"parameter '{name}' cannot have the value given: {first_line(error)}"
            else:
                given = name in self._node._parameter_overrides
                if not given or declared.type_ != Parameter.Type.NOT_SET:
                    continue
                reason = f"parameter '{name}' is given without a value"
            self._refused[name] = reason
            self._node.get_logger().error(reason)

    def for_camera(self, camera: str, name: str) -> Any:
        """Return the value of parameter ``name`` for ``camera``: its own if it has one."""
        shared = self._node.get_parameter(name)
        return self._node.get_parameter_or(f"{camera}.{name}", shared).value

    def _check(self, changes: list[Parameter]) -> SetParametersResult:
        problems = [problem for change in changes if (problem := self._problem(change))]
        return SetParametersResult(successful=not problems, reason="; ".join(problems))

    def _problem(self, change: Parameter) -> str | None:
        """Return why the parameter cannot be set to this value now, or None."""
        # So that a file written by 'ros2 param dump' can be loaded.
        if change.value == self._node.get_parameter_or(change.name).value:
            return None
        is_new = not self._node.has_parameter(change.name)  # it is being declared
        if is_new or not self.fixed or not self._is_fixed(change.name):
            return self._parameters.problem(change)
        return (
            f"parameter '{change.name}' is read at configure: make the transitions deactivate and "
            f"cleanup, set it, and configure again{self._remark(change.name)}"
        )

    def _were_set(self, changes: list[Parameter]) -> None:
        for change in changes:
            self._refused.pop(change.name, None)
        if any(change.name == "cameras" for change in changes):
            self._declare_for_cameras()
