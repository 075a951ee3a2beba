"""The layers that every figure of the paper is drawn with."""

from collections.abc import Sequence
from math import ceil
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

Upsampling = Literal["bilinear", "nearest"]


class Conv(nn.Sequential):
    """Convolution and batch norm, with ReLU unless ``relu=False``.

    The padding keeps the size at stride 1 and gives ``ceil(size / stride)`` otherwise.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        relu: bool = True,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel,
                stride,
                padding=kernel // 2,
                groups=groups,
                bias=False,
            ),
            nn.BatchNorm2d(out_channels),
        ]
        if relu:
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


def enlarge(x: Tensor, size: Sequence[int], mode: Upsampling) -> Tensor:
    """Enlarge ``x`` [N,C,h,w] by powers of two to at least ``size``, (H, W), and cut it to that.

    Strides round sizes up: 360 rows are 45 at 1/8 and 12 at 1/32, whose last lies partly below the
    image. Stretching 12 to 45 would move what they hold by up to 24 pixels against the finer
    stages; it costs the shipped model 2 points of mIoU.
    """
    wanted = [int(side) for side in size]
    # By the least power of two that reaches, since the last cell is never wholly outside.
    covered = [
        have << (ceil(to / have) - 1).bit_length()
        for have, to in zip(map(int, x.shape[2:]), wanted, strict=True)
    ]
    align_corners = None if mode == "nearest" else False
    enlarged = functional.interpolate(x, covered, mode=mode, align_corners=align_corners)
    return enlarged if covered == wanted else enlarged[:, :, : wanted[0], : wanted[1]]
