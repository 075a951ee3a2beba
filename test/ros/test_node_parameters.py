"""The node's parameters as others see them: descriptions, ranges, refusals."""

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
    for name in ("overlay_alpha", "confidence_threshold"):
        (span,) = described[name].floating_point_range
        assert (span.from_value, span.to_value) == (0, 1)
    for name in ("image_qos.depth", "output_qos.depth"):
        (whole,) = described[name].integer_range
        assert (whole.from_value, whole.to_value, whole.step) == (1, 100, 1)
    assert "raw, compressed" in described["input_transport"].additional_constraints


def test_what_is_no_parameter_is_named() -> None:
    given = {"input_transprot": "compressed", "robot_radius": 0.3, "device": "cpu"}
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node(
        "alone",
        context=context,
        parameter_overrides=[Parameter(name, value=value) for name, value in given.items()],
    )
    parameters.declare(node)
    found = parameters.unknown(node)
    node.destroy_node()
    context.try_shutdown()
    assert found == ["'input_transprot' (meant 'input_transport'?)", "'robot_radius'"]


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
    fixed = {**DEFAULTS, "model": "another"}
    del fixed["overlay_alpha"]

    def all_refused() -> None:
        for name, value in fixed.items():
            result = bench.try_set(name, value)
            assert not result.successful, name
            assert f"parameter '{name}' is read at configure" in result.reason
            assert "cleanup" in result.reason
        assert bench.try_set("overlay_alpha", 0.75).successful

    assert bench.change(CONFIGURE)
    all_refused()
    assert bench.change(ACTIVATE)
    all_refused()
    assert bench.get(["overlay_alpha"]) == {"overlay_alpha": 0.75}
    assert bench.change(DEACTIVATE)
    assert bench.change(CLEANUP)
    bench.set({"label_size": "network", "device": "auto", "precision": "auto"})
