"""The Detail Branch: wide channels and shallow layers for spatial detail (section 3.1)."""

from torch import nn

from bisenet_ros.network.layers import Conv


class DetailBranch(nn.Sequential):
    """Detail Branch (Table 1): image [N,3,H,W] to features [N,C3,H/8,W/8].

    Args:
        channels: output channels of S1, S2 and S3; 64, 64 and 128 in the paper.
    """

    def __init__(self, channels: tuple[int, int, int]) -> None:
        c1, c2, c3 = channels
        super().__init__()
        self.S1 = nn.Sequential(Conv(3, c1, stride=2), Conv(c1, c1))
        self.S2 = nn.Sequential(Conv(c1, c2, stride=2), Conv(c2, c2), Conv(c2, c2))
        self.S3 = nn.Sequential(Conv(c2, c3, stride=2), Conv(c3, c3), Conv(c3, c3))
