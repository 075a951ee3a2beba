"""Checkpoints of https://github.com/open-mmlab/mmsegmentation, models of its bisenetv2 configs.

A checkpoint is a ``state_dict`` with ``meta``, which names the classes (in the formats of versions
0.x and 1.x), or the ``state_dict`` alone. The network is that of CoinCheung/BiSeNet, except for
bilinear upsampling in the aggregation and biases in its 1x1 convolutions. The auxiliary heads are
dropped: they serve training only and differ between configs. Normalization and resolution are
taken from the project's configs, because a checkpoint has them as Python code at best.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bisenet_ros.classes import SemanticClass, check_classes, numbered_classes
from bisenet_ros.errors import ModelFileError
from bisenet_ros.model.converters.key_mapping import UNKNOWN_ORIGIN, rename, size
from bisenet_ros.model.metadata import Metadata, vary_architecture
from bisenet_ros.network import Architecture

RECOGNIZED_BY = "backbone.detail.detail_branch.0.0.conv.weight"

# ImageNet statistics in 0..255, as in the project's configs.
_MEAN = 123.675, 116.28, 103.53
_STD = 58.395, 57.12, 57.375
# Test size of the project's configs; training crops are square and cut from images of this size.
_RESOLUTION = 2048, 1024
_UNUSED = "auxiliary_head."


def state_dict(checkpoint: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return the state dict of a checkpoint, which may be the checkpoint itself."""
    inner = checkpoint.get("state_dict", checkpoint)
    return inner if isinstance(inner, Mapping) else {}


def convert(checkpoint: Mapping[Any, Any]) -> tuple[Metadata, dict[str, Tensor]]:
    """Convert one of the project's checkpoints.

    Args:
        checkpoint: the state dict, or a mapping with ``state_dict`` and, optionally, ``meta``;
            tensors are [out,in/groups,k,k] for convolutions and [C] for biases and batch norms.

    Returns:
        Metadata, and the weights of the inference part by their names in ``BiSeNetV2``, unchanged
        in shape and dtype.

    Raises:
        ModelFileError: a key is missing, unknown or not a tensor, or the classes in ``meta`` are
            not valid.
    """
    tensors = rename(
        {
            key: value
            for key, value in state_dict(checkpoint).items()
            if not str(key).startswith(_UNUSED)
        },
        Architecture(aggregation_bias=True),
        _modules(),
        (),
        "MMSegmentation's bisenetv2 with the FCNHead of its configs",
    )
    architecture = vary_architecture(
        Architecture(),
        num_classes=size(tensors, "head.2.weight"),
        head_channels=size(tensors, "head.0.0.weight"),
        expand_in="depthwise",
        upsampling="bilinear",
        aggregation_bias=True,
    )
    red, green, blue = (value / 255 for value in _MEAN)
    std_red, std_green, std_blue = (value / 255 for value in _STD)
    metadata = Metadata(
        preset="bisenetv2",
        architecture=architecture,
        classes=_classes(checkpoint.get("meta"), architecture.num_classes),
        mean=(red, green, blue),
        std=(std_red, std_green, std_blue),
        resolution=_RESOLUTION,
        dataset=UNKNOWN_ORIGIN,
        license=UNKNOWN_ORIGIN,
    )
    return metadata, tensors


def _modules() -> dict[str, str]:
    """Return the project's name of each convolution and batch norm in inference, by our name."""
    modules: dict[str, str] = {}

    def named(ours: str, theirs: str) -> None:  # the project's ConvModule
        modules[f"{ours}.0"] = f"{theirs}.conv"
        modules[f"{ours}.1"] = f"{theirs}.bn"

    for stage, layers in enumerate((2, 3, 3)):
        for i in range(layers):
            named(f"detail.S{stage + 1}.{i}", f"backbone.detail.detail_branch.{stage}.{i}")
    semantic = "backbone.semantic"
    for our_part, part in (
        ("conv", "conv_first"),
        ("left.0", "convs.0"),
        ("left.1", "convs.1"),
        ("fuse", "fuse_last"),
    ):
        named(f"semantic.stem.{our_part}", f"{semantic}.stage1.{part}")
    for our_stage, stage, layers in (("S3", 2, 2), ("S4", 3, 2), ("S5_4", 4, 4)):
        for i in range(layers):
            ours, theirs = f"semantic.{our_stage}.{i}", f"{semantic}.stage{stage}.{i}"
            named(f"{ours}.gather", f"{theirs}.conv1")
            named(f"{ours}.depthwise.0", f"{theirs}.dwconv.0")
            if i == 0:
                named(f"{ours}.depthwise.1", f"{theirs}.dwconv.1")
                named(f"{ours}.shortcut.0", f"{theirs}.shortcut.0.depthwise_conv")
                named(f"{ours}.shortcut.1", f"{theirs}.shortcut.0.pointwise_conv")
            named(f"{ours}.project", f"{theirs}.conv2.0")
    modules["semantic.S5_5.bn"] = f"{semantic}.stage4_CEBlock.gap.1"
    named("semantic.S5_5.embed", f"{semantic}.stage4_CEBlock.conv_gap")
    named("semantic.S5_5.conv", f"{semantic}.stage4_CEBlock.conv_last")
    for ours, theirs in (("detail_keep", "detail_dwconv"), ("semantic_keep", "semantic_dwconv")):
        named(f"aggregation.{ours}.0", f"backbone.bga.{theirs}.0.depthwise_conv")
        modules[f"aggregation.{ours}.1"] = f"backbone.bga.{theirs}.0.pointwise_conv.conv"
    named("aggregation.detail_down.0", "backbone.bga.detail_down.0")
    named("aggregation.semantic_up", "backbone.bga.semantic_conv.0")
    named("aggregation.fuse", "backbone.bga.conv")
    named("head.0", "decode_head.convs.0")
    modules["head.2"] = "decode_head.conv_seg"
    return modules


def _classes(meta: Any, count: int) -> tuple[SemanticClass, ...]:
    """Return the classes in ``meta`` of version 1.x or 0.x, numbered if it does not name them."""
    numbered = numbered_classes(count)
    meta = meta if isinstance(meta, Mapping) else {}
    dataset = meta.get("dataset_meta")
    dataset = dataset if isinstance(dataset, Mapping) else {}
    names = dataset.get("classes", meta.get("CLASSES"))
    colors = dataset.get("palette", meta.get("PALETTE"))
    try:
        names = [entry.name for entry in numbered] if names is None else list(names)
        colors = [entry.color for entry in numbered] if colors is None else list(map(tuple, colors))
    except TypeError as error:
        raise ModelFileError(f"its meta has classes that are not a list ({error})") from error
    if len(names) != count or len(colors) != count:
        raise ModelFileError(
            f"its decode_head has {count} classes, but its meta has {len(names)} names and "
            f"{len(colors)} colors; remove them from meta and give a class file"
        )
    return check_classes(
        [SemanticClass(*entry) for entry in zip(range(count), names, colors, strict=True)]
    )
