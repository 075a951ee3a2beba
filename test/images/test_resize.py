"""Resizing: alignment by pixel centers, area averaging, labels without new classes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from bisenet_ros.images.resize import resize_image, resize_labels


def stripes(width: int, period: int) -> NDArray[np.uint8]:
    """Return an image with a white column every ``period`` pixels, uint8 [30,width,3]."""
    image = np.zeros((30, width, 3), np.uint8)
    image[:, ::period] = 255
    return image


@pytest.mark.parametrize("factor", [3, 4, 5])
def test_shrinking_to_less_than_half_averages_all_pixels(factor: int) -> None:
    small = resize_image(stripes(20 * factor, factor), (20, 30))
    assert small.shape == (30, 20, 3)
    np.testing.assert_allclose(small, 255 / factor, atol=1)
    # The same if the other side grows.
    wide = resize_image(stripes(20 * factor, factor), (20, 50))
    assert wide.shape == (50, 20, 3)
    np.testing.assert_allclose(wide, 255 / factor, atol=1)


@pytest.mark.parametrize(("width", "size"), [(40, (20, 15)), (30, (20, 30)), (20, (50, 60))])
def test_a_ramp_is_not_shifted(width: int, size: tuple[int, int]) -> None:
    columns = np.arange(width, dtype=np.uint8) * np.uint8(4)
    ramp = np.broadcast_to(columns[None, :, None], (30, width, 3)).copy()
    resized = resize_image(ramp, size)
    # The center of output column k is at (k + 1/2) width / size - 1/2 of the input.
    places = (np.arange(size[0]) + 0.5) * width / size[0] - 0.5
    expected = 4 * np.clip(places, 0, width - 1)
    np.testing.assert_allclose(resized, np.broadcast_to(expected[:, None], resized.shape), atol=1)


def test_labels_take_the_nearest_pixel() -> None:
    labels = np.array([[0, 7, 255]], np.uint8)
    assert resize_labels(labels, (6, 1)).tolist() == [[0, 0, 7, 7, 255, 255]]
    assert resize_labels(np.array([[1, 2, 3, 4, 5, 6]], np.uint8), (2, 1)).tolist() == [[2, 5]]


def test_the_same_size_is_not_copied_and_a_buffer_is_used() -> None:
    image = stripes(20, 2)
    assert resize_image(image, (20, 30)) is image
    assert resize_labels(image[..., 0], (20, 30)).base is image
    buffer = np.zeros((15, 10, 3), np.uint8)
    assert resize_image(image, (10, 15), buffer) is buffer
    assert buffer.any()
