"""Comparison of an engine's labels with PyTorch's in fp32, within its rounding errors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
        wrong: list[float] = []
        equal: list[float] = []
        for names in self._batches():
            shares, same = self._compare(run, names, precision)
            limits = [MAX_WRONG] * len(names)
            if precision == "int8" and max(shares) > MAX_WRONG:
                limits = self._int8_limits(names, exact)
            for name, share, limit in zip(names, shares, limits, strict=True):
                if share > limit:
                    raise ParityError(
                        f"in {precision}, {share:.2%} of the labels of the reference image "
                        f"'{name}' differ from PyTorch's fp32 beyond rounding (limit {limit:.2%}); "
                        f"discarding {what}: use another precision or backend"
                    )
            wrong += shares
            equal += same
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

    def _batches(self) -> Iterator[list[str]]:
        """Yield names of images, ``batch_size`` each; the first follow the last to fill a batch."""
        names = list(self.images)
        for first in range(0, len(names), self._batch_size):
            yield [names[(first + place) % len(names)] for place in range(self._batch_size)]

    def _compare(
        self, run: Run, names: Sequence[str], precision: str
    ) -> tuple[list[float], list[float]]:
        """Return the shares of wrong and of equal labels of each image of a batch."""
        labels = run(np.stack([self.images[name] for name in names]))
        compared = [
            self._reference.compare(name, found, MARGINS[precision])
            for name, found in zip(names, labels, strict=True)
        ]
        return [wrong for wrong, _ in compared], [equal for _, equal in compared]

    def _int8_limits(self, names: Sequence[str], exact: Run | None) -> list[float]:
        """Return the largest share of wrong labels in INT8 of each image of a batch."""
        if exact is None:
            return [MAX_WRONG if name == "street" else 1.0 for name in names]
        return [MAX_EXCESS + wrong for wrong in self._compare(exact, names, "int8")[0]]
