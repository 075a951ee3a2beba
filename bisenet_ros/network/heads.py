"""The segmentation head, of one kind for the result and for the boosters (Figure 7)."""

from torch import nn

from bisenet_ros.network.layers import Conv


class SegmentationHead(nn.Sequential):
    """Features [N,C,h,w] to class logits [N,num_classes,h,w].

    ``head_channels`` is the paper's C_t, the computational complexity of the head. The bilinear
    upsampling of Figure 7 is left to the caller, who knows the size it must reach.
    """

    def __init__(self, in_channels: int, head_channels: int, num_classes: int) -> None:
        super().__init__(
            Conv(in_channels, head_channels),
            nn.Dropout(0.1),
            nn.Conv2d(head_channels, num_classes, 1),
        )
