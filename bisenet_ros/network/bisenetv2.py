"""BiSeNet V2 put together (Figure 3): two branches, their aggregation, the heads."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import get_args

from torch import Tensor, nn

from bisenet_ros.network.aggregation import BilateralGuidedAggregation
from bisenet_ros.network.detail import DetailBranch
from bisenet_ros.network.heads import SegmentationHead
from bisenet_ros.network.layers import Upsampling, enlarge
from bisenet_ros.network.semantic import ExpandIn, SemanticBranch


@dataclass(frozen=True)
class Architecture:
    """The paper's quantities; the defaults are those of the public code.

    - ``num_classes``: N, 2 to 255.
    - ``lambda_``: channels of the Stem and S3 over those of the Detail Branch's S1 and S3. The
      paper's FLOPs for 1/2, 1/4 and 1/8 fit only with S4 and S5 left as they are.
    - ``width``: alpha, a factor on every channel count of the two branches.
    - ``depth``: d, a factor on the number of Gather-and-Expansion layers of each stage.
    - ``epsilon``: expansion of the Gather-and-Expansion layers.
    - ``head_channels``: C_t of the main head.
    - ``booster_channels``: C_t of the booster heads, which exist in training only.
    - ``expand_in``: where Gather-and-Expansion widens, see ``GatherExpansion``.
    - ``upsampling``: how semantic features grow, see ``BilateralGuidedAggregation``.
    - ``aggregation_bias``: biases in the aggregation's 1x1 convolutions, see there too.
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
        """Raise ValueError, naming the quantity, its value and the rule, if one is unusable."""

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
        require("lambda_", even, "in (0, 1], and give the Stem a whole, even number of channels")
        for name, valid in (
            ("expand_in", get_args(ExpandIn)),
            ("upsampling", get_args(Upsampling)),
        ):
            require(name, getattr(self, name) in valid, f"one of {', '.join(valid)}")
        require("aggregation_bias", type(self.aggregation_bias) is bool, "true or false")


# The paper does not state C_t. With these its two variants come within 5 % of the FLOPs that it
# does state at 1024x512: 20.26 for 21.15 GMAC, and 112.68 for 118.51.
PRESETS = {
    "bisenetv2": Architecture(),
    "bisenetv2_paper": Architecture(expand_in="conv", head_channels=256),
    "bisenetv2_large": Architecture(width=2, depth=3, expand_in="conv", head_channels=512),
}


class BiSeNetV2(nn.Module):
    """The network of the paper for images whose height and width are divisible by 8.

    Args:
        architecture: sizes and variants; one of ``PRESETS``, changed by ``dataclasses.replace``
            where needed.
        boosters: also make the booster heads (section 3.4). They are used in training mode only
            and cost nothing in evaluation mode.
    """

    def __init__(self, architecture: Architecture, *, boosters: bool = False) -> None:
        super().__init__()
        a = self.architecture = architecture
        detail = (64 * a.width, 64 * a.width, 128 * a.width)
        semantic = (
            int(detail[0] * a.lambda_),
            int(detail[2] * a.lambda_),
            64 * a.width,
            128 * a.width,
        )
        self.detail = DetailBranch(detail)
        self.semantic = SemanticBranch(
            semantic, (2 * a.depth, 2 * a.depth, 4 * a.depth), a.epsilon, a.expand_in
        )
        self.aggregation = BilateralGuidedAggregation(detail[2], a.upsampling, a.aggregation_bias)
        self.head = SegmentationHead(detail[2], a.head_channels, a.num_classes)
        self.boosters = nn.ModuleList(
            SegmentationHead(channels, a.booster_channels, a.num_classes)
            for channels in (semantic if boosters else ())
        )
        self.apply(initialize)

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Class logits of a normalized image, float [N,3,H,W].

        Evaluation mode gives the main logits [N,classes,H,W]; training mode a tuple of the main
        logits and, where there are boosters, those of stages 2, 3, 4 and 5_4, all of that shape.
        Upsampling to H x W is bilinear with ``align_corners=False``.
        """
        heads = tuple(upsample(logits, image.shape[2:]) for logits in self.heads(image))
        return heads if self.training else heads[0]

    def heads(self, image: Tensor) -> tuple[Tensor, ...]:
        """The logits of ``forward`` as they leave the heads, before they are upsampled.

        The main ones are [N,classes,H/8,W/8]; in training mode those of the boosters follow, at
        1/4, 1/8, 1/16 and 1/32.
        """
        if image.shape[2] % 8 or image.shape[3] % 8:
            height, width = image.shape[2:]
            raise ValueError(
                f"image is {width}x{height}; BiSeNet V2 needs a width and height divisible by 8"
            )
        *stages, context = self.semantic(image)
        main = self.head(self.aggregation(self.detail(image), context))
        if not self.training:
            return (main,)
        boosted = (head(stage) for head, stage in zip(self.boosters, stages, strict=False))
        return (main, *boosted)


def upsample(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Logits [N,C,h,w] of any float type to float32 [N,C,H,W], as ``enlarge``.

    ``size`` is (H, W) of the image that they are of, or of one of its stages.
    In float32, since bf16 has too few digits to interpolate between close logits, and in planes,
    over which the softmax of the loss takes a third less time than over interleaved channels.
    """
    return enlarge(logits.float().contiguous(), size, "bilinear")


def initialize(module: nn.Module) -> None:
    """Kaiming normal for convolutions (section 4.1), one and zero for batch norm."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
