"""Learning rate against numbers worked out by hand; weight decay where the paper has it."""

import pytest
import torch

from bisenet_ros.network import Architecture, BiSeNetV2
from bisenet_ros.training.schedule import learning_rate, make_optimizer
from bisenet_ros.training.settings import Settings


@pytest.mark.parametrize(
    ("iteration", "expected"),
    [(0, 0.05), (500, 0.02679434), (900, 0.00629463), (999, 0.0000997631)],
)
def test_poly(iteration: int, expected: float) -> None:
    settings = Settings(learning_rate=0.05, poly_power=0.9, iterations=1000)
    assert learning_rate(iteration, settings) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("iteration", "expected"),
    [(0, 0.2), (1, 0.4 * 0.9), (3, 0.8 * 0.7), (4, 0.6), (5, 0.5), (9, 0.1)],
)
def test_warm_up_rises_linearly_and_meets_the_schedule(iteration: int, expected: float) -> None:
    settings = Settings(learning_rate=1.0, poly_power=1.0, iterations=10, warmup_iterations=4)
    assert learning_rate(iteration, settings) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_only_convolution_weights_decay(name: str) -> None:
    network = BiSeNetV2(Architecture(num_classes=2, head_channels=16), boosters=True)
    convolutions = {id(m.weight) for m in network.modules() if isinstance(m, torch.nn.Conv2d)}
    optimizer = make_optimizer(network, Settings(optimizer=name, weight_decay=0.01))
    decayed, rest = optimizer.param_groups
    assert {id(p) for p in decayed["params"]} == convolutions
    assert decayed["weight_decay"] == 0.01
    assert rest["weight_decay"] == 0
    grouped = [id(p) for p in decayed["params"] + rest["params"]]
    assert sorted(grouped) == sorted(id(p) for p in network.parameters())


def test_the_paper_s_optimizer() -> None:
    optimizer = make_optimizer(torch.nn.Conv2d(3, 3, 3), Settings())
    assert isinstance(optimizer, torch.optim.SGD)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.05, 0.9, 5e-4)
