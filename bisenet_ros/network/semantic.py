"""The Semantic Branch: narrow channels and deep layers for context (section 3.2)."""

from typing import Literal

import torch
from torch import Tensor, nn

from bisenet_ros.network.architecture import ExpandIn
from bisenet_ros.network.layers import Conv


class Stem(nn.Module):
    """Stem (Figure 4a): downsample by 4 with a convolution and a max pooling path."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv(3, channels, stride=2)
        self.left = nn.Sequential(
            Conv(channels, channels // 2, kernel=1),
            Conv(channels // 2, channels, stride=2),
        )
        self.right = nn.MaxPool2d(3, stride=2, padding=1)
        self.fuse = Conv(2 * channels, channels)

    def forward(self, image: Tensor) -> Tensor:
        """Return features [N,C,H/4,W/4] of an image [N,3,H,W]."""
        x = self.conv(image)
        fused: Tensor = self.fuse(torch.cat((self.left(x), self.right(x)), dim=1))
        return fused


class GatherExpansion(nn.Module):
    """Gather-and-Expansion (Figure 5b, 5c): an inverted bottleneck with a 3x3 gather convolution.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: 1 for the layer with an identity shortcut, 2 for the one that downsamples.
        epsilon: expansion ratio.
        expand_in: layer that expands the channels by ``epsilon``. In the paper's text and FLOPs
            it is the first 3x3 convolution ("conv"); in the public implementations, and so in all
            public weights, the depthwise one ("depthwise").
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: Literal[1, 2],
        epsilon: int,
        expand_in: ExpandIn,
    ) -> None:
        super().__init__()
        wide = in_channels * epsilon
        gathered = wide if expand_in == "conv" else in_channels
        self.gather = Conv(in_channels, gathered)
        if stride == 1:
            self.depthwise = nn.Sequential(Conv(gathered, wide, groups=gathered))
            self.shortcut: nn.Module = nn.Identity()
        else:
            self.depthwise = nn.Sequential(
                Conv(gathered, wide, stride=2, groups=gathered, relu=False),
                Conv(wide, wide, groups=wide),
            )
            self.shortcut = nn.Sequential(
                Conv(in_channels, in_channels, stride=2, groups=in_channels, relu=False),
                Conv(in_channels, out_channels, kernel=1, relu=False),
            )
        self.project = Conv(wide, out_channels, kernel=1, relu=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return features [N,out_channels,ceil(h/stride),ceil(w/stride)] of ``x`` [N,C,h,w]."""
        y: Tensor = self.project(self.depthwise(self.gather(x)))
        activated: Tensor = self.relu(y + self.shortcut(x))
        return activated


class ContextEmbedding(nn.Module):
    """Context Embedding (Figure 4b): global average pooling, added back to the features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.embed = Conv(channels, channels, kernel=1)
        self.conv = Conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the shape of ``x``, [N,C,h,w]."""
        context: Tensor = self.embed(self.bn(x.mean(dim=(2, 3), keepdim=True)))
        y: Tensor = self.conv(x + context)
        return y


class SemanticBranch(nn.Module):
    """Semantic Branch (Table 1): image to context features at 1/32.

    Args:
        channels: output channels of the Stem, S3, S4 and S5.
        repeats: number of Gather-and-Expansion layers in S3, S4 and S5; 2, 2 and 4 in the paper.
        epsilon: see ``GatherExpansion``.
        expand_in: see ``GatherExpansion``.
    """

    def __init__(
        self,
        channels: tuple[int, int, int, int],
        repeats: tuple[int, int, int],
        epsilon: int,
        expand_in: ExpandIn,
    ) -> None:
        super().__init__()

        def stage(in_channels: int, out_channels: int, repeat: int) -> nn.Sequential:
            rest = (
                GatherExpansion(out_channels, out_channels, 1, epsilon, expand_in)
                for _ in range(repeat - 1)
            )
            first = GatherExpansion(in_channels, out_channels, 2, epsilon, expand_in)
            return nn.Sequential(first, *rest)

        c2, c3, c4, c5 = channels
        self.stem = Stem(c2)
        self.S3 = stage(c2, c3, repeats[0])
        self.S4 = stage(c3, c4, repeats[1])
        self.S5_4 = stage(c4, c5, repeats[2])
        self.S5_5 = ContextEmbedding(c5)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return the features of all stages.

        Args:
            image: float [N,3,H,W].

        Returns:
            Outputs of stage 2 (the Stem), S3, S4 and S5_4, which the booster heads take, at 1/4,
            1/8, 1/16 and 1/32 of H and W, rounded up; last that of the Context Embedding, at 1/32.
        """
        f2 = self.stem(image)
        f3 = self.S3(f2)
        f4 = self.S4(f3)
        f5_4 = self.S5_4(f4)
        return f2, f3, f4, f5_4, self.S5_5(f5_4)
