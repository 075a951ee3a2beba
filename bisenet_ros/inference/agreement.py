"""Whether an engine labels as PyTorch does, but for what its precision explains."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from bisenet_ros.inference.deploy import Deployed
from bisenet_ros.inference.errors import InferenceError
from bisenet_ros.model_file import Model
from bisenet_ros.network import upsample
from bisenet_ros.synthetic.street import Street

MARGINS = {"fp32": 0.02, "fp16": 0.02, "int8": 0.5}
"""How far PyTorch's logit of a right label may lie under its best one, in standard deviations of
the logits of a pixel. fp32 is TF32 on a GPU, which has the digits of fp16."""

MOST_WRONG = 0.01
"""The part of the pixels whose labels may be wrong all the same. Measured with ONNX Runtime, random
weights and the shipped ones: at most 0.0002 in fp32 and fp16 and 0.006 in int8; of labels 4 pixels
beside their place, 0.07 to 0.27 and 0.03 to 0.08."""


def check_agreement(
    run: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
    model: Model,
    resolution: tuple[int, int],
    precision: str,
    what: str,
) -> float:
    """Compare labels of a drawn street with those of PyTorch in fp32 on the CPU.

    A label is wrong if PyTorch's logit for it is further from the best one than the precision
    explains (``MARGINS``). To count unequal labels would be unfair to a model that is unsure, as
    every one is on pictures of another kind than it was trained on.

    Args:
        run: labels uint8 [H,W] of an image uint8 [H,W,3].
        model: what ``run`` should compute.
        resolution: (W, H).
        precision: of ``run``.
        what: for the error, what is thrown away then.

    Returns:
        The part 0..1 of the labels that are equal.

    Raises:
        InferenceError: too many are wrong (``MOST_WRONG``).
    """
    width, height = resolution
    image, _ = Street(0, *resolution).frame(0)
    labels = torch.from_numpy(run(image).astype(np.int64))
    with torch.inference_mode():
        logits = Deployed(model).eval().logits(torch.from_numpy(image[None]))
        spread = logits.std(dim=1).square().mean().sqrt()
        logits = upsample(logits, (height, width))[0]
    best, expected = logits.max(dim=0)
    known = labels.clamp(max=len(logits) - 1)
    below = best - logits.gather(0, known[None])[0]
    wrong = float(((below > MARGINS[precision] * spread) | (labels != known)).double().mean())
    if wrong > MOST_WRONG:
        raise InferenceError(
            f"in {precision} {wrong:.2%} of the labels of a drawn street are not PyTorch's though "
            f"PyTorch is sure of them, and {MOST_WRONG:.0%} is the most, so {what} is thrown "
            "away; use another precision"
        )
    return float((labels == expected).double().mean())
