"""Losses, compared with their formulas evaluated pixel by pixel."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bisenet_ros.network import BiSeNetV2
from bisenet_ros.training.loss import HeadLosses, dice_loss, hard_pixels, inverse_log_weights
from bisenet_ros.training.settings import Settings

SETTINGS = Settings(precision="fp32", ohem=0.0)


class Heads(BiSeNetV2):
    """Network that returns given logits."""

    def __init__(self, *logits: Tensor) -> None:
        nn.Module.__init__(self)
        self.logits = logits

    def heads(self, image: Tensor) -> tuple[Tensor, ...]:
        return self.logits


def losses(
    logits: tuple[Tensor, ...],
    labels: Tensor,
    weights: Tensor | None = None,
    settings: Settings = SETTINGS,
) -> tuple[Tensor, Tensor]:
    """Return the summed losses and weights of each head."""
    images = torch.zeros(len(labels), 3, *labels.shape[1:])
    sums, totals = HeadLosses(Heads(*logits), settings, weights)(images, labels)
    return sums, totals


def by_hand(logits: Tensor, labels: Tensor, weights: list[float]) -> float:
    total = weight_sum = 0.0
    count, _, height, width = logits.shape
    for n in range(count):
        for y in range(height):
            for x in range(width):
                truth = int(labels[n, y, x])
                if truth == 255:
                    continue
                scores = logits[n, :, y, x].tolist()
                probability = math.exp(scores[truth]) / sum(math.exp(s) for s in scores)
                total -= weights[truth] * math.log(probability)
                weight_sum += weights[truth]
    return total / weight_sum


@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 3.0]])
def test_each_head_has_the_weighted_mean_cross_entropy(weights: list[float] | None) -> None:
    generator = torch.Generator().manual_seed(0)
    heads = tuple(torch.randn(2, 3, 4, 5, generator=generator) for _ in range(5))
    labels = torch.randint(0, 3, (2, 4, 5), generator=generator)
    labels[0, :2] = 255
    expected = [by_hand(head, labels, weights or [1.0, 1.0, 1.0]) for head in heads]
    sums, totals = losses(heads, labels, None if weights is None else torch.tensor(weights))
    assert (sums / totals).tolist() == pytest.approx(expected, rel=1e-5)


def test_heads_are_upsampled_to_the_labels() -> None:
    """A 1x1 logit map gives the same loss at every pixel."""
    logits = torch.tensor([0.0, 2.0]).view(1, 2, 1, 1)
    sums, totals = losses((logits,), torch.ones(1, 8, 16, dtype=torch.int64))
    assert totals.tolist() == [128]
    assert sums.item() == pytest.approx(128 * math.log(1 + math.exp(-2.0)), rel=1e-5)


def test_boosters_use_every_fourth_row_and_column() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[0, 2::4, 2::4] = 1  # the pixels sampled with stride 4
    logits = torch.zeros(1, 2, 8, 8)
    confident = torch.tensor([0.0, 30.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2).contiguous()
    sums, totals = losses((logits, confident), labels, settings=replace(SETTINGS, booster_stride=4))
    assert totals.tolist() == [64, 4]
    assert sums[1].item() == pytest.approx(0, abs=1e-6)


def test_ignored_pixels_have_no_gradient() -> None:
    logits = torch.zeros(1, 2, 2, 2, requires_grad=True)
    labels = torch.tensor([[[0, 255], [1, 255]]])
    sums, totals = losses((logits,), labels, torch.tensor([1.0, 1.0]))
    assert totals.tolist() == [2]
    sums.sum().backward()
    assert logits.grad is not None
    assert (logits.grad[..., 1] == 0).all()
    torch.testing.assert_close(logits.grad[0, :, 0, 0], torch.tensor([-0.5, 0.5]))


@pytest.mark.parametrize("ohem", [0.0, 0.7])
def test_batch_without_labels_has_zero_loss_and_gradient(ohem: float) -> None:
    logits = torch.ones(1, 2, 2, 2, requires_grad=True)
    settings = replace(SETTINGS, ohem=ohem)
    sums, totals = losses((logits,), torch.full((1, 2, 2), 255), settings=settings)
    sums.sum().backward()
    assert (sums.item(), totals.item()) == (0, 0)
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_hard_pixels_have_a_true_class_below_the_probability() -> None:
    probability = torch.tensor([0.99, 0.69, 0.71, 0.1, 0.2])
    counted = torch.tensor([True, True, True, True, False])
    hard = hard_pixels(-probability.log(), counted, 0.7)
    assert hard.tolist() == [False, True, False, True, False]


def test_hard_pixels_are_at_least_a_sixteenth() -> None:
    values = torch.arange(64) / 1000
    counted = torch.arange(64) < 48
    hard = hard_pixels(values, counted, 0.7)
    assert hard.nonzero().flatten().tolist() == [45, 46, 47]


def test_ohem_counts_only_hard_pixels() -> None:
    logits = torch.tensor([[[[5.0, 0.0]], [[0.0, 0.0]]]])
    labels = torch.zeros(1, 1, 2, dtype=torch.int64)
    weights = torch.tensor([3.0, 1.0])
    sums, totals = losses((logits,), labels, weights, replace(SETTINGS, ohem=0.7))
    assert totals.item() == 3
    assert sums.item() == pytest.approx(3 * math.log(2), rel=1e-5)


def test_dice_loss_equals_its_formula() -> None:
    """Probabilities are 3/4 and 1/4 everywhere; classes 0, 1 and 2 have 2, 1 and 0 pixels."""
    logits = torch.tensor([3.0, 1.0, 1e-9]).log().view(1, 3, 1, 1).expand(1, 3, 1, 4)
    labels = torch.tensor([[[0, 0, 1, 255]]])
    first = 2 * (2 * 0.75) / (3 * 0.75 + 2)
    second = 2 * 0.25 / (3 * 0.25 + 1)
    assert dice_loss(logits, labels).item() == pytest.approx(1 - (first + second) / 2, rel=1e-5)


def test_dice_is_added_to_the_main_head_only() -> None:
    generator = torch.Generator().manual_seed(0)
    heads = tuple(torch.randn(2, 3, 4, 4, generator=generator) for _ in range(2))
    labels = torch.randint(0, 3, (2, 4, 4), generator=generator)
    sums, totals = losses(heads, labels)
    with_dice, same = losses(heads, labels, settings=replace(SETTINGS, dice=0.5))
    assert torch.equal(same, totals)
    added = ((with_dice - sums) / totals).tolist()
    assert added == pytest.approx([0.5 * dice_loss(heads[0], labels).item(), 0.0], abs=1e-5)


def test_inverse_log_weights() -> None:
    raw = [1 / math.log(1.1 + share) for share in (0.75, 0.25, 0.0)]
    mean = 0.75 * raw[0] + 0.25 * raw[1]
    weights = inverse_log_weights(np.array([12, 4, 0]))
    assert weights.tolist() == pytest.approx([w / mean for w in raw], rel=1e-6)
    assert weights.dtype == torch.float32
