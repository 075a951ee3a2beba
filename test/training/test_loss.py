"""The loss against its formula, written out pixel by pixel."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bisenet_ros.training.loss import booster_loss, inverse_log_weights


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
def test_sum_of_the_heads_cross_entropies(weights: list[float] | None) -> None:
    generator = torch.Generator().manual_seed(0)
    heads = tuple(torch.randn(2, 3, 4, 5, generator=generator) for _ in range(5))
    labels = torch.randint(0, 3, (2, 4, 5), generator=generator)
    labels[0, :2] = 255
    expected = sum(by_hand(head, labels, weights or [1.0, 1.0, 1.0]) for head in heads)
    actual = booster_loss(heads, labels, None if weights is None else torch.tensor(weights))
    assert actual.item() == pytest.approx(expected, rel=1e-5)


def test_unlabelled_pixels_give_no_gradient() -> None:
    logits = torch.zeros(1, 2, 2, 2, requires_grad=True)
    labels = torch.tensor([[[0, 255], [1, 255]]])
    booster_loss((logits,), labels, None).backward()
    assert logits.grad is not None
    assert (logits.grad[..., 1] == 0).all()
    # Two pixels count, each with probability 1/2: (1/2 - 1) / 2.
    torch.testing.assert_close(logits.grad[0, :, 0, 0], torch.tensor([-0.25, 0.25]))


def test_a_batch_without_labels_changes_nothing() -> None:
    logits = torch.ones(1, 2, 2, 2, requires_grad=True)
    loss = booster_loss((logits, logits), torch.full((1, 2, 2), 255), None)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_inverse_log_weights() -> None:
    # 12 of 16 pixels are class 0, 4 class 1, none class 2; four more have no class.
    first = np.zeros((4, 4), np.uint8)
    second = np.array([[1, 1, 1, 1], [255, 255, 255, 255]], np.uint8)
    first[3] = 255
    raw = [1 / math.log(1.1 + share) for share in (0.75, 0.25, 0.0)]
    mean = 0.75 * raw[0] + 0.25 * raw[1]
    weights = inverse_log_weights([first, second], 3)
    assert weights.tolist() == pytest.approx([w / mean for w in raw], rel=1e-6)
    assert weights.dtype == torch.float32
