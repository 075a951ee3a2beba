"""A checkpoint in the format of MMSegmentation's bisenetv2, as in coincheung_checkpoint."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from coincheung_checkpoint import Shapes, tensor

AUXILIARY_HEADS = ((16, 16), (32, 64), (64, 256), (128, 1024))
"""(input channels, hidden channels) of each auxiliary head in the project's configs."""


def shapes(num_classes: int, head_channels: int, auxiliary_heads: bool) -> Shapes:
    """Return key and shape of every tensor of the state dict."""
    result: Shapes = {}

    def bn(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            result[f"{name}.{part}"] = (channels,)
        result[f"{name}.num_batches_tracked"] = ()

    def module(name: str, out: int, in_: int, kernel: int = 3) -> None:
        result[f"{name}.conv.weight"] = (out, in_, kernel, kernel)
        bn(f"{name}.bn", out)

    def fcn_head(name: str, in_: int, channels: int, convs: int) -> None:
        for i in range(convs):
            module(f"{name}.convs.{i}", channels, channels if i else in_)
        result[f"{name}.conv_seg.weight"] = (num_classes, channels, 1, 1)
        result[f"{name}.conv_seg.bias"] = (num_classes,)

    branch = "backbone.detail.detail_branch"
    for i, channels in enumerate(((3, 64, 64), (64, 64, 64, 64), (64, 128, 128, 128))):
        for j, (in_, out) in enumerate(pairwise(channels)):
            module(f"{branch}.{i}.{j}", out, in_)

    semantic = "backbone.semantic"
    module(f"{semantic}.stage1.conv_first", 16, 3)
    module(f"{semantic}.stage1.convs.0", 8, 16, 1)
    module(f"{semantic}.stage1.convs.1", 16, 8)
    module(f"{semantic}.stage1.fuse_last", 16, 32)
    for stage, in_, out, layers in ((2, 16, 32, 2), (3, 32, 64, 2), (4, 64, 128, 4)):
        first = f"{semantic}.stage{stage}.0"
        module(f"{first}.conv1", in_, in_)
        module(f"{first}.dwconv.0", 6 * in_, 1)
        module(f"{first}.dwconv.1", 6 * in_, 1)
        module(f"{first}.shortcut.0.depthwise_conv", in_, 1)
        module(f"{first}.shortcut.0.pointwise_conv", out, in_, 1)
        module(f"{first}.conv2.0", out, 6 * in_, 1)
        for i in range(1, layers):
            module(f"{semantic}.stage{stage}.{i}.conv1", out, out)
            module(f"{semantic}.stage{stage}.{i}.dwconv.0", 6 * out, 1)
            module(f"{semantic}.stage{stage}.{i}.conv2.0", out, 6 * out, 1)
    bn(f"{semantic}.stage4_CEBlock.gap.1", 128)
    module(f"{semantic}.stage4_CEBlock.conv_gap", 128, 128, 1)
    module(f"{semantic}.stage4_CEBlock.conv_last", 128, 128)

    for part in ("detail_dwconv", "semantic_dwconv"):
        module(f"backbone.bga.{part}.0.depthwise_conv", 128, 1)
        result[f"backbone.bga.{part}.0.pointwise_conv.conv.weight"] = (128, 128, 1, 1)
        result[f"backbone.bga.{part}.0.pointwise_conv.conv.bias"] = (128,)
    for part in ("detail_down.0", "semantic_conv.0", "conv"):
        module(f"backbone.bga.{part}", 128, 128)

    fcn_head("decode_head", 128, head_channels, 1)
    if auxiliary_heads:
        for i, (in_, channels) in enumerate(AUXILIARY_HEADS):
            fcn_head(f"auxiliary_head.{i}", in_, channels, 2)
    return result


def state_dict(
    num_classes: int = 19, head_channels: int = 1024, auxiliary_heads: bool = False
) -> dict[str, torch.Tensor]:
    """Return the state dict; no batch norm in it is the identity and no bias is zero."""
    layout = shapes(num_classes, head_channels, auxiliary_heads)
    return {name: tensor(name, shape) for name, shape in layout.items()}


def checkpoint(
    num_classes: int = 19, head_channels: int = 1024, auxiliary_heads: bool = False
) -> dict[str, Any]:
    """Return a checkpoint of the project's ``tools/train.py`` 0.x, without the optimizer."""
    return {
        "state_dict": state_dict(num_classes, head_channels, auxiliary_heads),
        "meta": {"mmseg_version": "0.18.0", "epoch": 428, "iter": 160000},
    }
