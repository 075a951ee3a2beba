"""TIFF files that are to be shown turned by a quarter, which libtiff does not decode to RGB."""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF and BigTIFF files, with little and big endian numbers."""

_ORIENTATION = 0x0112

_FLIP_BEFORE_TRANSPOSING = {5: 1, 6: 4, 7: 3, 8: 2}
"""Orientations that swap the sides, as one that does not, followed by a transposition."""


def decode_quarter_turned(data: bytes, flags: int) -> NDArray[np.generic] | None:
    """Return the upright pixels of a TIFF whose orientation swaps its sides.

    Args:
        data: the file.
        flags: of ``cv2.imdecode``.

    Returns:
        [H,W] or [H,W,C] as OpenCV gives them; None if the orientation is not 5 to 8, or OpenCV
        cannot decode the file.
    """
    found = _find_orientation(data)
    if found is None:
        return None
    at, order = found
    flip = _FLIP_BEFORE_TRANSPOSING.get(int.from_bytes(data[at : at + 2], order))
    if flip is None:
        return None
    flipped = data[:at] + flip.to_bytes(2, order) + data[at + 2 :]
    pixels = cv2.imdecode(np.frombuffer(flipped, np.uint8), flags)
    return None if pixels is None else cv2.transpose(pixels)


def _find_orientation(data: bytes) -> tuple[int, Literal["little", "big"]] | None:
    """Return offset and byte order of the orientation in a TIFF, or None if it has none."""
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    is_big = data[:4] in TIFF_STARTS[2:]
    # Sizes of an offset, of the number of entries, and of an entry, which ends with its value.
    offset, count, entry = (8, 8, 20) if is_big else (4, 2, 12)
    directory = number(offset, offset)
    first = directory + count
    for at in range(first, first + entry * number(directory, count), entry):
        if at + entry > len(data):
            return None
        if number(at, 2) == _ORIENTATION:
            return at + entry - offset, order
    return None
