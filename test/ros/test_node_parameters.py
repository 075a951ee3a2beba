"""The node's parameters from outside: descriptions, ranges, refusals."""

import re
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("rclpy")

import rclpy
from node_fixture import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, DEFAULTS, Bench
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.node import Node
from rclpy.parameter import Parameter

from bisenet_ros.errors import ParameterError
from bisenet_ros.ros.parameter_set import EFFECTS
from bisenet_ros.ros.parameters import DEFINITIONS, PARAMETERS

TYPES = {
    str: ParameterType.PARAMETER_STRING,
    float: ParameterType.PARAMETER_DOUBLE,
    int: ParameterType.PARAMETER_INTEGER,
    tuple: ParameterType.PARAMETER_STRING_ARRAY,
    bool: ParameterType.PARAMETER_BOOL,
}


def test_node_describes_its_parameters_as_they_are_defined(bench: Bench) -> None:
    described = bench.describe(list(DEFINITIONS))
    assert described.keys() == DEFINITIONS.keys() == DEFAULTS.keys() | {"model", "autostart"}
    for name, definition in DEFINITIONS.items():
        found = described[name]
        numbers = name == "roi"
        kind = ParameterType.PARAMETER_INTEGER_ARRAY if numbers else TYPES[type(definition.default)]
        assert found.type == kind, name
        assert found.description == definition.description, name
        assert re.fullmatch(r"[A-Z][^.]*[a-z].*\.", found.description), name
        assert definition.valid in found.additional_constraints, name
        assert EFFECTS[definition.effect] in found.additional_constraints, name
        assert found.read_only == (name == "autostart"), name
        assert not found.dynamic_typing
        ranges = [*found.integer_range, *found.floating_point_range]
        assert len(ranges) == (type(definition.default) in (int, float)), name
        for each in ranges:
            assert (each.from_value, each.to_value) == (definition.minimum, definition.maximum)


def test_the_text_of_descriptions(bench: Bench) -> None:
    described = bench.describe(["max_rate", "image_qos.depth", "input_transport", "resolution"])
    rate, depth, transport, resolution = described.values()
    assert rate.description == "Maximum inference rate of each camera [Hz]; 0 = unlimited."
    assert rate.additional_constraints == "Valid: 0, or 0.01 to 1000. Takes effect at once."
    (span,) = rate.floating_point_range
    assert (span.from_value, span.to_value) == (0, 1000)
    (whole,) = depth.integer_range
    assert (whole.from_value, whole.to_value, whole.step) == (1, 100, 1)
    assert transport.additional_constraints == "Valid: raw, compressed. Read at configure."
    assert "WxH, both multiples of 8 from 32 to 8192." in resolution.additional_constraints


NUMBERS = {
    "threads": ([0, 1024], [-1, 1025]),
    "max_rate": (
        [0.0, 0.01, 1000.0],
        [-0.1, -1e-310, 1e-310, 0.0099, 1000.1, float("inf"), float("nan")],
    ),
    "max_image_pixels": ([1024, 1073741824], [1023, 1073741825]),
    "max_age": ([0.0, 3600.0], [-0.1, 3600.1, float("inf"), float("nan")]),
    "bit_depth": ([8, 16], [7, 17]),
    "overlay_alpha": ([0.0, 1.0], [-0.1, 1.1, float("nan")]),
    "confidence_threshold": ([0.0, 1.0], [-0.1, 1.1, float("nan")]),
    "image_qos.depth": ([1, 100], [0, 101]),
    "output_qos.depth": ([1, 100], [0, 101]),
    "bond_heartbeat_period": ([0.0, 2.0], [-0.1, 2.1, float("nan")]),
}


def test_every_number_is_tested_at_its_ends() -> None:
    assert NUMBERS.keys() == {n for n, d in DEFINITIONS.items() if type(d.default) in (int, float)}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_at_their_ends(bench: Bench, name: str) -> None:
    good, bad = NUMBERS[name]
    definition = DEFINITIONS[name]
    for value in good:
        bench.set({name: value})
        assert bench.get([name]) == {name: value}
    for value in bad:
        result = bench.try_set(name, value)
        assert not result.successful, value
        for part in (name, str(value), f"{definition.maximum:.10g}"):
            assert part in result.reason
    assert bench.get([name]) == {name: good[-1]}


def test_resolutions_at_their_ends(bench: Bench) -> None:
    for value in ("32x32", "8192x8192"):
        bench.set({"resolution": value})


@pytest.fixture
def lone_node() -> Iterator[Callable[..., Node]]:
    """Make a node with the given parameters in a context of its own."""
    context = rclpy.Context()
    rclpy.init(context=context)
    nodes = []

    def make(*given: Parameter) -> Node:
        nodes.append(Node("alone", context=context, parameter_overrides=list(given)))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
    context.try_shutdown()


def test_an_empty_list_is_no_value_and_the_default_stays(lone_node: Callable[..., Node]) -> None:
    # What rcl makes of 'outputs: []'.
    node = lone_node(Parameter("outputs", Parameter.Type.NOT_SET))
    assert PARAMETERS.declare(node) == {"outputs": "parameter 'outputs' is given without a value"}
    assert PARAMETERS.read(node).outputs == ("label", "overlay", "color")


def test_what_is_no_parameter_is_named(lone_node: Callable[..., Node]) -> None:
    reliability = "qos_overrides./image.subscription.reliability"
    given = {"input_transprot": "compressed", reliability: "reliable", "device": "cpu"}
    node = lone_node(*(Parameter(name, value=value) for name, value in given.items()))
    PARAMETERS.declare(node)
    assert PARAMETERS.unknown(node) == [
        "'input_transprot' (meant 'input_transport'?)",
        f"'{reliability}'",
    ]


