"""Hyperparameters of the network; this needs no torch, so that model files can be read without."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

ExpandIn = Literal["depthwise", "conv"]

Upsampling = Literal["bilinear", "nearest"]


@dataclass(frozen=True)
class Architecture:
    """Hyperparameters of the network, by the paper's symbols; defaults as in the public code.

    - ``num_classes``: 2 to 255.
    - ``lambda_``: ratio of semantic to detail channels in the Stem (relative to S1) and in S3. S4
      and S5 do not scale with it, which reproduces the paper's FLOPs for 1/2, 1/4 and 1/8.
    - ``width``: alpha, multiplies every channel count of the two branches.
    - ``depth``: d, multiplies the number of Gather-and-Expansion layers of each stage.
    - ``epsilon``: expansion ratio of the Gather-and-Expansion layers.
    - ``head_channels``: C_t of the main head.
    - ``booster_channels``: C_t of the booster heads, which exist in training only.
    - ``expand_in``: layer that expands the channels, see ``GatherExpansion``.
    - ``upsampling``: interpolation of semantic features, see ``BilateralGuidedAggregation``.
    - ``aggregation_bias``: whether the aggregation's 1x1 convolutions have biases, see there.
    """

    num_classes: int = 19
    lambda_: Fraction = Fraction(1, 4)
    width: int = 1
    depth: int = 1
    epsilon: int = 6
    head_channels: int = 1024
    booster_channels: int = 128
    expand_in: ExpandIn = "depthwise"
    upsampling: Upsampling = "bilinear"
    aggregation_bias: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError, naming field, value and valid range, if a field is not valid."""

        def require(name: str, holds: bool, rule: str) -> None:
            if not holds:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {rule}")

        ranges = {"num_classes": (2, 255), "width": (1, 8), "depth": (1, 16), "epsilon": (1, 16)}
        ranges |= {"head_channels": (1, 4096), "booster_channels": (1, 4096)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            whole = type(value) is int  # a bool is an instance of int
            require(name, whole and low <= value <= high, f"a whole number in {low}..{high}")
        stem = 64 * self.width * self.lambda_
        even = 0 < self.lambda_ <= 1 and stem % 2 == 0
        require("lambda_", even, "in (0, 1] and give the Stem an even number of channels")
        for name, valid in (
            ("expand_in", get_args(ExpandIn)),
            ("upsampling", get_args(Upsampling)),
        ):
            require(name, getattr(self, name) in valid, f"one of {', '.join(valid)}")
        require("aggregation_bias", type(self.aggregation_bias) is bool, "true or false")


# The paper does not state C_t. These values come within 5 % of the FLOPs that it does state for
# its two variants at 1024x512: 20.26 GMAC for 21.15, and 112.68 for 118.51.
PRESETS = {
    "bisenetv2": Architecture(),
    "bisenetv2_paper": Architecture(expand_in="conv", head_channels=256),
    "bisenetv2_large": Architecture(width=2, depth=3, expand_in="conv", head_channels=512),
}
