"""Labels as pictures: class colors, overlays, legends, contact sheets, files. RGB throughout."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import IGNORE_ID, SemanticClass
from bisenet_ros.images.files import JPEG_SUFFIXES
from bisenet_ros.images.resize import check_image

Image = NDArray[np.uint8]
Labels = NDArray[np.uint8]

GAP = 4
"""Pixels between the images of a contact sheet."""
BACKGROUND = (32, 32, 32)
TEXT = (235, 235, 235)


def colorize(labels: Labels, palette: NDArray[np.uint8]) -> Image:
    """The color of each label.

    Args:
        labels: uint8 [H,W].
        palette: uint8 [256,3] RGB by label value, as ``classes.palette`` makes it: black where
            there is no class, 255 included.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: labels or palette of another shape or dtype.
    """
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise ValueError(f"labels are {labels.dtype} {labels.shape}; they must be uint8 [H,W]")
    if palette.shape != (256, 3) or palette.dtype != np.uint8:
        raise ValueError(f"palette is {palette.dtype} {palette.shape}; it must be uint8 [256,3]")
    # A "color map" in OpenCV is any table of 256 colors; no look-up of NumPy's is as fast.
    return np.asarray(cv2.applyColorMap(labels, palette.reshape(256, 1, 3)), np.uint8)


def overlay(image: Image, labels: Labels, palette: NDArray[np.uint8], alpha: float) -> Image:
    """The image with the class colors laid over it; where the label is 255 it stays as it is.

    Args:
        image: uint8 [H,W,3] RGB.
        labels: uint8 [H,W].
        palette: uint8 [256,3] RGB, see ``colorize``.
        alpha: share of the class color, 0 (image only) to 1 (colors only).

    Returns:
        uint8 [H,W,3] RGB, newly made.

    Raises:
        ValueError: sizes that differ, ``alpha`` out of range, or see ``colorize``.
    """
    check_image(image)
    if image.shape[:2] != labels.shape[:2]:
        raise ValueError(
            f"the image is {_size(image)} and its labels are {_size(labels)}; scale one of them "
            "(labels with nearest neighbor) so that they have one size"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it must be in 0..1")
    colors = colorize(labels, palette)
    cv2.copyTo(image, (labels == IGNORE_ID).view(np.uint8), colors)
    return np.asarray(cv2.addWeighted(image, 1 - alpha, colors, alpha, 0, dst=colors), np.uint8)


def legend(classes: Sequence[SemanticClass], width: int = 960, row: int = 28) -> Image:
    """A swatch and the name of each class, in as many columns as fit.

    Args:
        classes: at least one; drawn in their order, row after row.
        width: of the result, in pixels; a single name that is wider is cut off.
        row: height of a row, in pixels.

    Returns:
        uint8 [rows * row, width, 3] RGB.
    """
    font, thickness, space = cv2.FONT_HERSHEY_SIMPLEX, 1, row // 4
    scale = row / 50
    name_width = max(cv2.getTextSize(c.name, font, scale, thickness)[0][0] for c in classes)
    swatch = row - 2 * space + row // 4
    column = space + swatch + space + name_width + 2 * space
    columns = max(1, min(len(classes), width // column))
    picture = np.full((-(-len(classes) // columns) * row, width, 3), BACKGROUND, np.uint8)
    for place, entry in enumerate(classes):
        top, left = place // columns * row, place % columns * column + space
        box = (left, top + (row - swatch) // 2, swatch, swatch)
        cv2.rectangle(picture, box, entry.color, cv2.FILLED)
        cv2.rectangle(picture, box, TEXT, 1)  # a class may have the color of the background
        start = left + swatch + space, top + row - row // 3
        cv2.putText(picture, entry.name, start, font, scale, TEXT, thickness, cv2.LINE_AA)
    return picture


def contact_sheet(images: Sequence[Image], columns: int = 3, legend: Image | None = None) -> Image:
    """Images in a grid, row after row, with a legend below.

    Args:
        images: uint8 [H,W,3] RGB, at least one. The others are scaled to fit into the size of
            the first, with bars where their aspect ratio differs.
        columns: at most this many images a row.
        legend: uint8 [h,w,3] RGB; one wider than the grid is scaled down to its width.

    Returns:
        uint8 [H',W',3] RGB.

    Raises:
        ValueError: no images, ``columns`` below 1, or an image of another shape or dtype.
    """
    if not images or columns < 1:
        raise ValueError(f"{len(images)} images in {columns} columns; both must be at least 1")
    for image in images:
        check_image(image)
    height, width = images[0].shape[:2]
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    grid = rows * (height + GAP) - GAP, columns * (width + GAP) - GAP
    if legend is not None:
        check_image(legend)
        if legend.shape[1] > grid[1]:
            legend = fit(legend, grid[1], legend.shape[0])
    below = 0 if legend is None else GAP + legend.shape[0]
    sheet = np.full((grid[0] + below, grid[1], 3), BACKGROUND, np.uint8)
    for place, image in enumerate(images):
        fitted = fit(image, width, height)
        top = place // columns * (height + GAP) + (height - fitted.shape[0]) // 2
        left = place % columns * (width + GAP) + (width - fitted.shape[1]) // 2
        sheet[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    if legend is not None:
        sheet[grid[0] + GAP :, : legend.shape[1]] = legend
    return sheet


def write_picture(path: str | Path, pixels: NDArray[np.uint8], jpeg_quality: int = 95) -> None:
    """Write a PNG or a JPEG, after the suffix.

    Args:
        path: in a folder that exists; a file there is replaced.
        pixels: uint8 [H,W,3] RGB or [H,W].
        jpeg_quality: 0 to 100; PNGs do not lose anything.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(path)
    shown = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    # OpenCV grumbles at an option that the format does not have.
    jpeg = path.suffix.lower() in JPEG_SUFFIXES
    options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality] if jpeg else []
    if not cv2.imwrite(str(path), shown, options):
        raise OSError(f"{path} cannot be written: is the disk full, or the folder read-only?")


def fit(image: Image, width: int, height: int) -> Image:
    """Scaled to the largest size within width x height that keeps its aspect ratio."""
    factor = min(width / image.shape[1], height / image.shape[0])
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    if size == (image.shape[1], image.shape[0]):
        return image
    smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=smooth), np.uint8)


def _size(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
