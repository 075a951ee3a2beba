"""Bilateral Guided Aggregation: each branch gates the other (section 3.3, Figure 6)."""

from torch import Tensor, nn

from bisenet_ros.network.architecture import Upsampling
from bisenet_ros.network.layers import Conv, enlarge


class BilateralGuidedAggregation(nn.Module):
    """Fusion of detail and semantic features at the resolution of the detail features.

    Args:
        channels: channels of both inputs and of the output.
        upsampling: interpolation from 1/32 to 1/8. Weights trained with one mode are wrong with
            the other; public checkpoints of both kinds exist.
        bias: give the 1x1 convolutions, which have no batch norm, a bias, as MMSegmentation does.
    """

    def __init__(self, channels: int, upsampling: Upsampling, bias: bool) -> None:
        super().__init__()
        self.upsampling = upsampling

        def depthwise_separable() -> nn.Sequential:
            return nn.Sequential(
                Conv(channels, channels, groups=channels, relu=False),
                nn.Conv2d(channels, channels, 1, bias=bias),
            )

        self.detail_keep = depthwise_separable()
        self.detail_down = nn.Sequential(
            Conv(channels, channels, stride=2, relu=False),
            nn.AvgPool2d(3, stride=2, padding=1),
        )
        self.semantic_up = Conv(channels, channels, relu=False)
        self.semantic_keep = depthwise_separable()
        self.fuse = Conv(channels, channels)

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        """Return the fused features [N,C,H/8,W/8].

        Args:
            detail: float [N,C,H/8,W/8].
            semantic: float [N,C,h,w], h = ceil(H/32) and w = ceil(W/32).
        """
        size = detail.shape[2:]
        gate = enlarge(self.semantic_up(semantic), size, self.upsampling).sigmoid()
        guided_detail = self.detail_keep(detail) * gate
        guided_semantic = self.detail_down(detail) * self.semantic_keep(semantic).sigmoid()
        fused: Tensor = self.fuse(guided_detail + enlarge(guided_semantic, size, self.upsampling))
        return fused
