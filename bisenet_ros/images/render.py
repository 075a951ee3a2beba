"""Rendering of labels: class colors, overlays, legends and contact sheets, all in RGB."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import IGNORE_ID, SemanticClass
from bisenet_ros.errors import write_errors
from bisenet_ros.images.files import JPEG_SUFFIXES
from bisenet_ros.images.resize import check_image

Image = NDArray[np.uint8]
Labels = NDArray[np.uint8]

GAP = 4
"""Pixels between the images of a contact sheet."""
BACKGROUND = (32, 32, 32)
TEXT = (235, 235, 235)


def colorize(labels: Labels, palette: NDArray[np.uint8]) -> Image:
    """Return the class color of each pixel.

    Args:
        labels: uint8 [H,W].
        palette: uint8 [256,3] RGB by label value, see ``classes.palette``.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: ``labels`` or ``palette`` has another shape or dtype.
    """
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise ValueError(f"labels are {labels.dtype} {labels.shape}; they must be uint8 [H,W]")
    if palette.shape != (256, 3) or palette.dtype != np.uint8:
        raise ValueError(f"palette is {palette.dtype} {palette.shape}; it must be uint8 [256,3]")
    # An OpenCV color map is any table of 256 colors; it is faster than indexing in NumPy.
    return np.asarray(cv2.applyColorMap(labels, palette.reshape(256, 1, 3)), np.uint8)


def overlay(image: Image, labels: Labels, palette: NDArray[np.uint8], alpha: float) -> Image:
    """Blend class colors into an image; pixels with label 255 keep their color.

    Args:
        image: uint8 [H,W,3] RGB.
        labels: uint8 [H,W].
        palette: uint8 [256,3] RGB by label value, see ``colorize``.
        alpha: opacity of the class colors, 0 (image only) to 1 (colors only).

    Returns:
        A new array, uint8 [H,W,3] RGB.

    Raises:
        ValueError: an argument has another shape or dtype, the sizes differ, or ``alpha`` is out
            of range.
    """
    check_image(image)
    if image.shape[:2] != labels.shape[:2]:
        raise ValueError(
            f"the image is {_size(image)} and its labels are {_size(labels)}; resize one of them "
            "to the size of the other (labels with nearest neighbor)"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it must be in 0..1")
    colors = colorize(labels, palette)
    cv2.copyTo(image, (labels == IGNORE_ID).view(np.uint8), colors)
    return np.asarray(cv2.addWeighted(image, 1 - alpha, colors, alpha, 0, dst=colors), np.uint8)


def legend(classes: Sequence[SemanticClass], width: int = 960, row: int = 28) -> Image:
    """Draw a swatch and the name of each class, in as many columns as fit.

    Args:
        classes: at least one; drawn in order, row by row.
        width: width of the legend in pixels; longer names are clipped.
        row: height of a row in pixels.

    Returns:
        uint8 [rows*row,width,3] RGB.
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
        cv2.rectangle(picture, box, TEXT, 1)  # the class color may be that of the background
        start = left + swatch + space, top + row - row // 3
        cv2.putText(picture, entry.name, start, font, scale, TEXT, thickness, cv2.LINE_AA)
    return picture


def contact_sheet(images: Sequence[Image], columns: int = 3, legend: Image | None = None) -> Image:
    """Arrange images in a grid, row by row, with an optional legend below.

    Args:
        images: at least one, uint8 [H,W,3] RGB. All are scaled to fit the size of the first, with
            bars where the aspect ratio differs.
        columns: maximum number of images per row.
        legend: uint8 [h,w,3] RGB; scaled down if wider than the grid.

    Returns:
        uint8 [H',W',3] RGB.

    Raises:
        ValueError: there are no images, ``columns`` is below 1, or an image has another shape or
            dtype.
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
    """Write an image file in the format of its suffix, such as PNG or JPEG.

    Args:
        path: an existing file is replaced, and no part of a file stays; the folder must exist.
        pixels: uint8 [H,W,3] RGB or [H,W].
        jpeg_quality: 0 to 100; ignored for other formats.

    Raises:
        OSError: the file cannot be written, or its format has no pictures of this size.
    """
    path = Path(path)
    shown = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    # OpenCV warns about options that the format does not have.
    jpeg = path.suffix.lower() in JPEG_SUFFIXES
    options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality] if jpeg else []
    # cv2.imwrite reports success for what a full disk cuts off.
    try:
        done, encoded = cv2.imencode(path.suffix, shown, options)
    except cv2.error:  # of OpenCV 4; OpenCV 5 returns False
        done = False
    if not done:  # JPEG and WebP limit the size
        height, width = shown.shape[:2]
        raise OSError(
            f"cannot write {path}: OpenCV cannot encode {width}x{height} pixels in this format"
        )
    with write_errors(path), path.open("wb") as file:
        try:
            file.write(encoded.tobytes())
            file.flush()
        except OSError:
            path.unlink()  # it is cut off
            raise


def fit(image: Image, width: int, height: int) -> Image:
    """Scale ``image``, uint8 [H,W,3], to fit into width x height, keeping its aspect ratio."""
    factor = min(width / image.shape[1], height / image.shape[0])
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    if size == (image.shape[1], image.shape[0]):
        return image
    smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=smooth), np.uint8)


def _size(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
