"""Argument types for argparse, which exits with status 2 if a value is invalid.

Errors name the value and the valid ones; argparse prepends the option.
"""

import argparse
import re
from collections.abc import Callable
from math import inf, isfinite

from bisenet_ros.errors import InferenceError, quoted
from bisenet_ros.inference.resolution import parse_resolution, parse_size

MAX_THREADS = 1024


def whole_number(minimum: int, maximum: float = inf) -> Callable[[str], int]:
    """Return an argument type for integers in [``minimum``, ``maximum``]."""

    def convert(text: str) -> int:
        value = int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else None
        if value is None or not minimum <= value <= maximum:
            raise _error(text, f"a whole number {_range(minimum, maximum)}")
        return value

    return convert


def number(minimum: float, maximum: float = inf) -> Callable[[str], float]:
    """Return an argument type for finite numbers in [``minimum``, ``maximum``]."""

    def convert(text: str) -> float:
        value = _float(text)
        if value is None or not minimum <= value <= maximum:
            raise _error(text, f"a number {_range(minimum, maximum)}")
        return value

    return convert


def positive_number(text: str) -> float:
    """Return ``text`` as a finite number above 0.

    Raises:
        ArgumentTypeError: ``text`` is not such a number.
    """
    value = _float(text)
    if value is None or value <= 0:
        raise _error(text, "a number above 0")
    return value


def network_resolution(text: str) -> tuple[int, int]:
    """Return (width, height) in pixels from "WxH", such as "1024x512".

    Raises:
        ArgumentTypeError: ``text`` is malformed, or the resolution is not supported.
    """
    try:
        return parse_resolution(text)
    except InferenceError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def image_size(text: str) -> tuple[int, int]:
    """Return (width, height) in pixels from "WxH", such as "1280x720".

    Raises:
        ArgumentTypeError: ``text`` is malformed, or the image has no pixels.
    """
    try:
        width, height = parse_size(text, "size")
    except InferenceError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not width * height:
        raise argparse.ArgumentTypeError(f"size {quoted(text)} has no pixels")
    return width, height


def engine_device(text: str) -> str:
    """Return ``text`` if it is the name of an engine's device.

    Raises:
        ArgumentTypeError: ``text`` is not a device name.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?|gpu(\.[0-9]+)?", text):
        raise _error(text, "auto, cpu, cuda or cuda:N (NVIDIA), gpu or gpu.N (Intel)")
    return text


def torch_device(text: str) -> str:
    """Return ``text`` if it is the name of a PyTorch device.

    Raises:
        ArgumentTypeError: ``text`` is not a device name.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", text):
        raise _error(text, "auto, cpu, cuda or cuda:N")
    return text


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None


def _range(minimum: float, maximum: float) -> str:
    return f"of at least {minimum}" if maximum == inf else f"from {minimum} to {maximum}"


def _error(text: str, valid: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{quoted(text)} is not {valid}")
