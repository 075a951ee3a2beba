"""The training loss: cross entropy on the main head and on every booster (section 3.4)."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bisenet_ros.classes import UNLABELLED


def booster_loss(
    logits: tuple[Tensor, ...], labels: Tensor, class_weights: Tensor | None
) -> Tensor:
    """Sum over the heads of the cross entropy, each with weight 1.

    Args:
        logits: float [N,C,H,W] of each head.
        labels: int64 [N,H,W], 255 where a pixel does not count.
        class_weights: float [C], or none for equal ones.

    Returns:
        A scalar; 0 where no pixel counts.
    """
    if (labels == UNLABELLED).all():  # a mean over no pixels would be NaN
        return torch.stack([0 * head.sum() for head in logits]).sum()
    losses = [
        functional.cross_entropy(head, labels, class_weights, ignore_index=UNLABELLED)
        for head in logits
    ]
    return torch.stack(losses).sum()


def inverse_log_weights(labels: Iterable[NDArray[np.uint8]], num_classes: int) -> Tensor:
    """Weight 1 / ln(1.1 + share) for each class, scaled to a mean of 1 over the pixels.

    After ENet (arXiv 1606.02147, section 5.2): a class that fills 0.1 % of the pixels counts
    several times one that fills a third, and not a thousand times.
    """
    counts = np.zeros(256, np.int64)
    for image in labels:
        counts += np.bincount(image.ravel(), minlength=256)
    share = counts[:num_classes] / max(1, counts[:num_classes].sum())
    weights = 1 / np.log(1.1 + share)
    return torch.from_numpy(weights / (weights * share).sum()).float()
