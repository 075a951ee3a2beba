"""Layers shared by all parts of the network."""

from collections.abc import Sequence
from math import ceil

from torch import Tensor, nn
from torch.nn import functional

from bisenet_ros.network.architecture import Upsampling


class Conv(nn.Sequential):
    """Convolution without bias, batch norm and, unless ``relu=False``, ReLU.

    Padded so that [N,in_channels,h,w] becomes [N,out_channels,ceil(h/stride),ceil(w/stride)].
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
    """Upsample each side by a power of two to at least ``size``, then crop to ``size``.

    Strided layers round sizes up: 360 rows become 45 at 1/8 and 12 at 1/32, the last of which
    extends below the image. Interpolating 12 rows to 45 would shift the features by up to 24 pixels
    against those of the finer stages, which costs the shipped model 2 points of mIoU.

    Args:
        x: float [N,C,h,w].
        size: (H, W) of the result.
        mode: interpolation; bilinear is with ``align_corners=False``.

    Returns:
        [N,C,H,W] of the dtype of ``x``.
    """
    target = [int(side) for side in size]
    # The smallest power of two that covers ``size``: the last cell always overlaps the image.
    covered = [
        source << (ceil(side / source) - 1).bit_length()
        for source, side in zip(map(int, x.shape[2:]), target, strict=True)
    ]
    align_corners = None if mode == "nearest" else False
    enlarged = functional.interpolate(x, covered, mode=mode, align_corners=align_corners)
    return enlarged if covered == target else enlarged[:, :, : target[0], : target[1]]
