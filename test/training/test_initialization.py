"""Initial model of a run: which weights are loaded and how others are initialized."""

from dataclasses import replace

import pytest
import torch
from tiny_model import make_model

from bisenet_ros.classes import numbered_classes
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


def test_last_layer_is_loaded_only_for_the_same_classes(
    model: model_file.Model, caplog: pytest.LogCaptureFixture
) -> None:
    others = tuple(reversed([entry.name for entry in model.metadata.classes]))
    reordered = tuple(
        replace(entry, name=name)
        for entry, name in zip(model.metadata.classes, others, strict=True)
    )
    network = start_from(model, SETTINGS, reordered).network
    assert "initialized, not loaded from tiny: head.2.weight, head.2.bias" in caplog.text
    assert network.head[2].weight.std() < 0.02
    assert torch.equal(network.head[0][0].weight, model.network.head[0][0].weight)

    caplog.clear()
    unnamed = replace(model.metadata, classes=numbered_classes(len(others)))
    network = start_from(replace(model, metadata=unnamed), SETTINGS, reordered).network
    assert torch.equal(network.head[2].weight, model.network.head[2].weight)
    assert not caplog.text
