"""The training loss: cross entropy on the main head and on every booster (section 3.4)."""

from math import log

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bisenet_ros.classes import IGNORE_ID
from bisenet_ros.inference.torch_backend import DTYPES
from bisenet_ros.network import BiSeNetV2, upsample
from bisenet_ros.training.settings import Settings

OHEM_LEAST_SHARE = 1 / 16
"""Online hard example mining counts at least this share of the labelled pixels, the hardest."""


class HeadLosses(nn.Module):
    """The network with its loss, as one module: what data-parallel training wraps.

    Args:
        network: in training mode, with its boosters.
        settings: ``precision``, ``ohem``, ``dice`` and ``booster_stride`` are used.
        class_weights: float [C], or none for equal ones.
    """

    def __init__(
        self, network: BiSeNetV2, settings: Settings, class_weights: Tensor | None
    ) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.class_weights = class_weights

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the pixels' losses and sum of their weights, each float [heads].

        ``images`` is normalized, float [N,3,H,W]; ``labels`` int64 [N,H,W], 255 where a pixel
        does not count. Not yet divided, since the divisor is a sum over all processes.
        """
        dtype = DTYPES[self.settings.precision]
        with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
            main, *boosters = self.network.heads(images)
        step = self.settings.booster_stride
        coarse = labels[:, step // 2 :: step, step // 2 :: step]
        heads = [upsample(main, labels.shape[1:])]
        heads += [upsample(logits, coarse.shape[1:]) for logits in boosters]
        truths = [labels] + [coarse] * len(boosters)
        sums, weights = zip(*map(self._cross_entropy, heads, truths), strict=True)
        main_sum, *booster_sums = sums
        if self.settings.dice:
            dice = dice_loss(heads[0], labels)
            main_sum = main_sum + self.settings.dice * weights[0] * dice
        return torch.stack([main_sum, *booster_sums]), torch.stack(weights)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        counted = labels != IGNORE_ID
        weights = counted.float()
        if self.class_weights is not None:
            # Any index will do where the weight is 0 already.
            weights *= self.class_weights[labels.clamp(max=len(self.class_weights) - 1)]
        losses = functional.cross_entropy(logits, labels, ignore_index=IGNORE_ID, reduction="none")
        if self.settings.ohem:
            weights *= hard_pixels(losses.detach(), counted, self.settings.ohem)
        return (losses * weights).sum(), weights.sum()


def hard_pixels(losses: Tensor, counted: Tensor, probability: float) -> Tensor:
    """Online hard example mining (arXiv 1604.03540): which pixels count, bool like ``losses``.

    Those whose true class has less than ``probability``; where they are too few, the hardest
    sixteenth, as in the public code.

    Args:
        losses: cross entropy of each pixel.
        counted: bool, which pixels have a label.
        probability: in (0, 1).
    """
    hard = counted & (losses > -log(probability))
    candidates = losses[counted]
    least = int(OHEM_LEAST_SHARE * len(candidates))
    if hard.sum() < least:
        hard = counted & (losses >= candidates.topk(least, sorted=False).values.min())
    return hard


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """One less the mean over the present classes of the soft Dice coefficient, a scalar.

    After V-Net (arXiv 1606.04797): overlap itself, in which a class counts the same however few
    pixels it has, and a pixel too many costs as much as one too few.

    Args:
        logits: float [N,C,H,W].
        labels: int64 [N,H,W], 255 where a pixel does not count.
    """
    counted = (labels != IGNORE_ID).unsqueeze(1)
    probability = logits.softmax(dim=1) * counted
    truth = torch.zeros_like(probability)
    truth.scatter_(1, labels.clamp(max=logits.shape[1] - 1).unsqueeze(1), 1.0)
    truth *= counted
    overlap = (probability * truth).sum((0, 2, 3))
    size = probability.sum((0, 2, 3)) + truth.sum((0, 2, 3))
    present = truth.amax((0, 2, 3))
    coefficients = present * 2 * overlap / size.clamp(min=1)
    return 1 - coefficients.sum() / present.sum().clamp(min=1)


def inverse_log_weights(pixels: NDArray[np.int64]) -> Tensor:
    """Weight 1 / ln(1.1 + share) for each class, scaled to a mean of 1 over the pixels.

    After ENet (arXiv 1606.02147, section 5.2): a class that fills 0.1 % of the pixels counts
    several times one that fills a third, and not a thousand times.

    Args:
        pixels: of each class, int64 [C].

    Returns:
        float32 [C].
    """
    share = pixels / max(1, pixels.sum())
    weights = 1 / np.log(1.1 + share)
    return torch.from_numpy(weights / (weights * share).sum()).float()
