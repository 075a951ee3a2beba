"""Three models whose engines are compared with PyTorch: trained, random, and narrow."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from bisenet_ros.benchmark.random_model import random_model, with_random_weights
from bisenet_ros.model import file as model_file
from bisenet_ros.model.file import Model
from bisenet_ros.network import PRESETS
from bisenet_ros.resources import model_path


def narrow() -> Model:
    """Few channels, so that rounding errors of each layer are larger."""
    architecture = replace(
        PRESETS["bisenetv2"],
        num_classes=5,
        lambda_=Fraction(1, 16),
        epsilon=1,
        head_channels=16,
    )
    return with_random_weights("narrow", "bisenetv2", architecture)


MODELS: dict[str, Callable[[], Model]] = {
    "shipped": lambda: model_file.load(model_path("")),
    "random": lambda: random_model("bisenetv2", 19),
    "narrow": narrow,
}
