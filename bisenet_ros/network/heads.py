"""The segmentation head, for the main output and for the boosters (Figure 7)."""

from torch import nn

from bisenet_ros.network.layers import Conv


class SegmentationHead(nn.Sequential):
    """Segmentation head: features [N,in_channels,h,w] to class logits [N,num_classes,h,w].

    The bilinear upsampling of Figure 7 is left to the caller, who knows the target size.

    Args:
        in_channels: channels of the features.
        head_channels: the paper's C_t, which sets the computational cost of the head.
        num_classes: channels of the logits.
    """

    def __init__(self, in_channels: int, head_channels: int, num_classes: int) -> None:
        super().__init__(
            Conv(in_channels, head_channels),
            nn.Dropout(0.1),
            nn.Conv2d(head_channels, num_classes, 1),
        )
