"""Images that reveal faulty arithmetic; every new engine labels them before it is used.

Saturating INT8 labels an ordinary street correctly and an overexposed sky wrongly, so the set
includes extremes of what a camera delivers. With it, the inputs of nearly all layers of the shipped
model reach the largest value that its calibration represents.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.synthetic.street import Street

Image = NDArray[np.uint8]

_CORNERS = np.array([[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)], np.uint8)
"""The corners of the RGB cube, where normalized channels are largest and smallest."""


def reference_images(resolution: tuple[int, int]) -> dict[str, Image]:
    """Return the reference images by name, uint8 [H,W,3] RGB; they are deterministic.

    Args:
        resolution: (width, height) in pixels.
    """
    width, height = resolution
    rng = np.random.default_rng(0)
    street, _ = Street(0, width, height).frame(0)
    noise = rng.normal(0, 1, street.shape)
    flat_sky = _clip(street + 40 * noise)
    flat_sky[: height // 2] = 255
    return {
        "street": street,
        "overexposed street": _clip(street * 4.0),
        "underexposed street": _clip(street * 0.2 + 3 * noise),
        "saturated colors": _saturated(street),
        "flat white over noise": flat_sky,
        "color blocks and fine texture": _blocks_and_texture(street, rng),
    }


def _saturated(image: Image) -> Image:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 1] = np.clip(hsv[..., 1].astype(np.int32) * 4 + 60, 0, 255)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def _blocks_and_texture(street: Image, rng: np.random.Generator) -> Image:
    """Draw blocks of the RGB cube's corners above, a checkerboard over the street below."""
    height, width = street.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    checkers = ((rows // 2 + columns // 2) % 2 * 128)[..., None]
    image = _clip(street * 0.5 + checkers)
    size = max(8, height // 6)
    colors = _CORNERS[rng.integers(0, len(_CORNERS), (3, width // size + 1))]
    blocks = colors.repeat(size, 0).repeat(size, 1)[: height // 2, :width]
    image[: len(blocks)] = blocks
    return image


def _clip(image: NDArray[np.floating]) -> Image:
    return np.asarray(np.clip(image, 0, 255), np.uint8)
