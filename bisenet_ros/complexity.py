"""What a network costs, part by part."""

import math
from collections.abc import Callable
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
"""The network's parts in inference, by the names of its modules; S5_5 is Context Embedding."""


@dataclass(frozen=True)
class Cost:
    """Learned ``parameters``, and ``macs``: multiply-adds of the convolutions for one image."""

    parameters: int
    macs: int

    @property
    def gmacs(self) -> float:
        """Multiply-adds in units of 1e9."""
        return self.macs / 1e9


def count(architecture: Architecture, resolution: tuple[int, int]) -> dict[str, Cost]:
    """The cost in inference of each of ``PARTS`` at ``resolution``, (width, height) in pixels.

    Nothing is computed, so any size is counted in no time and memory.

    Raises:
        ValueError: width or height is not positive and divisible by 8.
    """
    width, height = resolution
    if min(resolution) <= 0:
        raise ValueError(f"resolution {width}x{height} must be positive")
    network = BiSeNetV2(architecture).eval()
    macs = dict.fromkeys(PARTS, 0)

    def hook(part: str) -> Callable[[nn.Conv2d, object, Tensor], None]:
        def add(convolution: nn.Conv2d, _: object, output: Tensor) -> None:
            weights_of_a_channel = convolution.weight[0].numel()
            macs[part] += weights_of_a_channel * math.prod(output.shape[1:])

        return add

    for part in PARTS:
        for module in network.get_submodule(part).modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(hook(part))
    with torch.no_grad():
        # A batch of no images: every layer learns its size, and nothing is computed. The meta
        # device does that too, but loads the compiler first, which takes seconds.
        network(torch.empty(0, 3, height, width))
    return {
        part: Cost(sum(p.numel() for p in network.get_submodule(part).parameters()), macs[part])
        for part in PARTS
    }
