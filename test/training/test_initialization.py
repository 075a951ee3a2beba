"""Initial model of a run: which weights are loaded and how others are initialized."""

import logging
from dataclasses import replace

import pytest
import torch
from tiny_model import make_model

from bisenet_ros.classes import SemanticClass, check_classes, numbered_classes
from bisenet_ros.errors import ModelFileError
from bisenet_ros.model import file as model_file
from bisenet_ros.training.initialization import start_from
from bisenet_ros.training.settings import Settings

SETTINGS = Settings(seed=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> model_file.Model:
    return model_file.load(make_model(tmp_path_factory.mktemp("start") / "tiny.safetensors"))


def test_new_boosters_on_a_pretrained_network_have_small_logits(model: model_file.Model) -> None:
    network = start_from(model, SETTINGS, model.metadata.classes).network
    assert torch.equal(network.head[2].weight, model.network.head[2].weight)
    assert len(network.boosters) == 4
    network.train()
    with torch.no_grad():
        _, *boosted = network(torch.rand(2, 3, 64, 64))
    for logits in boosted:
        assert 0 < logits.std() < 0.3


def test_bgr_models_are_rejected(model: model_file.Model) -> None:
    metadata = replace(model.metadata, channel_order="bgr")
    with pytest.raises(ModelFileError, match="model tiny takes bgr images, but training uses RGB"):
        start_from(replace(model, metadata=metadata), SETTINGS, model.metadata.classes)


def classes_of(names: list[str]) -> tuple[SemanticClass, ...]:
    return check_classes([SemanticClass(i, name, (i, 0, 0)) for i, name in enumerate(names)])


def test_last_layer_keeps_the_rows_of_classes_of_the_same_name(
    model: model_file.Model, caplog: pytest.LogCaptureFixture
) -> None:
    """The model has sky, road, pole, tree, car."""
    caplog.set_level(logging.INFO)
    names = ["car", "water", "sky", "crop", "road", "robot"]
    network = start_from(model, SETTINGS, classes_of(names)).network
    before, after = model.network.head[2], network.head[2]
    for row, old in ((0, 4), (2, 0), (4, 1)):
        assert torch.equal(after.weight[row], before.weight[old])
        assert after.bias[row] == before.bias[old]
    new = [1, 3, 5]
    assert 0 < after.weight[new].std() < 0.02
    assert not after.bias[new].any()
    assert torch.equal(network.head[0][0].weight, model.network.head[0][0].weight)
    assert caplog.messages == [
        "last layer: loaded from tiny for car, sky, road; initialized for water, crop, robot"
    ]


def test_reordered_classes_have_the_logits_of_their_names(
    model: model_file.Model, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    names = [entry.name for entry in model.metadata.classes]
    network = start_from(model, SETTINGS, classes_of(names[::-1])).network.eval()
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(network(image), model.network(image).flip(1))
    assert not caplog.messages


def test_last_layer_without_a_common_name_is_initialized(
    model: model_file.Model, caplog: pytest.LogCaptureFixture
) -> None:
    network = start_from(model, SETTINGS, classes_of(["crop", "weed"])).network
    assert network.head[2].weight.shape[0] == 2
    assert network.head[2].weight.std() < 0.02
    assert caplog.messages == [
        "no class has the name of one of tiny: the last layer is initialized, not loaded"
    ]


@pytest.mark.parametrize(("count", "kept"), [(5, True), (4, False)])
def test_numbers_are_not_names(
    model: model_file.Model, caplog: pytest.LogCaptureFixture, count: int, kept: bool
) -> None:
    unnamed = replace(model.metadata, classes=numbered_classes(5))
    classes = numbered_classes(count) if count < 5 else model.metadata.classes
    network = start_from(replace(model, metadata=unnamed), SETTINGS, classes).network
    same = torch.equal(network.head[2].weight, model.network.head[2].weight[:count])
    assert same == kept
    assert bool(caplog.messages) != kept
