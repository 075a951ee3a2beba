"""Sizes of what goes into the network and of the labels that come out."""

import re
from typing import Literal

from bisenet_ros.errors import InferenceError, quoted

LabelSize = Literal["input", "network"]

MULTIPLE = 8
"""Divides width and height, since the network predicts at 1/8 of its input."""
MIN_SIDE, MAX_SIDE = 32, 8192
"""Pixels. The network halves its input five times; far above any camera, memory ends."""


def parse_resolution(text: str) -> tuple[int, int]:
    """Return (width, height) in pixels from "WxH", such as "1024x512".

    Raises:
        InferenceError: the text has another form, or no network can have this resolution.
    """
    resolution = parse_size(text, "resolution")
    check_resolution(resolution)
    return resolution


def parse_size(text: str, name: str) -> tuple[int, int]:
    """Return (width, height) in pixels from "WxH", such as "1280x720".

    Raises:
        InferenceError: the text has another form; ``name`` says whose text it is.
    """
    match = re.fullmatch(r"\s*(\d{1,9})\s*[xX]\s*(\d{1,9})\s*", text)
    if match is None:
        raise InferenceError(f"{name} {quoted(text)} is not of the form WxH, such as 1024x512")
    return int(match[1]), int(match[2])


def check_resolution(resolution: tuple[int, int]) -> None:
    """Raise InferenceError if no network can have this (width, height) in pixels."""
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
