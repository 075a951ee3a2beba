"""A model without training, to measure a network's speed before there are weights."""

from dataclasses import replace

import torch
from torch import nn

from bisenet_ros.classes import numbered_classes
from bisenet_ros.model_file import Metadata, Model
from bisenet_ros.network import PRESETS, BiSeNetV2

SEED = 0
_RESOLUTION = 1024, 512
_SAMPLE = 2, 3, 256, 512
"""Shape of the noise that batch norms take their statistics from."""


def random_model(preset: str, num_classes: int) -> Model:
    """The network of ``preset`` with random weights, the same in every process.

    Batch norms have the statistics of noise, without which activations grow from layer to layer,
    sigmoids saturate, and numbers so small come of it that a CPU is slow with them.

    Raises:
        ValueError: no such preset, or it cannot have so many classes.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset '{preset}' is none of {', '.join(PRESETS)}")
    architecture = replace(PRESETS[preset], num_classes=num_classes)
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(SEED)
        network = BiSeNetV2(architecture).train()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0  # the statistics of the one batch that comes
        network(torch.randn(_SAMPLE))
    metadata = Metadata(
        preset=preset,
        architecture=architecture,
        classes=numbered_classes(num_classes),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        resolution=_RESOLUTION,
        dataset="none: random weights",
    )
    return Model(f"random {preset} of {num_classes} classes", network.eval(), metadata)
