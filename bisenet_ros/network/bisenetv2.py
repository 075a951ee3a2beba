"""BiSeNet V2 (Figure 3): two branches, their aggregation and the segmentation heads."""

from collections.abc import Sequence

from torch import Tensor, nn

from bisenet_ros.network.aggregation import BilateralGuidedAggregation
from bisenet_ros.network.architecture import Architecture
from bisenet_ros.network.detail import DetailBranch
from bisenet_ros.network.heads import SegmentationHead
from bisenet_ros.network.layers import enlarge
from bisenet_ros.network.semantic import SemanticBranch


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
