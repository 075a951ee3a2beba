"""What a network costs, part by part."""

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


def count_macs(architecture: Architecture, resolution: tuple[int, int]) -> dict[str, Cost]:
    """The cost in inference of each of ``PARTS`` at ``resolution``, (width, height) in pixels.

    Raises:
        ValueError: width or height is not positive and divisible by 8.
    """
    return count_parts(BiSeNetV2(architecture), PARTS, resolution)


def count_parts(
    network: nn.Module, parts: Sequence[str], resolution: tuple[int, int]
) -> dict[str, Cost]:
    """The cost in inference of the modules of ``network`` with these names; "" is all of it.

    Nothing is computed, so any size is counted in no time and memory. ``network`` is put into
    evaluation mode.

    Raises:
        ValueError: width or height is not positive, or ``network`` refuses them.
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
        # A batch of no images: every layer learns its size, and nothing is computed. The meta
        # device does that too, but loads the compiler first, which takes seconds.
        network.eval()(torch.empty(0, 3, height, width))
    for handle in handles:
        handle.remove()
    return {
        part: Cost(sum(p.numel() for p in network.get_submodule(part).parameters()), macs[part])
        for part in parts
    }
