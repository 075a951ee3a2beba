"""Augmentation: alignment of image and labels, output size, padding and distributions."""

import numpy as np
import pytest

from bisenet_ros.images.resize import resize_image
from bisenet_ros.training.augmentation import Sample, augment, cut_mix, paste
from bisenet_ros.training.settings import Settings

PADDING = 127


def plain(**changes: object) -> Settings:
    values = {
        "scales": (1.0,),
        "flip": False,
        "color_jitter": 0.0,
        "resolution": (64, 48),
        "crop": (64, 48),
    }
    return Settings(**{**values, **changes})  # type: ignore[arg-type]


def positions(height: int, width: int) -> Sample:
    """Return a sample whose pixels encode their row and column."""
    rows, columns = np.indices((height, width), np.uint8)
    return np.stack([rows, columns, np.zeros_like(rows)], -1), columns.copy()


@pytest.mark.parametrize("scale", [0.5, 0.75, 0.875, 1.0, 1.125, 1.25, 1.5, 2.0])
@pytest.mark.parametrize("flip", [False, True])
def test_label_and_image_stay_aligned(scale: float, flip: bool) -> None:
    settings = plain(resolution=(120, 96), scales=(scale,), flip=flip)
    for seed in range(5):
        image, labels = augment(positions(96, 120), settings, np.random.default_rng(seed))
        seen = labels != 255
        # Both encode their source column, the image interpolated, the label nearest-neighbor.
        beside = labels[seen].astype(float) - image[..., 1][seen]
        assert np.abs(beside).max() <= 1
        assert abs(beside.mean()) < (0.25 if scale != 0.5 else 0.51)  # 0.5 is a tie everywhere


def test_flip_mirrors_image_and_labels_half_the_time() -> None:
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


def test_larger_image_is_cropped_at_any_offset() -> None:
    settings = plain(resolution=(72, 56))
    tops, lefts = set(), set()
    for seed in range(200):
        image, labels = augment(positions(56, 72), settings, np.random.default_rng(seed))
        top, left = int(image[0, 0, 0]), int(image[0, 0, 1])
        np.testing.assert_array_equal(image, positions(56, 72)[0][top : top + 48, left : left + 64])
        np.testing.assert_array_equal(labels, image[..., 1])
        tops.add(top)
        lefts.add(left)
    assert tops == set(range(56 - 48 + 1))
    assert lefts == set(range(72 - 64 + 1))


def test_smaller_image_is_padded_at_any_offset_with_ignored_labels() -> None:
    settings = plain(scales=(0.875,))
    smaller = resize_image(positions(48, 64)[0], (56, 42))
    tops, lefts = set(), set()
    for seed in range(200):
        image, labels = augment(positions(48, 64), settings, np.random.default_rng(seed))
        inside = labels != 255
        rows, columns = np.nonzero(inside)
        top, left = int(rows.min()), int(columns.min())
        assert inside.sum() == 42 * 56
        np.testing.assert_array_equal(image[top : top + 42, left : left + 56], smaller)
        assert (image[~inside] == PADDING).all()
        tops.add(top)
        lefts.add(left)
    assert tops == set(range(48 - 42 + 1))
    assert lefts == set(range(64 - 56 + 1))


def test_every_scale_is_drawn_and_output_has_crop_size() -> None:
    labels = np.zeros((40, 40), np.uint8)
    image = np.zeros((40, 40, 3), np.uint8)
    settings = plain(scales=(0.5, 0.75, 1.0))
    covered = set()
    for seed in range(40):
        out_image, out_labels = augment((image, labels), settings, np.random.default_rng(seed))
        assert out_image.shape == (48, 64, 3)
        assert out_labels.shape == (48, 64)
        assert out_image.dtype == out_labels.dtype == np.uint8
        covered.add(int((out_labels == 0).sum()))
    assert covered == {32 * 24, 48 * 36, 64 * 48}


