"""Scaling of 16-bit pixels, whose values often have only 10, 12 or 14 bits, to 8 bits."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.errors import ImageError

logger = logging.getLogger(__name__)

FULL_DEPTH = 16
MIN_DEPTH = 8

CAMERA_DEPTHS = (8, 10, 12, 14)
"""Bits of the cameras whose values some drivers and tools store in 16 bits without shifting."""


class BitDepth:
    """Number of bits that the values of 16-bit images have, counted from the lowest.

    Many drivers shift 10, 12 or 14 bits up to fill 16, which needs no setting. V4L2 and others
    do not: at the full 16 bits their images would be nearly black, and their labels wrong. So the
    first image whose values would fit a camera's bits is warned of.

    Args:
        bits: 8 to 16; may be changed later. 8-bit images are the same for each.
        remedy: How the user sets it, in messages; ``{}`` is the number of bits.
        warn: Receives the warning.
    """

    def __init__(
        self,
        bits: int = FULL_DEPTH,
        remedy: str = "pass --bit-depth {}",
        warn: Callable[[str], Any] = logger.warning,
    ) -> None:
        self.bits = bits
        self._remedy = remedy
        self._warn = warn
        self._warned = False

    def check(self, pixels: NDArray[np.uint16], name: str) -> None:
        """Warn once of an image that is darker than 16 bits would be.

        Args:
            pixels: uint16 of any shape and byte order, without alpha.
            name: What the image is called in the warning.

        Raises:
            ImageError: a value has more than ``bits`` bits. The message is a predicate: what the
                image has.
        """
        largest = int(pixels.max())
        fitting = next((d for d in CAMERA_DEPTHS if largest < 2**d), FULL_DEPTH)
        if largest >= 2**self.bits:
            raise ImageError(
                f"has the value {largest}, but {self.bits} bits end at {2**self.bits - 1}: "
                f"{self._remedy.format(fitting)}"
            )
        if self.bits == FULL_DEPTH > fitting and largest and not self._warned:
            self._warned = True
            self._warn(
                f"{name} is dark: its largest value is {largest} of {2**self.bits - 1}. If "
                f"its camera has {fitting} bits, {self._remedy.format(fitting)}"
            )

    def scale(self, pixels: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Return ``pixels`` as uint8: the largest value of ``bits`` becomes 255, others round.

        ``pixels`` have this machine's byte order and have passed ``check``.
        """
        return scale_to_8_bits(pixels, 2**self.bits - 1)


FULL_RANGE = BitDepth(remedy="pass BitDepth({})")
"""The default of Python's functions."""


def scale_to_8_bits(
    pixels: NDArray[np.uint8] | NDArray[np.uint16], maximum: int
) -> NDArray[np.uint8]:
    """Return ``pixels`` as uint8, rounded, so that ``maximum`` becomes 255."""
    import cv2  # what describes the node's parameters imports this file without OpenCV

    return np.asarray(cv2.convertScaleAbs(pixels, alpha=255 / maximum), np.uint8)
