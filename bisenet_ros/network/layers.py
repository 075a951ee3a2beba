"""The layers that every figure of the paper is drawn with."""

from torch import Tensor, nn
from torch.nn import functional


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


def resize_like(x: Tensor, target: Tensor, mode: str) -> Tensor:
    """Resize ``x`` [N,C,h,w] to the height and width of ``target`` [N,*,H,W].

    The size comes from the target, never from a factor: 360 rows become 45 at 1/8 and 12 at
    1/32, so no fixed factor leads back.
    """
    if mode == "nearest":
        return functional.interpolate(x, target.shape[2:], mode="nearest")
    return functional.interpolate(x, target.shape[2:], mode=mode, align_corners=False)
