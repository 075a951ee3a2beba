"""What a network costs, part by part."""

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

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
    # Not made on the meta device: drawing initial weights there takes seconds of imports.
    network = BiSeNetV2(architecture).eval().to("meta")
    image = torch.empty(1, 3, height, width, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    # It counts a multiply-add as two, and names modules from the root's class on.
    operations = counter.get_flop_counts()
    return {
        part: Cost(
            parameters=sum(p.numel() for p in network.get_submodule(part).parameters()),
            macs=sum(operations[f"BiSeNetV2.{part}"].values()) // 2,
        )
        for part in PARTS
    }
