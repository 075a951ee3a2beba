"""The deployed module against the network with pre- and postprocessing by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from bisenet_ros.deploy.deploy_module import DeployModule, fold_batch_norms
from bisenet_ros.model import file as model_file
from bisenet_ros.model.file import Model

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Model:
    return model_file.load(tiny_model)


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    """Image uint8 [1,72,136,3]: neither square nor of the model's resolution."""
    blocks = np.random.default_rng(3).integers(0, 256, (9, 17, 3), np.uint8)
    return torch.from_numpy(blocks.repeat(8, 0).repeat(8, 1)[None])


def logits_by_hand(model: Model, pixels: np.ndarray) -> torch.Tensor:
    """Compute labels of uint8 [H,W,3] in the model's channel order by definition."""
    mean, std = np.array(model.metadata.mean), np.array(model.metadata.std)
    normalized = (pixels / 255.0 - mean) / std
    x = torch.from_numpy(normalized.transpose(2, 0, 1)[None].astype(np.float32))
    with torch.inference_mode():
        return model.network.eval()(x)


def test_labels_and_confidence_are_those_of_the_network(model: Model, image: torch.Tensor) -> None:
    labels, confidence = DeployModule(model, confidence=True)(image)
    assert (labels.shape, labels.dtype) == ((1, 72, 136), torch.uint8)
    assert (confidence.shape, confidence.dtype) == ((1, 72, 136), torch.uint8)
    logits = logits_by_hand(model, image[0].numpy())
    assert set(labels.unique().tolist()) == set(range(5))
    assert (labels == logits.argmax(1)).float().mean() >= 0.9999
    probability = functional.softmax(logits, 1).amax(1)
    assert (confidence.float() / 255 - probability).abs().max() <= 0.5 / 255 + 1e-3
    assert confidence.min() >= 255 // 5  # the most probable of five
    assert confidence.float().std() > 5


def test_without_confidence_there_are_only_labels(model: Model, image: torch.Tensor) -> None:
    (labels,) = DeployModule(model)(image)
    torch.testing.assert_close(labels, DeployModule(model, confidence=True)(image)[0])


def test_bgr_models_get_bgr(model: Model, image: torch.Tensor) -> None:
    bgr = Model("bgr", model.network, replace(model.metadata, channel_order="bgr"))
    (labels,) = DeployModule(bgr)(image)
    by_hand = logits_by_hand(model, image[0].numpy()[..., ::-1]).argmax(1)
    assert (labels == by_hand).float().mean() >= 0.9999
    assert (labels == DeployModule(model)(image)[0]).float().mean() < 0.9


def test_deploying_leaves_the_model_alone(model: Model) -> None:
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    DeployModule(model, dtype=torch.bfloat16)
    after = model.network.state_dict()
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=0)


def test_folding_gives_the_same_and_leaves_no_batch_norm_behind_a_convolution(
    model: Model, image: torch.Tensor
) -> None:
    torch.manual_seed(0)
    reference = DeployModule(model).network  # a copy to spoil
    network = type(reference)(model.metadata.architecture).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        before = network(x)
        count = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
        fold_batch_norms(network)
        left = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
        after = network(x)
    assert left < count / 10
    assert before.std() > 0.01
    assert (after - before).abs().max() / before.abs().max() <= 1e-5


def test_bf16_agrees_with_fp32_where_the_network_is_sure(model: Model, image: torch.Tensor) -> None:
    (labels,) = DeployModule(model)(image)
    (coarse,) = DeployModule(model, dtype=torch.bfloat16)(image)
    agree = (labels == coarse).float()
    first, second = logits_by_hand(model, image[0].numpy()).softmax(1).topk(2, 1).values.unbind(1)
    sure = first - second > 0.1
    assert agree.mean() >= 0.93
    assert sure.float().mean() > 0.3
    assert agree[sure].mean() >= 0.999
