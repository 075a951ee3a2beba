"""Resizing of images and labels, shared by training, calibration, evaluation and inference."""

import cv2
import numpy as np
from numpy.typing import NDArray


def check_image(image: NDArray[np.uint8]) -> None:
    """Raise ValueError if ``image`` is not a non-empty uint8 [H,W,3]; the message has its shape."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"an image is {image.dtype} {image.shape}; it must be uint8 [H,W,3] RGB")


def resize_image(
    image: NDArray[np.uint8], size: tuple[int, int], buffer: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Resize an image: bilinear, or by pixel area where a side shrinks to less than half.

    Bilinear interpolation would skip pixels there: thin objects flicker and noise is not averaged.

    Args:
        image: uint8 [H,W,3], in any channel order.
        size: (width, height) of the result.
        buffer: uint8 [height,width,3] that the result is written to, which saves an allocation.

    Returns:
        uint8 [height,width,3], contiguous. ``image`` itself if it is contiguous and of that size.

    Raises:
        ValueError: ``image`` is not uint8 [H,W,3].
    """
    check_image(image)
    if (image.shape[1], image.shape[0]) == size:
        return np.ascontiguousarray(image)
    height, width = image.shape[:2]
    if width > 2 * size[0] or height > 2 * size[1]:
        # INTER_AREA averages only if no side grows: shrink first, then enlarge the other side.
        shrunk = min(width, size[0]), min(height, size[1])
        target = buffer if shrunk == size else None
        image = np.asarray(
            cv2.resize(image, shrunk, target, interpolation=cv2.INTER_AREA), np.uint8
        )
        if shrunk == size:
            return image
    return np.asarray(cv2.resize(image, size, buffer, interpolation=cv2.INTER_LINEAR), np.uint8)


def resize_labels(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize labels by nearest neighbor: a mean of two class ids would be a third class.

    Args:
        labels: uint8 [H,W].
        size: (width, height) of the result.

    Returns:
        uint8 [height,width]; ``labels`` itself if it is of that size.
    """
    if (labels.shape[1], labels.shape[0]) == size:
        return labels
    # INTER_NEAREST would shift the labels by up to half a pixel against the image.
    return np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def letterbox(image: tuple[int, int], frame: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return x, y, width, height of an image that is fitted into ``frame`` with its own aspect.

    It touches the frame at two sides and is centered between the others.

    Args:
        image: (width, height).
        frame: (width, height).
    """
    scale = min(frame[0] / image[0], frame[1] / image[1])
    width, height = (
        min(outer, max(1, round(inner * scale))) for inner, outer in zip(image, frame, strict=True)
    )
    return (frame[0] - width) // 2, (frame[1] - height) // 2, width, height
