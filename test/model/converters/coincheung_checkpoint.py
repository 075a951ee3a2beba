"""A checkpoint in the format of CoinCheung/BiSeNet's bisenetv2, with weights from a formula.

The project's code and weights cannot be shipped with these tests, so this module spells out the
layout of its state dict and fills it with numbers that are the same on every machine.
"""

from __future__ import annotations

import zlib
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

Shapes = dict[str, tuple[int, ...]]


def uniform(name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return values in [0, 1), a hash of ``name`` and position in exact integer arithmetic."""
    x = np.arange(np.prod(shape, dtype=int), dtype=np.uint32) + np.uint32(zlib.crc32(name.encode()))
    for multiplier in (0x7FEB352D, 0x846CA68B):
        x = (x ^ (x >> np.uint32(16))) * np.uint32(multiplier)
    return ((x ^ (x >> np.uint32(16))) / 2.0**32).reshape(shape)


def shapes(num_classes: int, head_channels: int, boosters: bool) -> Shapes:
    """Return key and shape of every tensor of the state dict."""
    result: Shapes = {}

    def conv(name: str, out: int, in_: int, kernel: int) -> None:
        result[f"{name}.weight"] = (out, in_, kernel, kernel)

    def bn(name: str, channels: int) -> None:
        for tensor in ("weight", "bias", "running_mean", "running_var"):
            result[f"{name}.{tensor}"] = (channels,)
        result[f"{name}.num_batches_tracked"] = ()

    def conv_bn_relu(name: str, out: int, in_: int, kernel: int = 3) -> None:
        conv(f"{name}.conv", out, in_, kernel)
        bn(f"{name}.bn", out)

    def sequential(name: str, first: int, out: int, in_: int, kernel: int = 3) -> None:
        conv(f"{name}.{first}", out, in_, kernel)
        bn(f"{name}.{first + 1}", out)

    for stage, channels in (
        ("S1", (3, 64, 64)),
        ("S2", (64, 64, 64, 64)),
        ("S3", (64, 128, 128, 128)),
    ):
        for i, (in_, out) in enumerate(pairwise(channels)):
            conv_bn_relu(f"detail.{stage}.{i}", out, in_)

    conv_bn_relu("segment.S1S2.conv", 16, 3)
    conv_bn_relu("segment.S1S2.left.0", 8, 16, 1)
    conv_bn_relu("segment.S1S2.left.1", 16, 8)
    conv_bn_relu("segment.S1S2.fuse", 16, 32)
    for stage, in_, out, layers in (("S3", 16, 32, 2), ("S4", 32, 64, 2), ("S5_4", 64, 128, 4)):
        first = f"segment.{stage}.0"
        conv_bn_relu(f"{first}.conv1", in_, in_)
        sequential(f"{first}.dwconv1", 0, 6 * in_, 1)
        sequential(f"{first}.dwconv2", 0, 6 * in_, 1)
        sequential(f"{first}.conv2", 0, out, 6 * in_, 1)
        sequential(f"{first}.shortcut", 0, in_, 1)
        sequential(f"{first}.shortcut", 2, out, in_, 1)
        for i in range(1, layers):
            conv_bn_relu(f"segment.{stage}.{i}.conv1", out, out)
            sequential(f"segment.{stage}.{i}.dwconv", 0, 6 * out, 1)
            sequential(f"segment.{stage}.{i}.conv2", 0, out, 6 * out, 1)
    bn("segment.S5_5.bn", 128)
    conv_bn_relu("segment.S5_5.conv_gap", 128, 128, 1)
    conv_bn_relu("segment.S5_5.conv_last", 128, 128)

    for name in ("left1", "right2"):
        sequential(f"bga.{name}", 0, 128, 1)
        conv(f"bga.{name}.2", 128, 128, 1)
    for name in ("left2", "right1", "conv"):
        sequential(f"bga.{name}", 0, 128, 128)

    conv_bn_relu("head.conv", head_channels, 128)
    conv("head.conv_out.1", num_classes, head_channels, 1)
    result["head.conv_out.1.bias"] = (num_classes,)
    if boosters:
        for name, in_, factor in (
            ("aux2", 16, 4),
            ("aux3", 32, 8),
            ("aux4", 64, 16),
            ("aux5_4", 128, 32),
        ):
            conv_bn_relu(f"{name}.conv", 128, in_)
            conv_bn_relu(f"{name}.conv_out.0.1", factor**2, 128)
            conv(f"{name}.conv_out.1", num_classes, factor**2, 1)
            result[f"{name}.conv_out.1.bias"] = (num_classes,)
    return result


def checkpoint(
    num_classes: int = 19, head_channels: int = 1024, boosters: bool = True
) -> dict[str, torch.Tensor]:
    """Return the state dict; no batch norm in it is the identity."""
    layout = shapes(num_classes, head_channels, boosters)
    return {name: tensor(name, shape) for name, shape in layout.items()}


@cache
def tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Return one tensor of a state dict: a convolution, a bias or a part of a batch norm."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(7)
    values = uniform(name, shape)
    if len(shape) == 4:  # a convolution, with about unit gain
        values = (2 * values - 1) * np.sqrt(6 / np.prod(shape[1:]))
    elif name.endswith(("bias", "running_mean")):
        values = values - 0.5
    else:  # scale and variance of a batch norm
        values = values + 0.5
    return torch.from_numpy(values.astype(np.float32))


def image(height: int, width: int) -> torch.Tensor:
    """Return a normalized image, float32 [1,3,H,W] in [-2, 2)."""
    return torch.from_numpy((4 * uniform("image", (1, 3, height, width)) - 2).astype(np.float32))