def test_scales_are_relative_to_the_resolution_not_the_file_size() -> None:
    settings = plain(scales=(0.75,), resolution=(80, 64), crop=(72, 56))
    for size in ((96, 80), (32, 40), (200, 100)):
        image, labels = augment(positions(*size), settings, np.random.default_rng(0))
        rows, columns = np.nonzero(labels != 255)
        assert np.ptp(rows) + 1 == 48
        assert np.ptp(columns) + 1 == 60
        assert image[labels != 255, 0].max() == pytest.approx(size[0], abs=8)


def test_color_jitter_changes_brightness_but_not_the_labels() -> None:
    sample = np.full((48, 64, 3), 120, np.uint8), positions(48, 64)[1]
    means = set()
    for seed in range(30):
        image, labels = augment(sample, plain(color_jitter=0.3), np.random.default_rng(seed))
        np.testing.assert_array_equal(labels, sample[1])
        change = float(image.mean()) / 120
        assert 0.69 < change < 1.31
        means.add(round(change, 2))
    assert len(means) > 10
    assert min(means) < 0.85
    assert max(means) > 1.15


def test_channel_jitter_scales_channels_independently_but_not_the_labels() -> None:
    sample = np.full((48, 64, 3), 120, np.uint8), positions(48, 64)[1]
    factors = []
    for seed in range(60):
        image, labels = augment(sample, plain(channel_jitter=0.2), np.random.default_rng(seed))
        np.testing.assert_array_equal(labels, sample[1])
        assert np.ptp(image, axis=(0, 1)).tolist() == [0, 0, 0]
        factors.append(image[0, 0] / 120)
    # Uniform in 0.8..1.2 and uncorrelated between channels.
    assert 0.79 < np.min(factors) < 0.83
    assert 1.17 < np.max(factors) < 1.21
    assert abs(np.corrcoef(np.transpose(factors)) - np.eye(3)).max() < 0.4


def test_paste_copies_whole_classes_with_their_colors() -> None:
    seen = set()
    for seed in range(20):
        sample = np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 7, np.uint8)
        other = np.full((8, 8, 3), 200, np.uint8), np.arange(64, dtype=np.uint8).reshape(8, 8) // 16
        paste(sample, other, [1, 3], np.random.default_rng(seed))
        pasted = sample[1] != 7
        seen.add(frozenset(sample[1][pasted].tolist()))
        np.testing.assert_array_equal(sample[1][pasted], other[1][pasted])
        np.testing.assert_array_equal(sample[0], 200 * np.dstack([pasted] * 3))
        assert pasted.sum() == 16 * len(set(sample[1][pasted].tolist()))
    assert seen == {frozenset(), frozenset({1}), frozenset({3}), frozenset({1, 3})}


def test_cut_mix_copies_one_rectangle_to_the_same_position() -> None:
    areas, heights = [], []
    for seed in range(200):
        sample = np.zeros((40, 80, 3), np.uint8), np.zeros((40, 80), np.uint8)
        other = positions(40, 80)[0] + np.uint8(1), np.ones((40, 80), np.uint8)
        cut_mix(sample, other, np.random.default_rng(seed))
        image, labels = sample
        rows, columns = np.nonzero(labels)
        top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
        assert labels[top:bottom, left:right].all()
        assert labels.sum() == (bottom - top) * (right - left)
        pasted = other[0] * labels[..., None]
        np.testing.assert_array_equal(image, pasted)
        areas.append(labels.mean())
        heights.append((bottom - top) / 40)
    assert 0.08 < min(areas) < 0.15
    assert 0.45 < max(areas) < 0.52
    # Aspect ratios range from wide to tall.
    assert min(heights) < 0.2
    assert max(heights) > 0.95


def test_jpeg_compresses_its_share_of_the_images_and_keeps_colors() -> None:
    rows, columns = np.indices((48, 64))
    smooth = np.stack([200 + 0 * rows, 3 * columns, 2 * rows], -1).astype(np.uint8)
    changed = 0
    for seed in range(100):
        image, labels = augment(
            (smooth, positions(48, 64)[1]), plain(jpeg=0.5), np.random.default_rng(seed)
        )
        np.testing.assert_array_equal(labels, positions(48, 64)[1])
        changed += bool((image != smooth).any())
        assert np.abs(image.astype(int) - smooth).mean() < 4
    assert 30 < changed < 70
