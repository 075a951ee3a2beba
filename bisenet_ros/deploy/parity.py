"""Compare an engine's labels with PyTorch's in fp32, allowing for the rounding of its precision."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bisenet_ros.deploy.deploy_module import DeployModule
from bisenet_ros.deploy.reference_images import reference_images
from bisenet_ros.deploy.upsample_argmax import upsample_argmax
from bisenet_ros.errors import ParityError
from bisenet_ros.model.file import Model
from bisenet_ros.network import upsample

Run = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Labels uint8 [H,W] of an image uint8 [H,W,3] RGB."""

MARGINS = {"fp32": 0.02, "fp16": 0.02, "bf16": 0.5, "int8": 0.5}
"""How far PyTorch's logit of an acceptable label may lie under its best one, in standard
deviations of the logits of a pixel. fp32 is TF32 on a GPU, which has the digits of fp16."""

MAX_WRONG = 0.01
"""Largest share of wrong labels of a reference image. Good engines of trained and random networks
have none in fp32 and at most 0.002 in bf16; of labels 4 pixels beside their place, 0.07 to 0.27
are wrong in fp32 and 0.03 to 0.08 in int8."""

MAX_EXCESS = 0.02
"""How much more INT8 may have than the exact computation of the same file. Good engines have at
most 0.009 more; INT8 that saturates has 0.1 to 0.6 more on several of the images."""


@dataclass(frozen=True)
class Parity:
    """How the labels of the reference images compare with PyTorch's, as shares 0..1 of all pixels.

    - ``equal``: the same label.
    - ``wrong``: another label than the precision explains (``MARGINS``).
    """

    equal: float
    wrong: float


class ParityCheck:
    """PyTorch's logits of the reference images, and the comparison of an engine's labels with them.

    A label is wrong if it is another one than PyTorch's, whose logit for it is further below the
    best one than the precision explains. Counting mismatches would penalize low-margin pixels, and
    every model is unsure of pictures unlike those that it was trained on.

    The logits are computed at the first comparison and kept, for several engines of one model.
    """

    def __init__(self, model: Model, resolution: tuple[int, int]) -> None:
        self._model = model
        self._resolution = resolution

    def __call__(self, run: Run, precision: str, what: str, exact: Run | None = None) -> Parity:
        """Return how the labels of ``run`` compare.

        Args:
            run: the engine.
            precision: what it computes in, one of ``precision.PRECISIONS``.
            what: for the error, such as "the engine".
            exact: for INT8, the exact computation of the file that the engine was made from. A
                quantized network may itself be far from fp32 on such images; with ``exact`` the
                engine may be as far, and ``MAX_EXCESS`` more. Without, INT8 is judged by the plain
                street alone.

        Raises:
            ParityError: an image has too many wrong labels.
        """
        wrong, equal = [], []
        for name in self.images:
            share, same = self._compare(run, name, precision)
            limit = MAX_WRONG
            if share > limit and precision == "int8":
                limit = 1.0 if name != "street" else limit
                if exact is not None:
                    limit = MAX_EXCESS + self._compare(exact, name, precision)[0]
            if share > limit:
                raise ParityError(
                    f"in {precision}, {share:.2%} of the labels of the reference image '{name}' "
                    f"differ from PyTorch's fp32 beyond rounding (limit {limit:.2%}); discarding "
                    f"{what}: use another precision or backend"
                )
            wrong.append(share)
            equal.append(same)
        return Parity(equal=float(np.mean(equal)), wrong=float(np.mean(wrong)))

    @cached_property
    def images(self) -> Mapping[str, NDArray[np.uint8]]:
        """See ``reference_images``."""
        return reference_images(self._resolution)

    @cached_property
    def _logits(self) -> dict[str, Tensor]:
        """float32 [1,C,H/8,W/8] of each image."""
        deployed = DeployModule(self._model).on("cpu")
        with torch.inference_mode():
            return {
                name: deployed.logits(torch.from_numpy(image[None]))
                for name, image in self.images.items()
            }

    def _compare(self, run: Run, name: str, precision: str) -> tuple[float, float]:
        """Shares of wrong and of equal labels of one image."""
        labels = torch.from_numpy(run(self.images[name]).astype(np.int64))
        with torch.inference_mode():
            logits = self._logits[name]
            spread = logits.std(dim=1).square().mean().sqrt()
            # What the definition itself gives is right, where it picks another class, too.
            expected = upsample_argmax(logits)[0][0].long()
            logits = upsample(logits, tuple(labels.shape))[0]
            known = labels.clamp(max=len(logits) - 1)
            below = logits.amax(dim=0) - logits.gather(0, known[None])[0]
            wrong = ((below > MARGINS[precision] * spread) & (labels != expected)) | (
                labels != known
            )
            return float(wrong.double().mean()), float((labels == expected).double().mean())
