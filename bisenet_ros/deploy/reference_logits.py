"""PyTorch's logits of the reference images, and the comparison of labels with them."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from bisenet_ros.deploy.deploy_module import DeployModule
from bisenet_ros.deploy.upsample_argmax import upsample_argmax
from bisenet_ros.model.file import Model
from bisenet_ros.network import upsample


class ReferenceLogits:
    """Logits of images in fp32 on the CPU, float32 [1,C,H/8,W/8].

    Args:
        model: what computes them.
        images: uint8 [H,W,3] RGB by name.
    """

    def __init__(self, model: Model, images: Mapping[str, NDArray[np.uint8]]) -> None:
        deployed = DeployModule(model).on("cpu")
        with torch.inference_mode():
            self._logits = {
                name: deployed.logits(torch.from_numpy(image[None]))
                for name, image in images.items()
            }

    def compare(self, name: str, found: NDArray[np.uint8], margin: float) -> tuple[float, float]:
        """Return the shares of wrong and of equal labels of the image ``name``.

        Args:
            name: of the image.
            found: labels of an engine, uint8 [H,W].
            margin: see ``parity.MARGINS``.
        """
        labels = torch.from_numpy(found.astype(np.int64))
        with torch.inference_mode():
            logits = self._logits[name]
            spread = logits.std(dim=1).square().mean().sqrt()
            # The candidates of upsample_argmax are the reference, even where they miss a class.
            expected = upsample_argmax(logits)[0][0].long()
            logits = upsample(logits, tuple(labels.shape))[0]
            known = labels.clamp(max=len(logits) - 1)
            below = logits.amax(dim=0) - logits.gather(0, known[None])[0]
            wrong = ((below > margin * spread) & (labels != expected)) | (labels != known)
            return float(wrong.double().mean()), float((labels == expected).double().mean())
