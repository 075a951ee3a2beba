"""Bilateral Guided Aggregation: each branch guides the other (section 3.3, Figure 6)."""

from torch import Tensor, nn

from bisenet_ros.network.layers import Conv, Upsampling, enlarge


class BilateralGuidedAggregation(nn.Module):
    """Fuse detail [N,C,H/8,W/8] and semantic [N,C,H/32,W/32] features into [N,C,H/8,W/8].

    ``upsampling`` is how semantic features grow to the detail's size. Weights are trained with
    one of the two and are wrong with the other: public checkpoints exist with both. ``bias`` gives
    the 1x1 convolutions, which no batch norm follows, biases, as some public checkpoints have.
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
        size = detail.shape[2:]
        gate = enlarge(self.semantic_up(semantic), size, self.upsampling).sigmoid()
        guided_detail = self.detail_keep(detail) * gate
        guided_semantic = self.detail_down(detail) * self.semantic_keep(semantic).sigmoid()
        fused: Tensor = self.fuse(guided_detail + enlarge(guided_semantic, size, self.upsampling))
        return fused
