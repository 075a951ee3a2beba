"""Models without training: the same each time, and with healthy activations."""

from collections.abc import Iterator

import pytest
import torch

from bisenet_ros.inference.benchmark.random_model import random_model
from bisenet_ros.model_file import Model


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield random_model("bisenetv2_paper", 7)
    torch.set_num_threads(threads)


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
    for name, tensor in again.network.state_dict().items():
        assert torch.equal(tensor, model.network.state_dict()[name]), name


def test_no_number_is_so_small_that_a_cpu_slows_down(model: Model) -> None:
    outputs: list[torch.Tensor] = []
    for module in model.network.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda _, __, output: outputs.append(output))
    with torch.inference_mode():
        model.network(torch.randn(1, 3, 64, 128))
    assert len(outputs) > 100
    for output in outputs:
        values = output[output != 0].abs()
        assert values.isfinite().all()
        assert values.max() < 1e4
        assert values.min() > torch.finfo(torch.float32).tiny


@pytest.mark.parametrize(
    ("preset", "classes", "message"),
    [("bisenetv1", 19, "'bisenetv1' is none of bisenetv2"), ("bisenetv2", 1, "num_classes is 1")],
)
def test_refused(preset: str, classes: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        random_model(preset, classes)
