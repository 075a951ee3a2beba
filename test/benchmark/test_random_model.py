"""Models with random weights: reproducible, and with normal activations."""

import pytest
import torch

from bisenet_ros.benchmark.random_model import random_model
from bisenet_ros.model.file import Model


@pytest.fixture(scope="module")
def model(one_thread: None) -> Model:
    return random_model("bisenetv2_paper", 7)


def test_it_is_the_preset_with_other_classes(model: Model) -> None:
    architecture = model.metadata.architecture
    assert (architecture.num_classes, architecture.head_channels) == (7, 256)
    assert len(model.metadata.classes) == 7
    assert not model.network.training


def test_it_is_the_same_every_time_and_leaves_the_random_numbers_alone(model: Model) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    again = random_model("bisenetv2_paper", 7)
    assert torch.equal(torch.rand(3), expected)
    assert again.metadata == model.metadata
    for name, tensor in again.network.state_dict().items():
        assert torch.equal(tensor, model.network.state_dict()[name]), name


def test_activations_do_not_fade(model: Model) -> None:
    largest: list[float] = []
    for module in model.network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(lambda *call: largest.append(float(call[2].abs().max())))
    with torch.inference_mode():
        logits = model.network(torch.randn(1, 3, 64, 128))
    assert len(largest) > 50
    assert min(largest) > 0.1
    assert max(largest) < 1000
    assert logits.argmax(1).unique().numel() >= 5


def test_it_is_calibrated(model: Model) -> None:
    convolutions = {
        name
        for name, module in model.network.named_modules()
        if isinstance(module, torch.nn.Conv2d)
    }
    assert model.metadata.calibration.keys() == convolutions


@pytest.mark.parametrize(
    ("preset", "classes", "message"),
    [
        ("bisenetv1", 19, "'bisenetv1' is unknown; use bisenetv2"),
        ("bisenetv2", 1, "num_classes is 1"),
    ],
)
def test_refused(preset: str, classes: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        random_model(preset, classes)
