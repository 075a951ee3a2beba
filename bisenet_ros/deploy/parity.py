"""Comparison of an engine's labels with PyTorch's in fp32, within its rounding errors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.errors import ParityError
from bisenet_ros.model.file import Model

if TYPE_CHECKING:
    from bisenet_ros.deploy.reference_logits import ReferenceLogits

Run = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Returns labels uint8 [N,H,W] of images uint8 [N,H,W,3] RGB."""

MARGINS = {"fp32": 0.02, "fp16": 0.02, "bf16": 0.5, "int8": 0.5}
"""Maximum distance of an acceptable label's logit from PyTorch's best, in standard deviations of
a pixel's logits. On a GPU, fp32 is TF32, which has the mantissa of fp16."""

MAX_WRONG = 0.01
"""Largest share of wrong labels in a reference image. Correct engines of trained and random
networks have none in fp32 and at most 0.002 in bf16. If labels are shifted by 4 pixels, 0.07 to
0.27 are wrong in fp32 and 0.03 to 0.08 in int8."""

MAX_EXCESS = 0.02
"""Largest share of wrong labels that INT8 may have in excess of exact evaluation of the same file.
Correct engines have at most 0.009, saturating ones 0.1 to 0.6 on several images."""


@dataclass(frozen=True)
class Parity:
    """Agreement of the labels of the reference images with PyTorch's, as shares 0..1 of the pixels.

    - ``equal``: pixels with the same label.
    - ``wrong``: pixels with a label that rounding cannot explain (``MARGINS``).
    """

    equal: float
    wrong: float


class ParityCheck:
    """Compare the labels of engines with PyTorch's logits of the reference images.

    A label is wrong if it differs from PyTorch's and PyTorch's logit for it is further below the
    best one than rounding explains. Counting mismatches would penalize low-margin pixels, of which
    a model has many on images unlike its training data.

    Images and logits are computed at the first comparison and shared by all engines of the model;
    what they need, such as PyTorch, is imported then, since engines in the cache need no check.

    Args:
        model: the reference.
        resolution: (width, height) of the images in pixels.
        batch_size: number of images that the engines take at once.
    """

    def __init__(self, model: Model, resolution: tuple[int, int], batch_size: int = 1) -> None:
        self._model = model
        self._resolution = resolution
        self._batch_size = batch_size

    def __call__(self, run: Run, precision: str, what: str, exact: Run | None = None) -> Parity:
        """Return the agreement of the labels of ``run``.

        Args:
            run: the engine.
            precision: of the engine, one of ``precision.PRECISIONS``.
            what: name of the engine for the error, such as "the engine".
            exact: for INT8, exact evaluation of the engine's graph. A quantized network may itself
                be far from fp32 on these images; the engine may have ``MAX_EXCESS`` more wrong
                labels than ``exact``. Without it, INT8 is judged by the plain street only.

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
        """Images uint8 [H,W,3] RGB by name, see ``reference_images``."""
        from bisenet_ros.deploy.reference_images import reference_images

        return reference_images(self._resolution)

    @cached_property
    def _reference(self) -> "ReferenceLogits":
        from bisenet_ros.deploy.reference_logits import ReferenceLogits

        return ReferenceLogits(self._model, self.images)

    def _compare(self, run: Run, name: str, precision: str) -> tuple[float, float]:
        """Return the shares of wrong and of equal labels of one image."""
        # Each image has another place in the batch, and all others have other images.
        names = list(self.images)
        number = names.index(name)
        place = number % self._batch_size
        others = (names[(number - place + i) % len(names)] for i in range(self._batch_size))
        labels = run(np.stack([self.images[each] for each in others]))[place]
        return self._reference.compare(name, labels, MARGINS[precision])
