"""The part of an image that is labeled."""

import numpy as np
import pytest

from bisenet_ros.errors import ImageError
from bisenet_ros.inference.region import Region
from bisenet_ros.inference.segmenter import Segmentation, StageTimes

IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
MASK = np.zeros((4, 6), bool)
MASK[3, :] = True


def part(image: np.ndarray) -> Segmentation:
    labels = np.full(image.shape[:2], 7, np.uint8)
    labels.flags.writeable = False
    return Segmentation(image, labels, np.full_like(labels, 99), StageTimes(1, 2, 3))


def test_the_network_sees_the_roi_and_the_rest_is_unlabeled() -> None:
    region = Region((1, 2, 3, 2), MASK)
    seen = region.crop(IMAGE)
    np.testing.assert_array_equal(seen, IMAGE[2:4, 1:4])
    placed = region.place(part(seen), IMAGE)
    labels = np.full((4, 6), 255)
    labels[2, 1:4] = 7
    np.testing.assert_array_equal(placed.labels, labels)
    np.testing.assert_array_equal(placed.confidence, np.where(labels == 7, 99, 0))
    assert placed.image is IMAGE
    assert placed.times == StageTimes(1, 2, 3)


def test_without_a_region_nothing_is_copied() -> None:
    whole = part(Region().crop(IMAGE))
    assert whole.image is IMAGE
    assert Region().place(whole, IMAGE) is whole


@pytest.mark.parametrize(
    ("region", "reason"),
    [
        (Region((4, 0, 3, 2)), r"6x4 and does not contain the roi of 3x2 at \(4, 0\)"),
        (
            Region((0, 3, 3, 2)),
            r"does not contain the roi .*: set 'roi' for this camera's resolution",
        ),
        (Region(None, MASK[:, :5]), "6x4 and its ignore_mask 5x4"),
    ],
)
def test_an_image_that_does_not_fit_is_refused(region: Region, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        region.crop(IMAGE)
