"""Other sizes of images and labels: the same in training, calibration, scoring and on the robot."""

import cv2
import numpy as np
from numpy.typing import NDArray


def check_image(image: NDArray[np.uint8]) -> None:
    """Make sure that ``image`` is one.

    Raises:
        ValueError: saying what it is instead.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"an image is {image.dtype} {image.shape}; it must be uint8 [H,W,3] RGB")


def resize_image(
    image: NDArray[np.uint8], size: tuple[int, int], buffer: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """``image``, uint8 [H,W,3], at ``size``, (width, height), in contiguous memory.

    Itself where all that is its own. Bilinear, and by mean over areas where a side shrinks to less
    than half: bilinear would pass over pixels there, so that thin things flicker and noise stays.

    Args:
        image: of any channel order.
        size: of the result.
        buffer: uint8 [height,width,3] for the result, which spares its allocation.

    Raises:
        ValueError: ``image`` is none.
    """
    check_image(image)
    if (image.shape[1], image.shape[0]) == size:
        return np.ascontiguousarray(image)
    height, width = image.shape[:2]
    if width > 2 * size[0] or height > 2 * size[1]:
        # OpenCV takes the mean over areas only where neither side grows.
        least = min(width, size[0]), min(height, size[1])
        target = buffer if least == size else None
        image = np.asarray(cv2.resize(image, least, target, interpolation=cv2.INTER_AREA), np.uint8)
        if least == size:
            return image
    return np.asarray(cv2.resize(image, size, buffer, interpolation=cv2.INTER_LINEAR), np.uint8)


def resize_labels(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """``labels``, uint8 [H,W], at ``size``, (width, height); itself where that is its own.

    By nearest neighbor, since a mean of two class ids is a third class.
    """
    if (labels.shape[1], labels.shape[0]) == size:
        return labels
    # Plain INTER_NEAREST lies up to half a pixel beside the image.
    return np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
