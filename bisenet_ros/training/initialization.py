"""Where a run starts: a new network, or the weights of a model."""

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
"""Standard deviation of the weights of a new head's last layer, on a trained network."""


@dataclass(frozen=True)
class InitialModel:
    """A network to train, with its boosters, and its normalization.

    - ``preset``: that its architecture is made from.
    - ``mean``, ``std``: of the RGB channels, for images in 0..1.
    - ``recipe``: of the model whose weights these are, with its name, data and license; None for
      new ones.
    - ``license``: of the model whose weights these are.
    """

    network: BiSeNetV2
    preset: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    recipe: Mapping[str, Any] | None = None
    license: str = ""

    def fingerprint(self, dataset: Dataset, processes: DistributedContext) -> dict[str, Any]:
        """Return what identifies a run beside its settings, in plain values."""
        return {
            "architecture": {n: str(v) for n, v in vars(self.network.architecture).items()},
            "normalization": [*self.mean, *self.std],
            "start": dict(self.recipe or {}),
            "list of classes": [entry.name for entry in dataset.classes],
            "number of images": len(dataset),
            "number of processes": processes.size,
        }


def new_start(settings: Settings, num_classes: int) -> InitialModel:
    """Return a new network, its weights drawn with ``settings.seed``."""
    torch.manual_seed(settings.seed)
    network = BiSeNetV2(architecture_of(settings, num_classes), boosters=True)
    return InitialModel(network, settings.preset)


def architecture_of(settings: Settings, num_classes: int) -> Architecture:
    """Return the architecture of a new network."""
    preset = PRESETS[settings.preset]
    return replace(preset, head_channels=settings.head_channels, num_classes=num_classes)


def start_from(model: Model, settings: Settings, classes: Sequence[SemanticClass]) -> InitialModel:
    """Return a network with the architecture, normalization and fitting tensors of ``model``.

    What does not fit other classes is drawn anew, and so are the boosters, which model files do
    not hold; a warning names the former. The last layer fits classes of the same names in the same
    order; where a checkpoint names none, of the same number.

    Raises:
        ModelFileError: the model takes BGR images.
    """
    if model.metadata.channel_order != "rgb":
        raise ModelFileError(
            f"model {model.name} takes images in {model.metadata.channel_order}, and training "
            "gives RGB: start from another model, or without --init"
        )
    torch.manual_seed(settings.seed)
    architecture = replace(model.metadata.architecture, num_classes=len(classes))
    network = BiSeNetV2(architecture, boosters=True)
    for head in (network.head, *network.boosters):
        # As weak as the guess of a new head is. As strong as other layers are drawn, it sends
        # gradients through trained branches that undo in 50 steps what they know.
        nn.init.normal_(head[-1].weight, std=NEW_HEAD_STD)
    before = [entry.name for entry in model.metadata.classes]
    unnamed = [entry.name for entry in numbered_classes(len(before))]
    same_classes = before in ([entry.name for entry in classes], unnamed)
    last_layer = f"head.{len(network.head) - 1}."
    state = network.state_dict()
    left = []
    for name, tensor in model.network.state_dict().items():
        fits = same_classes or not name.startswith(last_layer)
        if fits and name in state and state[name].shape == tensor.shape:
            state[name].copy_(tensor)
        else:
            left.append(name)
    if left:
        logger.warning("not taken from %s, trained anew: %s", model.name, ", ".join(left))
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
