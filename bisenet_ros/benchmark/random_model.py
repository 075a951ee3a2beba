"""Models with random weights, to measure the speed of a network before training."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from bisenet_ros.classes import numbered_classes
from bisenet_ros.deploy.calibration import calibrate
from bisenet_ros.errors import UsageError, quoted
from bisenet_ros.model.file import Metadata, Model
from bisenet_ros.model.metadata import vary_architecture
from bisenet_ros.network import PRESETS, Architecture, BiSeNetV2

SEED = 0
_RESOLUTION = 1024, 512
_NOISE = 256, 128
"""(width, height) of the noise images used in place of data."""
_MEAN, _STD = 0.5, 0.25


def random_model(preset: str, num_classes: int) -> Model:
    """Return a model of ``preset`` with random weights, the same in every process.

    Its batch norms have the statistics of noise images, on which it is also calibrated for INT8.
    Otherwise activations would vanish from layer to layer.

    Args:
        preset: a key of ``PRESETS``.
        num_classes: number of classes.

    Raises:
        UsageError: the preset is unknown.
        ModelFileError: the number of classes is not supported.
    """
    if preset not in PRESETS:
        raise UsageError(f"preset {quoted(preset)} is unknown; use {', '.join(PRESETS)}")
    architecture = vary_architecture(PRESETS[preset], num_classes=num_classes)
    name = f"random {preset} of {num_classes} classes"
    return with_random_weights(name, preset, architecture)


def with_random_weights(name: str, preset: str, architecture: Architecture) -> Model:
    """Return a model of any architecture with random weights, see ``random_model``.

    Args:
        name: of the model.
        preset: of which ``architecture`` is a variant, for the metadata.
        architecture: of the network.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        network = BiSeNetV2(architecture).train()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0  # the statistics of the only batch
        noise = _noise()
        network(noise)
    metadata = Metadata(
        preset=preset,
        architecture=architecture,
        classes=numbered_classes(architecture.num_classes),
        mean=(_MEAN, _MEAN, _MEAN),
        std=(_STD, _STD, _STD),
        resolution=_RESOLUTION,
        dataset="none: random weights",
    )
    model = Model(name, network.eval(), metadata)
    pixels = ((noise * _STD + _MEAN).clamp(0, 1) * 255).byte().permute(0, 2, 3, 1)
    calibration = calibrate(model, (image.numpy() for image in pixels), _NOISE)
    return replace(model, metadata=replace(metadata, calibration=calibration))


def _noise() -> Tensor:
    """Return normalized images float32 [8,3,H,W] of random blocks, with different means.

    With equal means, the averages in Context Embedding would be the same for all images.
    """
    width, height = _NOISE
    blocks = torch.randn(8, 3, 1, 1) + torch.randn(8, 3, height // 16, width // 16)
    return functional.interpolate(blocks, (height, width)) + 0.2 * torch.randn(8, 3, height, width)
