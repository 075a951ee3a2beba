"""Where a run starts: what is taken over, and how strong the rest is."""

from dataclasses import replace

import pytest
import torch
from tiny_model import make_model

from bisenet_ros import model_file
from bisenet_ros.metadata import ModelFileError
from bisenet_ros.training.settings import Settings
from bisenet_ros.training.start import start_from

SETTINGS = Settings(seed=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> model_file.Model:
    return model_file.load(make_model(tmp_path_factory.mktemp("start") / "tiny.safetensors"))


def test_boosters_of_a_trained_network_begin_as_weak_guesses(model: model_file.Model) -> None:
    network = start_from(model, SETTINGS, len(model.metadata.classes)).network
    assert torch.equal(network.head[2].weight, model.network.head[2].weight)
    assert len(network.boosters) == 4
    network.train()
    with torch.no_grad():
        _, *boosted = network(torch.rand(2, 3, 64, 64))
    for logits in boosted:
        assert 0 < logits.std() < 0.3


def test_bgr_models_are_refused(model: model_file.Model) -> None:
    metadata = replace(model.metadata, channel_order="bgr")
    with pytest.raises(ModelFileError, match="model tiny takes images in bgr"):
        start_from(replace(model, metadata=metadata), SETTINGS, 5)
