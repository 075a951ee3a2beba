"""Sample stream: reproducibility, epochs, CutMix, Copy-Paste and synthetic images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from bisenet_ros.datasets import Dataset, open_dataset
from bisenet_ros.errors import SettingsError
from bisenet_ros.synthetic import TRAINING_SEEDS, Street
from bisenet_ros.training import train_dataset as module
from bisenet_ros.training.settings import Settings
from bisenet_ros.training.train_dataset import TrainDataset

SETTINGS = Settings(
    resolution=(64, 64), crop=(64, 64), scales=(1.0, 1.5), batch_size=2, iterations=10
)


def test_samples_have_the_documented_shapes_and_dtypes(two_tone: Path) -> None:
    samples = TrainDataset(open_dataset(two_tone), SETTINGS)
    assert len(samples) == 20
    image, labels = samples[3]
    assert (image.dtype, tuple(image.shape)) == (torch.uint8, (3, 64, 64))
    assert (labels.dtype, tuple(labels.shape)) == (torch.uint8, (64, 64))
    assert set(labels.unique().tolist()) <= {0, 1, 255}


def test_sample_depends_only_on_its_index_and_the_seed(two_tone: Path) -> None:
    folder = open_dataset(two_tone)
    first = TrainDataset(folder, SETTINGS)
    forward = [first[k] for k in range(12)]
    second = TrainDataset(folder, SETTINGS)
    for k in reversed(range(12)):
        for one, other in zip(forward[k], second[k], strict=True):
            assert torch.equal(one, other)
    other_seed = TrainDataset(folder, replace(SETTINGS, seed=1))
    assert not all(torch.equal(forward[k][0], other_seed[k][0]) for k in range(12))
    assert not torch.equal(forward[0][0], forward[1][0])


def test_cutmix_changes_its_share_of_the_samples(two_tone: Path) -> None:
    # In one of five samples the other image is the same one, so CutMix has no effect.
    settings = replace(SETTINGS, scales=(1.0,), flip=False, iterations=200)
    alone = TrainDataset(open_dataset(two_tone), settings)
    mixed = TrainDataset(open_dataset(two_tone), replace(settings, cutmix=0.5))
    changed = sum(not torch.equal(alone[k][0], mixed[k][0]) for k in range(400))
    assert 130 < changed < 190


def test_copy_paste_adds_only_the_named_classes(two_tone: Path) -> None:
    # In one of five samples the other image is the same one; in the rest class 1 is pasted with
    # probability 0.5.
    settings = replace(SETTINGS, scales=(1.0,), flip=False, iterations=200)
    dataset = open_dataset(two_tone)
    name = dataset.classes[1].name
    alone = TrainDataset(dataset, settings)
    mixed = TrainDataset(dataset, replace(settings, copy_paste=(name,)))
    changed = 0
    for k in range(400):
        (_, before), (_, after) = alone[k], mixed[k]
        changed += not torch.equal(before, after)
        assert set(after[before != after].tolist()) <= {1}
    assert 100 < changed < 220
    with pytest.raises(
        SettingsError, match=r"'copy_paste' names the unknown class 'tree'; must be"
    ):
        TrainDataset(dataset, replace(settings, copy_paste=("tree",)))


def test_number_of_workers_does_not_change_the_samples(street_like: Path) -> None:
    samples = TrainDataset(open_dataset(street_like), replace(SETTINGS, synthetic_images=1))
    batches = [list(DataLoader(samples, 2, num_workers=workers)) for workers in (0, 2)]
    assert len(batches[0]) == len(batches[1]) == 10
    for alone, parallel in zip(*batches, strict=True):
        assert torch.equal(alone[0], parallel[0])
        assert torch.equal(alone[1], parallel[1])


class Counting(Dataset):
    """Dataset that records the indices read."""

    read: list[int]

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        self.read.append(index)
        return super().__getitem__(index)


def test_epoch_has_each_image_once_and_the_synthetic_images(
    street_like: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = open_dataset(street_like)
    folder = Counting(plain.root, plain.pairs, plain.classes, plain.decode)
    object.__setattr__(folder, "read", [])
    streets: list[tuple[int, int, int]] = []

    class Recorded(Street):
        def __init__(self, seed: int, width: int, height: int) -> None:
            streets.append((seed, width, height))
            super().__init__(seed, width, height)

    monkeypatch.setattr(module, "Street", Recorded)
    samples = TrainDataset(folder, replace(SETTINGS, synthetic_images=3))
    for epoch in (0, 1):
        folder.read.clear()
        streets.clear()
        for k in range(8 * epoch, 8 * epoch + 8):
            samples[k]
        assert sorted(folder.read) == [0, 1, 2, 3, 4]
        assert len(streets) == 3
        assert all(seed in TRAINING_SEEDS for seed, _, _ in streets)
        assert {(width, height) for _, width, height in streets} == {(64, 64)}


def test_each_epoch_has_its_own_order(two_tone: Path) -> None:
    plain = open_dataset(two_tone)
    folder = Counting(plain.root, plain.pairs, plain.classes, plain.decode)
    object.__setattr__(folder, "read", [])
    samples = TrainDataset(folder, SETTINGS)
    for k in range(4 * len(folder)):
        samples[k]
    size = len(folder)
    orders = [folder.read[start : start + size] for start in range(0, 4 * size, size)]
    assert all(sorted(order) == list(range(size)) for order in orders)
    assert len(set(map(tuple, orders))) == 4


def test_synthetic_images_require_the_street_classes(two_tone: Path) -> None:
    with pytest.raises(SettingsError, match=r"'synthetic_images' is 1; must be 0 unless"):
        TrainDataset(open_dataset(two_tone), replace(SETTINGS, synthetic_images=1))
