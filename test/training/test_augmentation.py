"""Augmentation: label and image stay aligned, sizes are the crop's, nothing is drawn outside."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bisenet_ros.training.augmentation import Sample, augment
from bisenet_ros.training.settings import Settings

PADDING = 127
SHADES = np.array([20, 240], np.uint8)


def plain(**changes: object) -> Settings:
    values = {"scales": (1.0,), "flip": False, "brightness": 0.0, "crop": (64, 48)}
    return Settings(**{**values, **changes})  # type: ignore[arg-type]


def encoded(height: int = 96, width: int = 128) -> Sample:
    """Boxes whose shade says their label, so that the image alone tells the truth."""
    rng = np.random.default_rng(3)
    labels = np.zeros((height, width), np.uint8)
    for _ in range(40):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        w, h = rng.integers(8, 40, 2).tolist()
        cv2.rectangle(labels, (x, y, w, h), int(rng.integers(2)), cv2.FILLED)
    return np.repeat(SHADES[labels][..., None], 3, axis=2), labels


def positions(height: int, width: int) -> Sample:
    """An image whose pixels say where they come from."""
    rows, columns = np.indices((height, width), np.uint8)
    return np.stack([rows, columns, np.zeros_like(rows)], -1), columns.copy()


@pytest.mark.parametrize("scale", [0.5, 0.75, 0.875, 1.0, 1.125, 1.5, 2.0])
@pytest.mark.parametrize("flip", [False, True])
def test_label_and_image_stay_aligned(scale: float, flip: bool) -> None:
    settings = plain(scales=(scale,), flip=flip)
    agree = []
    for seed in range(10):
        image, labels = augment(encoded(), settings, np.random.default_rng(seed))
        seen = labels != 255
        # Interpolated shades lie in between, and the nearer one tells the truth.
        agree.append(((image[..., 0] > SHADES.mean()) == labels)[seen].mean())
    assert np.mean(agree) > 0.992


def test_flip_mirrors_both_and_happens_half_the_time() -> None:
    sample = positions(48, 64)
    flipped = 0
    for seed in range(200):
        image, labels = augment(sample, plain(flip=True), np.random.default_rng(seed))
        mirrored = bool(labels[0, 0])
        flipped += mirrored
        expected = sample[0][:, ::-1] if mirrored else sample[0]
        np.testing.assert_array_equal(image, expected)
        np.testing.assert_array_equal(labels, expected[..., 1])
    assert 70 < flipped < 130


def test_a_larger_image_is_cut_anywhere() -> None:
    tops, lefts = set(), set()
    for seed in range(200):
        image, labels = augment(positions(51, 70), plain(), np.random.default_rng(seed))
        top, left = int(image[0, 0, 0]), int(image[0, 0, 1])
        np.testing.assert_array_equal(image, positions(51, 70)[0][top : top + 48, left : left + 64])
        np.testing.assert_array_equal(labels, image[..., 1])
        tops.add(top)
        lefts.add(left)
    assert tops == set(range(51 - 48 + 1))
    assert lefts == set(range(70 - 64 + 1))


def test_a_smaller_image_is_placed_anywhere_and_the_rest_is_unlabelled() -> None:
    tops, lefts = set(), set()
    for seed in range(200):
        image, labels = augment(positions(46, 60), plain(), np.random.default_rng(seed))
        inside = labels != 255
        rows, columns = np.nonzero(inside)
        top, left = int(rows.min()), int(columns.min())
        assert inside.sum() == 46 * 60
        np.testing.assert_array_equal(image[top : top + 46, left : left + 60], positions(46, 60)[0])
        assert (image[~inside] == PADDING).all()
        tops.add(top)
        lefts.add(left)
    assert tops == set(range(48 - 46 + 1))
    assert lefts == set(range(64 - 60 + 1))


def test_every_scale_is_drawn_and_the_size_is_the_crop_s() -> None:
    labels = np.zeros((40, 40), np.uint8)
    image = np.zeros((40, 40, 3), np.uint8)
    settings = plain(scales=(0.5, 0.75, 1.0), crop=(64, 48))
    covered = set()
    for seed in range(40):
        out_image, out_labels = augment((image, labels), settings, np.random.default_rng(seed))
        assert out_image.shape == (48, 64, 3)
        assert out_labels.shape == (48, 64)
        assert out_image.dtype == out_labels.dtype == np.uint8
        covered.add(int((out_labels == 0).sum()))
    assert covered == {20 * 20, 30 * 30, 40 * 40}


def test_brightness_changes_the_image_and_never_the_labels() -> None:
    sample = encoded(48, 64)
    means = set()
    for seed in range(30):
        image, labels = augment(sample, plain(brightness=0.3), np.random.default_rng(seed))
        np.testing.assert_array_equal(labels, sample[1])
        means.add(round(float(image.mean()) / float(sample[0].mean()), 2))
        assert 0.6 < image.mean() / sample[0].mean() < 1.35
    assert len(means) > 10
