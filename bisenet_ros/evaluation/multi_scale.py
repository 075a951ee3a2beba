"""Multi-scale and flip inference: slower, and slightly more accurate."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from bisenet_ros.deploy.deploy_module import DeployModule
from bisenet_ros.errors import InferenceError, quoted
from bisenet_ros.images.resize import resize_image, resize_labels
from bisenet_ros.inference.segmenter import Segmenter
from bisenet_ros.inference.torch_engine import DTYPES


class MultiScale:
    """Average class probabilities over several sizes of the network's input.

    It runs a copy of the segmenter's network in PyTorch, since engines return labels instead of
    probabilities. They are averaged at the segmenter's resolution, so scale 1 alone gives the
    segmenter's labels.

    Args:
        segmenter: has model, resolution, device and precision; its backend must be torch.
        scales: factors of the resolution; each size is rounded to a multiple of 8.
        flip: add the mirror image at each scale.

    Raises:
        InferenceError: the backend is not torch, or ``scales`` is empty or not positive.
    """

    def __init__(self, segmenter: Segmenter, scales: Sequence[float], flip: bool) -> None:
        backend = segmenter.backend
        if backend.name != "torch":
            raise InferenceError(
                f"multi-scale and flip inference need class probabilities, and backend "
                f"{quoted(backend.name)} returns only labels; use backend torch"
            )
        if not scales or not all(0 < scale < math.inf for scale in scales):
            raise InferenceError(f"scales {list(scales)}: give one or more positive numbers")
        self.resolution = segmenter.resolution
        self.sizes = [_scaled(self.resolution, scale) for scale in scales]
        self.flip = flip
        self._device = backend.device
        deployed = DeployModule(segmenter.model, dtype=DTYPES[backend.precision])
        self._deployed = deployed.on(backend.device)

    @torch.inference_mode()
    def labels(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return class ids uint8 [H,W] of ``image``, uint8 [H,W,3] RGB."""
        width, height = self.resolution
        total = torch.zeros((), device=self._device)
        for size in self.sizes:
            resized = resize_image(image, size)
            x = torch.from_numpy(resized).to(self._device).unsqueeze(0)
            for mirrored in (False, True) if self.flip else (False,):
                logits = self._deployed.logits(x.flip(2) if mirrored else x)
                # To the common size, which is no multiple of the logits' size at other scales.
                logits = functional.interpolate(
                    logits.float(), (height, width), mode="bilinear", align_corners=False
                )
                probabilities = logits.softmax(dim=1)
                total = total + (probabilities.flip(3) if mirrored else probabilities)
        labels = total.argmax(dim=1)[0].to(torch.uint8).cpu().numpy()
        return resize_labels(labels, (image.shape[1], image.shape[0]))


def _scaled(resolution: tuple[int, int], scale: float) -> tuple[int, int]:
    width, height = (max(32, 8 * round(side * scale / 8)) for side in resolution)
    return width, height
