"""Learning-rate schedule, optimizer, precision, and steps of the trainer."""

import copy
from dataclasses import replace

import pytest
import torch

from bisenet_ros.errors import TrainingError
from bisenet_ros.inference.cpu import has_native_bf16
from bisenet_ros.inference.torch_backend import TorchBackend
from bisenet_ros.network import Architecture, BiSeNetV2
from bisenet_ros.training.distributed import DistributedContext
from bisenet_ros.training.initialization import new_start
from bisenet_ros.training.loss import HeadLosses
from bisenet_ros.training.settings import Precision, Settings
from bisenet_ros.training.trainer import Trainer, learning_rate, make_optimizer, resolve_precision


@pytest.mark.parametrize(
    ("iteration", "expected"),
    [(0, 0.05), (500, 0.02679434), (900, 0.00629463), (999, 0.0000997631)],
)
def test_poly_schedule(iteration: int, expected: float) -> None:
    settings = Settings(learning_rate=0.05, poly_power=0.9, iterations=1000)
    assert learning_rate(iteration, settings) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("iteration", "expected"),
    [(0, 0.2), (1, 0.4 * 0.9), (3, 0.8 * 0.7), (4, 0.6), (5, 0.5), (9, 0.1)],
)
def test_linear_warm_up_joins_the_schedule(iteration: int, expected: float) -> None:
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


def test_default_optimizer_is_the_paper_s() -> None:
    optimizer = make_optimizer(torch.nn.Conv2d(3, 3, 3), Settings())
    assert isinstance(optimizer, torch.optim.SGD)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.05, 0.9, 5e-4)


def test_auto_precision_is_native_on_this_cpu() -> None:
    native = "bf16" if has_native_bf16() else "fp32"
    assert Settings().precision == "auto"
    assert resolve_precision(Settings(), DistributedContext("cpu")).precision == native


@pytest.mark.parametrize(
    ("device", "native", "expected"),
    [
        ("cpu", ("bf16", "fp32"), "bf16"),
        ("cpu", ("fp32",), "fp32"),
        ("cuda:0", ("fp16", "bf16", "fp32"), "bf16"),
        ("cuda:0", ("fp16", "fp32"), "fp16"),
    ],
)
def test_auto_precision_by_device(
    monkeypatch: pytest.MonkeyPatch, device: str, native: tuple[str, ...], expected: str
) -> None:
    monkeypatch.setattr(TorchBackend, "native_precisions", lambda device: native)
    assert resolve_precision(Settings(), DistributedContext(device)).precision == expected


@pytest.mark.parametrize("asked", ["bf16", "fp16", "fp32"])
def test_explicit_precision_is_kept(asked: Precision) -> None:
    settings = Settings(precision=asked)
    assert resolve_precision(settings, DistributedContext("cpu")) == settings


SETTINGS = Settings(
    head_channels=16,
    resolution=(64, 64),
    crop=(64, 64),
    learning_rate=0.01,
    warmup_iterations=2,
    batch_size=4,
    grad_accum_steps=2,
    iterations=10,
    precision="fp32",
)


def batch(seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return a batch of noise in two micro-batches."""
    random = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=random),
            torch.randint(0, 2, (2, 64, 64), dtype=torch.uint8, generator=random),
        )
        for _ in range(2)
    ]


def test_step_follows_the_schedule_and_advances_the_iteration() -> None:
    trainer = Trainer(new_start(SETTINGS, 2), SETTINGS)
    assert (trainer.iteration, trainer.learning_rate) == (0, pytest.approx(0.01 / 3))
    before = trainer.network.head[2].weight.detach().clone()
    trainer.step(batch(0))
    rates = [group["lr"] for group in trainer.optimizer.param_groups]
    assert rates == [learning_rate(0, SETTINGS)] * 2
    assert (trainer.iteration, trainer.between_steps) == (1, True)
    assert trainer.learning_rate == learning_rate(1, SETTINGS)
    assert not torch.equal(trainer.network.head[2].weight, before)


def test_loss_is_the_mean_over_micro_batches_of_normalized_images() -> None:
    start = replace(new_start(SETTINGS, 2), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    network = copy.deepcopy(start.network).to(memory_format=torch.channels_last)
    losses = HeadLosses(network, SETTINGS, None)
    torch.manual_seed(0)  # as in the first iteration, for dropout
    expected = []
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (start.mean, start.std))
    for images, labels in batch(0):
        x = ((images / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
        sums, weights = losses(x, labels.long())
        expected.append((sums / weights).sum().item())
    loss = Trainer(start, SETTINGS).step(batch(0))
    assert loss == pytest.approx(sum(expected) / 2, rel=1e-5)
    assert expected[0] != pytest.approx(expected[1], rel=1e-3)


def test_next_step_after_loading_a_checkpoint_is_identical() -> None:
    first = Trainer(new_start(SETTINGS, 2), SETTINGS)
    first.step(batch(0))
    first.step(batch(1))
    checkpoint = copy.deepcopy(first.checkpoint({}))
    loss = first.step(batch(2))

    second = Trainer(new_start(replace(SETTINGS, seed=1), 2), SETTINGS)
    second.load(checkpoint)
    assert second.iteration == 2
    assert second.step(batch(2)) == loss
    weights, expected = second.network.state_dict(), first.network.state_dict()
    assert [name for name in expected if not torch.equal(weights[name], expected[name])] == []


def test_diverged_step_leaves_no_checkpoint() -> None:
    trainer = Trainer(new_start(SETTINGS, 2), SETTINGS)
    with torch.no_grad():
        trainer.network.head[2].bias.fill_(torch.nan)
    with pytest.raises(TrainingError, match="loss is nan at iteration 1: lower the learning_rate"):
        trainer.step(batch(0))
    assert (trainer.iteration, trainer.between_steps) == (0, False)
    with pytest.raises(TrainingError, match="weights are not finite at iteration 0"):
        trainer.checkpoint({})
