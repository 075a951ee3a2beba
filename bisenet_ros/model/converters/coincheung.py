"""Checkpoints of https://github.com/CoinCheung/BiSeNet, model type bisenetv2.

A checkpoint is the ``state_dict()`` of the network as the project trains it since July 2021, with
or without the booster heads (``aux2`` to ``aux5_4``). The booster heads are dropped: they serve
training only and differ from the paper's. Older checkpoints need another upsampling and are
rejected; they are recognized by another name of the head's last layer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bisenet_ros.classes import numbered_classes
from bisenet_ros.model.converters.key_mapping import BATCH_NORM, UNKNOWN_ORIGIN, rename, size
from bisenet_ros.model.metadata import Metadata, vary_architecture
from bisenet_ros.network import Architecture

RECOGNIZED_BY = "detail.S1.0.conv.weight"


@dataclass(frozen=True)
class _Recipe:
    """Settings for one dataset; ``resolution`` is the training crop, (width, height)."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resolution: tuple[int, int]


_CITYSCAPES = _Recipe((0.3257, 0.3690, 0.3223), (0.2112, 0.2148, 0.2115), (1024, 512))
# A checkpoint does not name its dataset, but the number of classes identifies these two.
_BY_CLASSES = {
    171: _Recipe(  # COCO-Stuff
        (0.46962251, 0.4464104, 0.40718787), (0.27469736, 0.27012361, 0.28515933), (640, 640)
    ),
    150: _Recipe(  # ADE20K
        (0.49343230, 0.46819794, 0.43106043), (0.25680755, 0.25506608, 0.27422913), (640, 640)
    ),
}


def convert(checkpoint: Mapping[Any, Any]) -> tuple[Metadata, dict[str, Tensor]]:
    """Convert the project's state dict.

    Args:
        checkpoint: the state dict, [out,in/groups,k,k] for convolutions and [C] for batch norms.

    Returns:
        Metadata, and the weights of the inference part by their names in ``BiSeNetV2``, unchanged
        in shape and dtype.

    Raises:
        ModelFileError: a key is missing, unknown or not a tensor; the message names it.
    """
    boosters = _booster_keys() if any(str(key).startswith("aux") for key in checkpoint) else []
    tensors = rename(
        checkpoint,
        Architecture(),
        _modules(),
        boosters,
        "CoinCheung/BiSeNet's bisenetv2 since July 2021",
    )
    architecture = vary_architecture(
        Architecture(),
        num_classes=size(tensors, "head.2.weight"),
        head_channels=size(tensors, "head.0.0.weight"),
        expand_in="depthwise",
        upsampling="nearest",
    )
    recipe = _BY_CLASSES.get(architecture.num_classes, _CITYSCAPES)
    metadata = Metadata(
        preset="bisenetv2",
        architecture=architecture,
        classes=numbered_classes(architecture.num_classes),
        mean=recipe.mean,
        std=recipe.std,
        resolution=recipe.resolution,
        dataset=UNKNOWN_ORIGIN,
        license=UNKNOWN_ORIGIN,
    )
    return metadata, tensors


def _modules() -> dict[str, str]:
    """Return the project's name of each convolution and batch norm in inference, by our name."""
    modules: dict[str, str] = {}

    def named(ours: str, theirs: str) -> None:  # the project's ConvBNReLU
        modules[f"{ours}.0"] = f"{theirs}.conv"
        modules[f"{ours}.1"] = f"{theirs}.bn"

    def numbered(ours: str, theirs: str, first: int = 0) -> None:  # a part of an nn.Sequential
        modules[f"{ours}.0"] = f"{theirs}.{first}"
        modules[f"{ours}.1"] = f"{theirs}.{first + 1}"

    for stage, layers in (("S1", 2), ("S2", 3), ("S3", 3)):
        for i in range(layers):
            named(f"detail.{stage}.{i}", f"detail.{stage}.{i}")
    for part in ("conv", "left.0", "left.1", "fuse"):
        named(f"semantic.stem.{part}", f"segment.S1S2.{part}")
    for stage, layers in (("S3", 2), ("S4", 2), ("S5_4", 4)):
        for i in range(layers):
            ours, theirs = f"semantic.{stage}.{i}", f"segment.{stage}.{i}"
            named(f"{ours}.gather", f"{theirs}.conv1")
            if i == 0:
                numbered(f"{ours}.depthwise.0", f"{theirs}.dwconv1")
                numbered(f"{ours}.depthwise.1", f"{theirs}.dwconv2")
                numbered(f"{ours}.shortcut.0", f"{theirs}.shortcut")
                numbered(f"{ours}.shortcut.1", f"{theirs}.shortcut", first=2)
            else:
                numbered(f"{ours}.depthwise.0", f"{theirs}.dwconv")
            numbered(f"{ours}.project", f"{theirs}.conv2")
    modules["semantic.S5_5.bn"] = "segment.S5_5.bn"
    named("semantic.S5_5.embed", "segment.S5_5.conv_gap")
    named("semantic.S5_5.conv", "segment.S5_5.conv_last")
    for ours, theirs in (("detail_keep", "left1"), ("semantic_keep", "right2")):
        numbered(f"aggregation.{ours}.0", f"bga.{theirs}")
        modules[f"aggregation.{ours}.1"] = f"bga.{theirs}.2"
    numbered("aggregation.detail_down.0", "bga.left2")
    numbered("aggregation.semantic_up", "bga.right1")
    numbered("aggregation.fuse", "bga.conv")
    named("head.0", "head.conv")
    modules["head.2"] = "head.conv_out.1"
    return modules


def _booster_keys() -> list[str]:
    keys = []
    for head in ("aux2", "aux3", "aux4", "aux5_4"):
        for layer in (f"{head}.conv", f"{head}.conv_out.0.1"):
            keys += [f"{layer}.conv.weight", *(f"{layer}.bn.{name}" for name in BATCH_NORM)]
        keys += [f"{head}.conv_out.1.weight", f"{head}.conv_out.1.bias"]
    return keys
