"""Synthetic streets: deterministic, with aligned labels, and not separable by color alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bisenet_ros.synthetic import DEMO_SEEDS, TRAINING_SEEDS, Street
from bisenet_ros.synthetic.things import ROAD, SKY

Frame = tuple[NDArray[np.uint8], NDArray[np.uint8]]

CAMVID_COLORS = np.array(
    [
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ]
)  # fmt: skip


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return [Street(seed).frame(7 * seed) for seed in DEMO_SEEDS[:30]]


def test_a_frame_is_a_function_of_seed_and_index() -> None:
    street = Street(3)
    late, early = street.frame(100), street.frame(2)
    for index, frame in ((2, early), (100, late)):
        image, labels = Street(3).frame(index)
        np.testing.assert_array_equal(image, frame[0])
        np.testing.assert_array_equal(labels, frame[1])
    assert not np.array_equal(early[1], late[1])
    assert not np.array_equal(Street(4).frame(2)[1], early[1])


def test_the_global_random_state_is_left_alone() -> None:
    def draw(between: bool) -> float:
        np.random.seed(1)
        if between:
            Street(0).frame(0)
        return float(np.random.random())

    assert draw(True) == draw(False)


@pytest.mark.parametrize(("width", "height"), [(480, 360), (1024, 512), (161, 97)])
def test_shapes_and_types(width: int, height: int) -> None:
    image, labels = Street(5, width, height).frame(12)
    assert image.shape == (height, width, 3)
    assert labels.shape == (height, width)
    assert image.dtype == labels.dtype == np.uint8


def test_every_class_has_its_share(frames: list[Frame]) -> None:
    counts = np.bincount(np.concatenate([labels.ravel() for _, labels in frames]), minlength=256)
    shares = counts / counts.sum()
    assert shares[11:255].sum() == 0
    assert shares[:11].min() > 0.005, shares[:11].round(4)


def test_color_alone_does_not_separate_the_classes(frames: list[Frame]) -> None:
    confusion = np.zeros((11, 11))
    for image, labels in frames[:10]:
        small, truth = image[::2, ::2].astype(np.int32), labels[::2, ::2]
        nearest = ((small[:, :, None] - CAMVID_COLORS) ** 2).sum(-1).argmin(-1)
        np.add.at(confusion, (truth.ravel(), nearest.ravel()), 1)
    hits = np.diag(confusion)
    iou = hits / (confusion.sum(0) + confusion.sum(1) - hits)
    assert iou.mean() < 0.40


def test_labels_follow_the_edges_of_the_image(frames: list[Frame]) -> None:
    for image, labels in frames:
        step = np.abs(np.diff(image.astype(np.int32).mean(-1), axis=1))
        edge = labels[:, 1:] != labels[:, :-1]
        assert step[edge].mean() > 2 * step[~edge].mean()


def test_the_drive_is_continuous() -> None:
    street = Street(8)
    for index in (0, 40):
        (image, labels), (next_image, next_labels) = street.frame(index), street.frame(index + 1)
        changed = (labels != next_labels).mean()
        assert 0 < changed < 0.12
        assert 0 < np.abs(image.astype(int) - next_image).mean() < 25


def test_the_camera_stands_on_the_road_under_the_sky(frames: list[Frame]) -> None:
    for _, labels in frames:
        rows = np.arange(labels.shape[0])[:, None]
        sky, road = labels == SKY, labels == ROAD
        assert rows[sky.any(1)].mean() < rows[road.any(1)].mean()
        widths = road.sum(1)
        assert widths[-20:].mean() > 3 * widths[np.flatnonzero(widths)[:10]].mean()


def test_demo_and_training_streets_are_different() -> None:
    assert not set(DEMO_SEEDS) & set(TRAINING_SEEDS)
