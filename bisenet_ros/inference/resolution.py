"""Sizes of the network's input and of its labels."""

import re
from typing import Literal

from bisenet_ros.errors import InferenceError, quoted

LabelSize = Literal["input", "network"]

Fit = Literal["stretch", "letterbox"]

MULTIPLE = 8
"""Divisor of width and height: the network predicts at 1/8 of its input."""
MIN_SIDE, MAX_SIDE = 32, 8192
"""Limits in pixels. The network halves its input five times; memory limits the largest size."""


def parse_resolution(text: str) -> tuple[int, int]:
    """Return (width, height) in pixels from "WxH", such as "1024x512".

    Raises:
        InferenceError: the text has another form, or the resolution is invalid.
    """
    resolution = parse_size(text, "resolution")
    check_resolution(resolution)
    return resolution


def parse_size(text: str, name: str) -> tuple[int, int]:
    """Return (width, height) in pixels from "WxH", such as "1280x720".

    Args:
        text: to parse.
        name: of the option or parameter, for the error.

    Raises:
        InferenceError: the text has another form.
    """
    match = re.fullmatch(r"\s*(\d{1,9})\s*[xX]\s*(\d{1,9})\s*", text)
    if match is None:
        raise InferenceError(f"{name} {quoted(text)} is not of the form WxH, such as 1024x512")
    return int(match[1]), int(match[2])


def check_resolution(resolution: tuple[int, int]) -> None:
    """Raise InferenceError if the network does not support this (width, height) in pixels."""
    width, height = resolution
    if (
        min(width, height) < MIN_SIDE
        or max(width, height) > MAX_SIDE
        or width % MULTIPLE
        or height % MULTIPLE
    ):
        raise InferenceError(
            f"resolution {width}x{height} must be at least {MIN_SIDE}x{MIN_SIDE} and divisible by "
            f"{MULTIPLE}, and at most {MAX_SIDE}x{MAX_SIDE}"
        )
