"""Reproducible stream of augmented training samples."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from bisenet_ros import datasets
from bisenet_ros.classes import palette
from bisenet_ros.errors import SettingsError, quoted
from bisenet_ros.images.render import contact_sheet, fit, legend, overlay
from bisenet_ros.synthetic import CLASS_NAMES, TRAINING_SEEDS, Street
from bisenet_ros.training.augmentation import Sample, augment, cut_mix, paste
from bisenet_ros.training.custom_augment import CustomAugment
from bisenet_ros.training.distributed import DistributedContext
from bisenet_ros.training.settings import Settings

SHEET_COLUMNS, SHEET_ROWS = 4, 3
SHEET_WIDTH = 1920
"""Maximum width of the contact sheet in pixels."""


class TrainDataset(Dataset[tuple[Tensor, Tensor]]):
    """All samples of a run: item ``k`` is image uint8 [3,h,w] RGB and labels uint8 [h,w].

    Both have the size ``settings.crop``. A sample depends only on ``k`` and the seed, so a resumed
    run draws the same samples as an uninterrupted one, with any number of workers.

    Raises:
        SettingsError: ``synthetic_images`` is set, but the dataset does not have the classes of
            the synthetic street, ``copy_paste`` names a class that the dataset lacks, or
            ``augment`` cannot be imported.
    """

    def __init__(self, dataset: datasets.Dataset, settings: Settings) -> None:
        names = tuple(entry.name for entry in dataset.classes)
        if settings.synthetic_images and names != CLASS_NAMES:
            raise SettingsError(
                f"setting 'synthetic_images' is {settings.synthetic_images}; must be 0 unless the "
                f"dataset has the classes of the synthetic street ({', '.join(CLASS_NAMES)})"
            )
        for name in settings.copy_paste:
            if name not in names:
                raise SettingsError(
                    f"setting 'copy_paste' names the unknown class {quoted(name)}; must be one of "
                    f"{', '.join(names)}"
                )
        self.custom = CustomAugment(settings.augment, len(names)) if settings.augment else None
        self.pasted = [names.index(name) for name in settings.copy_paste]
        self.dataset = dataset
        self.settings = settings
        self.epoch_length = len(dataset) + settings.synthetic_images

    def __len__(self) -> int:
        return self.settings.iterations * self.settings.batch_size

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        epoch, position = divmod(k, self.epoch_length)
        index = int(_order(self.settings.seed, epoch, self.epoch_length)[position])
        rng = np.random.default_rng((self.settings.seed, 1, k))
        image, labels = self._augmented(index, rng)
        if self.settings.cutmix and rng.random() < self.settings.cutmix:
            cut_mix((image, labels), self._another(rng), rng)
        if self.pasted:
            paste((image, labels), self._another(rng), self.pasted, rng)
        return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(labels)

    def _another(self, rng: np.random.Generator) -> Sample:
        return self._augmented(int(rng.integers(self.epoch_length)), rng)

    def _augmented(self, index: int, rng: np.random.Generator) -> Sample:
        sample = self.dataset[index] if index < len(self.dataset) else self._synthetic(rng)
        sample = augment(sample, self.settings, rng)
        return self.custom(sample, rng) if self.custom else sample

    def _synthetic(self, rng: np.random.Generator) -> Sample:
        seed = TRAINING_SEEDS[int(rng.integers(len(TRAINING_SEEDS)))]
        width, height = self.settings.resolution
        return Street(seed, width, height).frame(int(rng.integers(100)))


def sample_indices(
    settings: Settings, first_iteration: int, processes: DistributedContext
) -> list[int]:
    """Return the sample indices of this process, in order, starting at ``first_iteration``.

    An iteration uses the same samples for any number of processes and micro-batches.
    """
    part = settings.batch_size // (processes.size * settings.grad_accum_steps)
    return [
        start + offset
        for start in range(
            (first_iteration * settings.grad_accum_steps * processes.size + processes.rank) * part,
            settings.iterations * settings.batch_size,
            processes.size * part,
        )
        for offset in range(part)
    ]


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, length: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, 0, epoch)).permutation(length)


def sample_sheet(samples: TrainDataset) -> NDArray[np.uint8]:
    """Return a contact sheet of the first augmented samples with labels: uint8 [H,W,3] RGB.

    Unlabeled pixels show the image.

    Raises:
        DatasetError: A file cannot be used.
    """
    classes = samples.dataset.classes
    colors = palette(classes)
    width, height = samples.settings.crop
    width = min(width, SHEET_WIDTH // SHEET_COLUMNS)
    pictures = []
    for k in range(min(SHEET_COLUMNS * SHEET_ROWS, len(samples))):
        image, labels = samples[k]
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        pictures.append(fit(overlay(pixels, labels.numpy(), colors, 0.5), width, height))
    return contact_sheet(pictures, SHEET_COLUMNS, legend(classes, SHEET_COLUMNS * width))
