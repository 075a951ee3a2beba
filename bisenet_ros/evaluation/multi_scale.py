"""Labels from several sizes of an image and its mirror image: slower, and a little better."""

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
from bisenet_ros.inference.torch_backend import DTYPES


class MultiScale:
    """The mean of the class probabilities at several sizes of the network's input.

    It runs a copy of ``segmenter``'s network in PyTorch, since an engine gives labels and a mean
    needs probabilities. They are averaged at the segmenter's resolution, so that scale 1 alone
    labels as the segmenter does.

    Args:
        segmenter: of the torch backend; model, resolution, device and precision are its own.
        scales: factors of the resolution, each size rounded to a multiple of 8.
        flip: add the mirror image at each scale.

    Raises:
        InferenceError: another backend, or no or unusable scales.
    """

    def __init__(self, segmenter: Segmenter, scales: Sequence[float], flip: bool) -> None:
        backend = segmenter.backend
        if backend.name != "torch":
            raise InferenceError(
                f"several scales and flipping need class probabilities, and backend "
                f"{quoted(backend.name)} gives labels only; take backend torch"
            )
        if not scales or not all(0 < scale < math.inf for scale in scales):
            raise InferenceError(f"scales {list(scales)} must be at least one, each positive")
        self.resolution = segmenter.resolution
        self.sizes = [_scaled(self.resolution, scale) for scale in scales]
        self.flip = flip
        self._device = backend.device
        deployed = DeployModule(segmenter.model, dtype=DTYPES[backend.precision])
        self._deployed = deployed.on(backend.device)

    @torch.inference_mode()
    def labels(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Label ``image``, uint8 [H,W,3] RGB; class ids uint8 [H,W]."""
        width, height = self.resolution
        total = torch.zeros((), device=self._device)
        for size in self.sizes:
            resized = resize_image(image, size)
            x = torch.from_numpy(resized).to(self._device).unsqueeze(0)
            for mirrored in (False, True) if self.flip else (False,):
                logits = self._deployed.logits(x.flip(2) if mirrored else x)
                # To the one size of all scales, of which theirs are no simple fractions.
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
