"""The node's parameters as others see them: descriptions, ranges, refusals."""

from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("rclpy")

import rclpy
from node_fixture import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, DEFAULTS, Bench
from rcl_interfaces.msg import ParameterType
from rclpy.node import Node
from rclpy.parameter import Parameter

from bisenet_ros.ros import parameters

TYPES = {
    str: ParameterType.PARAMETER_STRING,
    float: ParameterType.PARAMETER_DOUBLE,
    int: ParameterType.PARAMETER_INTEGER,
    list: ParameterType.PARAMETER_STRING_ARRAY,
    bool: ParameterType.PARAMETER_BOOL,
}


def test_descriptors(bench: Bench) -> None:
    kinds = {name: type(value) for name, value in DEFAULTS.items()} | {"model": str}
    kinds["autostart"] = bool
    described = bench.describe(list(kinds))
    assert described.keys() == kinds.keys()
    for name, kind in kinds.items():
        assert described[name].type == TYPES[kind], name
        assert described[name].description.endswith("."), name
        assert described[name].read_only == (name == "autostart"), name
        assert not described[name].dynamic_typing
    assert described["model"].description.endswith(". Read at configure.")
    assert described["overlay_alpha"].description.endswith(". Takes effect at once.")
    for name in ("overlay_alpha", "confidence_threshold"):
        (span,) = described[name].floating_point_range
        assert (span.from_value, span.to_value) == (0, 1)
    for name in ("image_qos.depth", "output_qos.depth"):
        (whole,) = described[name].integer_range
        assert (whole.from_value, whole.to_value, whole.step) == (1, 100, 1)
    assert "raw, compressed" in described["input_transport"].additional_constraints


@pytest.fixture
def lone_node() -> Iterator[Callable[..., Node]]:
    """Make a node with the given parameters, which nobody else hears of."""
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
    assert parameters.declare(node) == {"outputs": "parameter 'outputs' is given without a value"}
    assert parameters.read(node).outputs == ("label", "overlay", "color")


def test_what_is_no_parameter_is_named(lone_node: Callable[..., Node]) -> None:
    reliability = "qos_overrides./image.subscription.reliability"
    given = {"input_transprot": "compressed", reliability: "reliable", "device": "cpu"}
    node = lone_node(*(Parameter(name, value=value) for name, value in given.items()))
    parameters.declare(node)
    assert parameters.unknown(node) == [
        "'input_transprot' (meant 'input_transport'?)",
        f"'{reliability}'",
    ]


@pytest.mark.parametrize(
    ("name", "bad", "reason"),
    [
        ("backend", "caffe", "'backend' has 'caffe'; valid: auto, tensorrt, openvino, torch"),
        ("precision", "int3", "valid: auto, fp32, bf16, fp16"),
        ("label_size", "huge", "valid: input, network"),
        ("input_transport", "theora", "valid: raw, compressed"),
        ("outputs", ["label", "mask"], "'mask'; valid: label, confidence, overlay, color"),
        ("image_qos.reliability", "maybe", "valid: best_effort, reliable"),
        ("output_qos.durability", "eternal", "valid: volatile, transient_local"),
        ("resolution", "big", "resolution 'big' is not of the form WxH"),
        ("resolution", "100x100", "must be at least 32x32 and divisible by 8"),
        ("resolution", "0x0", "must be at least 32x32"),
        ("overlay_alpha", 1.5, "out of range"),
        ("overlay_alpha", float("nan"), "out of range"),
        ("confidence_threshold", -0.1, "out of range"),
        ("image_qos.depth", 0, "out of range"),
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
        "model": "another",
        "classes": "camvid",
        "backend": "torch",
        "device": "auto",
        "precision": "auto",
        "resolution": "64x32",
        "label_size": "network",
        "input_transport": "compressed",
        "outputs": ["label"],
        "confidence_threshold": 0.5,
        "image_qos.reliability": "best_effort",
        "image_qos.durability": "transient_local",
        "image_qos.depth": 1,
        "output_qos.reliability": "best_effort",
        "output_qos.durability": "transient_local",
        "output_qos.depth": 1,
    }
    assert fixed.keys() | {"max_rate", "overlay_alpha"} == DEFAULTS.keys() | {"model"}

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
