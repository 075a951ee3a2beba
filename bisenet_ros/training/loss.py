"""The training loss: cross entropy on the main head and on every booster (section 3.4)."""

from math import log

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bisenet_ros.classes import IGNORE_ID
from bisenet_ros.inference.torch_engine import DTYPES
from bisenet_ros.network import BiSeNetV2, upsample
from bisenet_ros.training.settings import Settings

OHEM_LEAST_SHARE = 1 / 16
"""Minimum share of the labeled pixels that online hard example mining keeps."""


class HeadLosses(nn.Module):
    """Network and loss in one module, so that DistributedDataParallel can wrap both.

    Args:
        network: Network in training mode, with boosters.
        settings: Uses ``precision``, ``ohem``, ``dice`` and ``booster_stride``.
        class_weights: Loss weight of each class, float [C]; None for equal weights.
    """

    def __init__(
        self, network: BiSeNetV2, settings: Settings, class_weights: Tensor | None
    ) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.class_weights = class_weights

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed pixel losses and the summed pixel weights of each head.

        They are returned undivided because the divisor has to be summed over all processes.

        Args:
            images: Normalized images, float [N,3,H,W].
            labels: Class ids, int64 [N,H,W]; 255 is ignored.

        Returns:
            Sum of losses and sum of weights, each float [heads].
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
            # Ignored pixels have weight 0, so any valid index will do.
            weights *= self.class_weights[labels.clamp(max=len(self.class_weights) - 1)]
        losses = functional.cross_entropy(logits, labels, ignore_index=IGNORE_ID, reduction="none")
        if self.settings.ohem:
            weights *= hard_pixels(losses.detach(), counted, self.settings.ohem)
        return (losses * weights).sum(), weights.sum()


def hard_pixels(losses: Tensor, counted: Tensor, probability: float) -> Tensor:
    """Return the mask of hard pixels (online hard example mining, arXiv 1604.03540).

    Hard pixels are those whose true class has a probability below ``probability``. If they are
    fewer than 1/16 of the labeled pixels, the hardest sixteenth is used, as in the public code.

    Args:
        losses: Cross entropy of each pixel.
        counted: Bool mask of labeled pixels, shaped like ``losses``.
        probability: Threshold in (0, 1).

    Returns:
        Bool mask shaped like ``losses``.
    """
    hard = counted & (losses > -log(probability))
    candidates = losses[counted]
    least = int(OHEM_LEAST_SHARE * len(candidates))
    if hard.sum() < least:
        hard = counted & (losses >= candidates.topk(least, sorted=False).values.min())
    return hard


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return 1 minus the mean soft Dice coefficient of the classes present, a scalar.

    As in V-Net (arXiv 1606.04797). It weights all classes equally, however few pixels they have,
    and false positives like false negatives.

    Args:
        logits: Float [N,C,H,W].
        labels: Class ids, int64 [N,H,W]; 255 is ignored.
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
    """Return class weights 1 / ln(1.1 + share), scaled to a mean of 1 over all pixels.

    As in ENet (arXiv 1606.02147, section 5.2). Weights stay within one order of magnitude, where
    inverse frequencies would differ by a factor of a thousand.

    Args:
        pixels: Number of pixels of each class, int64 [C].

    Returns:
        Weights, float32 [C].
    """
    share = pixels / max(1, pixels.sum())
    weights = 1 / np.log(1.1 + share)
    return torch.from_numpy(weights / (weights * share).sum()).float()
