"""Argument types: valid values, and errors for invalid ones."""

import argparse
from collections.abc import Callable
from typing import Any

import pytest

from bisenet_ros.cli import argument_types
from bisenet_ros.cli.argument_types import number, whole_number


@pytest.mark.parametrize(
    ("convert", "text", "value"),
    [
        (whole_number(0, 8), "8", 8),
        (whole_number(1), "1", 1),
        (number(0, 1), "0.25", 0.25),
        (number(0), "1e3", 1000.0),
        (argument_types.positive_number, "0.1", 0.1),
        (argument_types.network_resolution, "1024x512", (1024, 512)),
        (argument_types.image_size, "1x3", (1, 3)),
        (argument_types.engine_device, "cuda:12", "cuda:12"),
        (argument_types.engine_device, "gpu.1", "gpu.1"),
        (argument_types.torch_device, "cpu", "cpu"),
    ],
)
def test_valid_values(convert: Callable[[str], Any], text: str, value: object) -> None:
    assert convert(text) == value


@pytest.mark.parametrize(
    ("convert", "text", "message"),
    [
        (whole_number(0, 8), "9", "'9' is not a whole number from 0 to 8"),
        (whole_number(0, 8), "1.0", "'1.0' is not a whole number from 0 to 8"),
        (whole_number(1), "0", "'0' is not a whole number of at least 1"),
        (number(0, 1), "1.5", "'1.5' is not a number from 0 to 1"),
        (number(0), "inf", "'inf' is not a number of at least 0"),
        (number(0), "nan", "'nan' is not a number of at least 0"),
        (argument_types.positive_number, "0", "'0' is not a number above 0"),
        (argument_types.positive_number, "fast", "'fast' is not a number above 0"),
        (argument_types.network_resolution, "100x64", "resolution 100x64 must be at least 32x32"),
        (argument_types.network_resolution, "64", "'64' is not of the form WxH"),
        (argument_types.image_size, "0x9", "size '0x9' has no pixels"),
        (argument_types.engine_device, "cuda0", "'cuda0' is not auto, cpu, cuda or cuda:N"),
        (argument_types.torch_device, "gpu", "'gpu' is not auto, cpu, cuda or cuda:N"),
    ],
)
def test_invalid_values(convert: Callable[[str], Any], text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as raised:
        convert(text)
    assert message in str(raised.value)


def test_long_values_are_shortened_in_errors() -> None:
    with pytest.raises(argparse.ArgumentTypeError) as raised:
        whole_number(1)("9" * 5000)
    assert str(raised.value).endswith("999' is not a whole number of at least 1")
    assert len(str(raised.value)) < 300
