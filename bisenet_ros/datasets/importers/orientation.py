"""Which way up an image's labels are: cameras turn images by an EXIF tag."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.images.files import exif_orientation, is_tiff

UPRIGHT = 1


def applied_orientation(path: Path, image: NDArray[np.uint8]) -> int:
    """Return the EXIF orientation by which ``read_image`` has turned ``image``, 1 to 8.

    Args:
        path: its file.
        image: the image that ``read_image`` gives, uint8 [H,W,3] RGB.
    """
    tag = exif_orientation(path)
    if tag == UPRIGHT or is_tiff(path):
        return tag
    stored = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    # OpenCV obeys the tag in some formats only.
    turned = stored is not None and np.array_equal(turn(stored, tag), image[..., ::-1])
    return tag if turned else UPRIGHT


def turn(array: NDArray[np.generic], orientation: int) -> NDArray[np.generic]:
    """Return an array, [H,W] or [H,W,C], turned upright from an EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, 0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array


def swaps_sides(orientation: int) -> bool:
    """Return whether an EXIF orientation turns landscape to portrait."""
    return orientation >= 5
