"""Parameter and multiply-accumulate (MAC) counts, for each part of a network."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bisenet_ros.network import Architecture, BiSeNetV2

PARTS = (
    "detail",
    "semantic.stem",
    "semantic.S3",
    "semantic.S4",
    "semantic.S5_4",
    "semantic.S5_5",
    "aggregation",
    "head",
)
"""Modules of the network that run in inference, by name; S5_5 is the Context Embedding."""


@dataclass(frozen=True)
class Cost:
    """Number of learned ``parameters``, and of the convolutions' multiply-adds for one image."""

    parameters: int
    macs: int

    @property
    def gmacs(self) -> float:
        """Multiply-adds in units of 1e9."""
        return self.macs / 1e9


def count_macs(architecture: Architecture, resolution: tuple[int, int]) -> dict[str, Cost]:
    """Return the inference cost of each of ``PARTS``.

    Args:
        architecture: the network.
        resolution: (width, height) of the image in pixels.

    Raises:
        ValueError: width or height is not positive or not divisible by 8.
    """
    return count_parts(BiSeNetV2(architecture), PARTS, resolution)


def count_parts(
    network: nn.Module, parts: Sequence[str], resolution: tuple[int, int]
) -> dict[str, Cost]:
    """Return the inference cost of some modules of a network.

    Runs an empty batch, so that time and memory do not grow with the resolution.

    Args:
        network: takes float [N,3,H,W]; left in eval mode.
        parts: names of submodules; "" is the whole network.
        resolution: (width, height) of the image in pixels.

    Raises:
        ValueError: width or height is not positive, or ``network`` does not accept them.
    """
    width, height = resolution
    if min(resolution) <= 0:
        raise ValueError(f"resolution {width}x{height} must be positive")
    macs = dict.fromkeys(parts, 0)

    def hook(part: str) -> Callable[[nn.Conv2d, object, Tensor], None]:
        def add(convolution: nn.Conv2d, _: object, output: Tensor) -> None:
            weights_of_a_channel = convolution.weight[0].numel()
            macs[part] += weights_of_a_channel * math.prod(output.shape[1:])

        return add

    handles = [
        module.register_forward_hook(hook(part))
        for part in parts
        for module in network.get_submodule(part).modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        # Shapes propagate through an empty batch without computation. The meta device does so too,
        # but imports the compiler first, which takes seconds.
        network.eval()(torch.empty(0, 3, height, width))
    for handle in handles:
        handle.remove()
    return {
        part: Cost(sum(p.numel() for p in network.get_submodule(part).parameters()), macs[part])
        for part in parts
    }