def test_all_bad_values_are_reported_together(lone_node: Callable[..., Node]) -> None:
    given = {
        "threads": -1,
        "backend": "caffe",
        "outputs": ["mask", "label", "depth"],
        "max_rate": 1e-310,
        "resolution": "9000x64",
        "output_qos.reliability": "best_effort",
        "output_qos.durability": "transient_local",
    }
    node = lone_node(*(Parameter(name, value=value) for name, value in given.items()))
    refused = PARAMETERS.declare(node)
    assert refused.keys() == {"threads"}
    with pytest.raises(ParameterError) as caught:
        PARAMETERS.read(node, refused.values())
    reasons = str(caught.value).split("; ")
    assert reasons[0].startswith("parameter 'threads' cannot have the value given: ")
    assert reasons[1:-1] == [
        "parameter 'backend' has 'caffe' (valid: auto, tensorrt, openvino, torch)",
        "parameter 'resolution' cannot be used: resolution 9000x64 must be at least 32x32 and "
        "divisible by 8, and at most 8192x8192",
        "parameter 'outputs' has 'mask', 'depth' (valid: label, confidence, overlay, color)",
        "parameter 'max_rate' is 1e-310 (valid: 0, or 0.01 to 1000)",
    ]
    assert "so set output_qos.reliability to reliable" in reasons[-1]


def test_values_that_are_set_together_are_refused_together(bench: Bench) -> None:
    bad = {"backend": "caffe", "device": "cpu", "label_size": "huge"}
    values = [Parameter(name, value=value).to_parameter_msg() for name, value in bad.items()]
    request = SetParametersAtomically.Request(parameters=values)
    result = bench.call(SetParametersAtomically, request).result
    assert not result.successful
    assert result.reason == (
        "parameter 'backend' has 'caffe' (valid: auto, tensorrt, openvino, torch); "
        "parameter 'label_size' has 'huge' (valid: input, network)"
    )


@pytest.mark.parametrize(
    ("name", "bad", "reason"),
    [
        ("backend", "caffe", "'backend' has 'caffe' (valid: auto, tensorrt, openvino, torch)"),
        ("precision", "int3", "valid: auto, fp32, bf16, fp16"),
        ("label_size", "huge", "valid: input, network"),
        ("input_transport", "theora", "valid: raw, compressed"),
        ("outputs", ["label", "mask"], "'mask' (valid: label, confidence, overlay, color"),
        ("image_qos.reliability", "maybe", "valid: best_effort, reliable"),
        ("output_qos.durability", "eternal", "valid: volatile, transient_local"),
        ("resolution", "big", "resolution 'big' is not of the form WxH"),
        ("resolution", "100x100", "must be at least 32x32 and divisible by 8"),
        ("resolution", "0x0", "must be at least 32x32"),
        ("roi", [0, 0, 5], "[0, 0, 5] is not x, y, width, height in pixels from 0"),
        ("roi", [0, 0, 5, 0], "[0, 0, 5, 0] is not x, y, width, height in pixels from 0"),
        ("roi", [-1, 0, 5, 5], "[-1, 0, 5, 5] is not x, y, width, height in pixels from 0"),
        ("resolution", "64x8200", "8, and at most 8192x8192"),
        ("resolution", "64x99999999999", "is not of the form WxH"),
        ("image_qos.depth", "1", "Wrong parameter type"),
        ("backend", 5, "Wrong parameter type"),
        ("backend", None, "Static parameter cannot be undeclared"),
        ("autostart", True, "read-only"),
    ],
)
def test_a_bad_value_is_refused_with_the_reason(
    bench: Bench, name: str, bad: object, reason: str
) -> None:
    before = bench.get([name])
    result = bench.try_set(name, bad)
    assert not result.successful
    assert reason in result.reason
    assert bench.get([name]) == before
    assert bench.state() == "unconfigured"


def test_what_configure_read_stays_as_it_is_until_cleanup(bench: Bench) -> None:
    fixed = {
        "label_size": "network",
        "cameras": ["front"],
        "batch_cameras": True,
        "fit": "letterbox",
        "roi": [0, 0, 8, 8],
        "ignore_mask": "mask.png",
        "input_transport": "compressed",
        "outputs": ["label"],
        "confidence_threshold": 0.5,
        "image_qos.reliability": "best_effort",
        "image_qos.durability": "transient_local",
        "image_qos.depth": 1,
        "output_qos.reliability": "best_effort",
        "output_qos.durability": "transient_local",
        "output_qos.depth": 1,
        "bond_heartbeat_period": 0.5,
    }
    engine = {"model", "classes", "backend", "device", "precision", "threads", "engine_cache"}
    live = {
        "resolution",
        "lazy",
        "max_age",
        "max_rate",
        "max_image_pixels",
        "bit_depth",
        "overlay_alpha",
    }
    assert fixed.keys() | engine | live == DEFAULTS.keys() | {"model"}

    def all_refused() -> None:
        for name, value in fixed.items():
            result = bench.try_set(name, value)
            assert not result.successful, name
            assert f"parameter '{name}' is read at configure" in result.reason
            assert "cleanup" in result.reason
        for name, value in DEFAULTS.items():
            assert bench.try_set(name, value).successful, name  # as it is
        assert bench.try_set("overlay_alpha", 0.75).successful

    assert bench.change(CONFIGURE)
    all_refused()
    assert bench.change(ACTIVATE)
    all_refused()
    assert bench.get(["overlay_alpha"]) == {"overlay_alpha": 0.75}
    assert bench.change(DEACTIVATE)
    assert bench.change(CLEANUP)
    bench.set({"label_size": "network", "device": "auto", "precision": "auto"})
