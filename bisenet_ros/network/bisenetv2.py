"""BiSeNet V2 (Figure 3): two branches, their aggregation and the segmentation heads."""

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


class BiSeNetV2(nn.Module):
    """BiSeNet V2 for images whose height and width are divisible by 8.

    Args:
        architecture: one of ``PRESETS``, or ``dataclasses.replace`` of one.
        boosters: add the booster heads (section 3.4). They run in training mode only and cost
            nothing in eval mode.
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
        """Return class logits at the resolution of the image.

        Upsampling is bilinear with ``align_corners=False``.

        Args:
            image: float [N,3,H,W], normalized with the mean and std of the model's metadata.

        Returns:
            In eval mode the main logits, float32 [N,num_classes,H,W]. In training mode a tuple of
            the main logits and those of the booster heads (of stages 2, 3, 4 and 5_4), if there
            are any, each of that shape.

        Raises:
            ValueError: H or W is not divisible by 8.
        """
        heads = tuple(upsample(logits, image.shape[2:]) for logits in self.heads(image))
        return heads if self.training else heads[0]

    def heads(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the logits of ``forward`` before upsampling.

        Args:
            image: float [N,3,H,W], normalized.

        Returns:
            The main logits [N,num_classes,H/8,W/8]; in training mode followed by those of the
            booster heads, at 1/4, 1/8, 1/16 and 1/32 of H and W, rounded up.

        Raises:
            ValueError: H or W is not divisible by 8.
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
    """Upsample logits bilinearly, see ``enlarge``.

    Interpolates in float32, because bfloat16 cannot resolve values between close logits, and in
    contiguous (NCHW) memory, where the softmax of the loss takes a third less time than in
    channels_last.

    Args:
        logits: any float dtype, [N,C,h,w].
        size: (H, W) of the result.

    Returns:
        float32 [N,C,H,W].
    """
    return enlarge(logits.float().contiguous(), size, "bilinear")


def initialize(module: nn.Module) -> None:
    """Initialize a convolution with Kaiming normal (section 4.1) and zero bias.

    Batch norms keep PyTorch's default, weight one and bias zero.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
