"""Initial model of a run: a new network, or the weights of an existing model."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from bisenet_ros.classes import SemanticClass, numbered_classes
from bisenet_ros.datasets import Dataset
from bisenet_ros.errors import ModelFileError
from bisenet_ros.model.file import Model
from bisenet_ros.network import PRESETS, Architecture, BiSeNetV2
from bisenet_ros.training.distributed import DistributedContext
from bisenet_ros.training.settings import Settings

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

logger = logging.getLogger(__name__)

NEW_HEAD_STD = 0.01
"""Standard deviation of the last layer's weights in a new head on a pretrained network."""


@dataclass(frozen=True)
class InitialModel:
    """A network to train, with its boosters, normalization and origin.

    Attributes:
        network: Network with boosters.
        preset: Name of the preset that its architecture derives from.
        mean: Mean of the RGB channels, for images in 0..1.
        std: Standard deviation of the RGB channels, for images in 0..1.
        recipe: Recipe, name, dataset and license of the pretrained model; None for new weights.
        license: License of the pretrained model; empty for new weights.
    """

    network: BiSeNetV2
    preset: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    recipe: Mapping[str, Any] | None = None
    license: str = ""

    def fingerprint(self, dataset: Dataset, processes: DistributedContext) -> dict[str, Any]:
        """Return plain values that, together with its settings, identify a run."""
        return {
            "architecture": {n: str(v) for n, v in vars(self.network.architecture).items()},
            "normalization": [*self.mean, *self.std],
            "start": dict(self.recipe or {}),
            "list of classes": [entry.name for entry in dataset.classes],
            "number of images": len(dataset),
            "number of processes": processes.size,
        }


def new_start(settings: Settings, num_classes: int) -> InitialModel:
    """Return a new network of ``settings.preset``, seeded with ``settings.seed``."""
    torch.manual_seed(settings.seed)
    network = BiSeNetV2(architecture_of(settings, num_classes), boosters=True)
    return InitialModel(network, settings.preset)


def architecture_of(settings: Settings, num_classes: int) -> Architecture:
    """Return the architecture of a new network with these settings."""
    preset = PRESETS[settings.preset]
    return replace(preset, head_channels=settings.head_channels, num_classes=num_classes)


def start_from(model: Model, settings: Settings, classes: Sequence[SemanticClass]) -> InitialModel:
    """Return an initial model with the architecture, normalization and weights of ``model``.

    Boosters, which model files do not contain, are initialized. The last layer keeps the rows of
    classes whose names the model has, whatever their ids; other rows are initialized, and the log
    names both. For a model without class names it is kept if their number is the same.

    Raises:
        ModelFileError: The model takes BGR images.
    """
    if model.metadata.channel_order != "rgb":
        raise ModelFileError(
            f"model {model.name} takes {model.metadata.channel_order} images, but training uses "
            "RGB: start from another model, or without --init"
        )
    torch.manual_seed(settings.seed)
    architecture = replace(model.metadata.architecture, num_classes=len(classes))
    network = BiSeNetV2(architecture, boosters=True)
    for head in (network.head, *network.boosters):
        # Initialized like other layers, a new head would send back gradients large enough to
        # destroy the pretrained branches within 50 steps.
        nn.init.normal_(head[-1].weight, std=NEW_HEAD_STD)
    kept = _rows_by_name(model, classes)
    last_layer = f"head.{len(network.head) - 1}."
    state = network.state_dict()
    for name, tensor in model.network.state_dict().items():
        if name.startswith(last_layer):
            state[name][list(kept)] = tensor[list(kept.values())]
        else:
            state[name].copy_(tensor)
    _report_rows(model.name, classes, kept)
    metadata = model.metadata
    recipe = {
        **metadata.recipe,
        "model": model.name,
        "dataset": metadata.dataset,
        "license": metadata.license,
    }
    return InitialModel(
        network, metadata.preset, metadata.mean, metadata.std, recipe, metadata.license
    )


def _rows_by_name(model: Model, classes: Sequence[SemanticClass]) -> dict[int, int]:
    """Return the rows of the model's last layer to keep, by the class ids they are for."""
    before = [entry.name for entry in model.metadata.classes]
    if before == [entry.name for entry in numbered_classes(len(before))]:
        return {id_: id_ for id_ in range(len(before))} if len(before) == len(classes) else {}
    return {entry.id: before.index(entry.name) for entry in classes if entry.name in before}


def _report_rows(model: str, classes: Sequence[SemanticClass], kept: Mapping[int, int]) -> None:
    """Log the classes whose rows of the last layer are ``kept``, unless all are."""
    names = [entry.name for entry in classes if entry.id in kept]
    new = [entry.name for entry in classes if entry.id not in kept]
    if not names:
        logger.warning(
            "no class has the name of one of %s: the last layer is initialized, not loaded", model
        )
    elif new:
        logger.info(
            "last layer: loaded from %s for %s; initialized for %s",
            model,
            ", ".join(names),
            ", ".join(new),
        )
