"""Network variants of the paper's ablation study (Tables 2 and 3)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from bisenet_ros.network import Architecture, BiSeNetV2
from bisenet_ros.network.bisenetv2 import initialize
from bisenet_ros.network.heads import SegmentationHead
from bisenet_ros.network.layers import enlarge
from bisenet_ros.training.initialization import InitialModel, architecture_of
from bisenet_ros.training.settings import Settings


class DetailOnly(nn.Module):
    """Aggregation that returns the detail features alone."""

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        return detail


class SemanticOnly(nn.Module):
    """Aggregation that upsamples the semantic features to the size of the detail features."""

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        return enlarge(semantic, detail.shape[2:], "bilinear")


class Sum(nn.Module):
    """Aggregation that adds the upsampled semantic features to the detail features."""

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        return detail + enlarge(semantic, detail.shape[2:], "bilinear")


class Concatenation(nn.Module):
    """Aggregation that concatenates both along the channels: [N,2C,H/8,W/8]."""

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        return torch.cat([detail, enlarge(semantic, detail.shape[2:], "bilinear")], dim=1)


class NoDetail(nn.Module):
    """Placeholder for the Detail Branch: the image subsampled to its size, [N,3,H/8,W/8]."""

    def forward(self, image: Tensor) -> Tensor:
        return image[:, :, ::8, ::8]


class NoSemantic(nn.Module):
    """Placeholder for the Semantic Branch, whose output ``DetailOnly`` ignores."""

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (image,)


@dataclass(frozen=True)
class Variant:
    """One row of the paper's ablation tables.

    Attributes:
        compose: Function that modifies the base network in place.
        changes: Fields of ``Architecture`` to override.
        boosters: Whether to train with booster heads.
        ohem: Value of the setting ``ohem``.
        against: Name of the variant to compare with.
        paper_miou: mIoU on Cityscapes val in percent, or None if the paper does not report it.
        paper_gflops: GFLOPs at 1024x512, or None if the paper does not report them.
    """

    compose: Callable[[BiSeNetV2], None] = lambda network: None
    changes: Mapping[str, Any] = field(default_factory=dict)
    boosters: bool = False
    ohem: float = 0.0
    against: str = "BGA + boosters"
    paper_miou: float | None = None
    paper_gflops: float | None = None

    def network(self, base: Architecture) -> BiSeNetV2:
        """Return the variant's network with randomly initialized weights."""
        network = BiSeNetV2(replace(base, **self.changes), boosters=self.boosters)
        self.compose(network)
        return network

    def start(self, settings: Settings, num_classes: int) -> InitialModel:
        """Return the variant's initial model, seeded with ``settings.seed``."""
        torch.manual_seed(settings.seed)
        return InitialModel(self.network(architecture_of(settings, num_classes)), settings.preset)


def _detail_only(network: BiSeNetV2) -> None:
    network.semantic, network.aggregation = NoSemantic(), DetailOnly()  # type: ignore[assignment]


def _semantic_only(network: BiSeNetV2) -> None:
    network.detail, network.aggregation = NoDetail(), SemanticOnly()  # type: ignore[assignment]


def _sum(network: BiSeNetV2) -> None:
    network.aggregation = Sum()  # type: ignore[assignment]


def _concatenation(network: BiSeNetV2) -> None:
    a = network.architecture
    network.aggregation = Concatenation()  # type: ignore[assignment]
    # The head takes twice the channels without a projection before it: this accounts for the
    # 1.21 GFLOPs that the paper reports beyond the sum.
    network.head = SegmentationHead(2 * 128 * a.width, a.head_channels, a.num_classes)
    network.head.apply(initialize)


VARIANTS = {
    "Detail Branch only": Variant(_detail_only, paper_miou=62.35, paper_gflops=15.26),
    "Semantic Branch only": Variant(_semantic_only, paper_miou=64.68, paper_gflops=7.63),
    "sum": Variant(_sum, paper_miou=68.60, paper_gflops=20.77),
    "concatenation": Variant(_concatenation, paper_miou=68.93, paper_gflops=21.98),
    "BGA": Variant(paper_miou=69.67, paper_gflops=21.15),
    "BGA + boosters": Variant(boosters=True, paper_miou=73.19, paper_gflops=21.15),
    "BGA + boosters + OHEM": Variant(boosters=True, ohem=0.7, paper_miou=73.36, paper_gflops=21.15),
    "lambda 1/2": Variant(changes={"lambda_": Fraction(1, 2)}, against="BGA", paper_gflops=25.84),
    "lambda 1/8": Variant(changes={"lambda_": Fraction(1, 8)}, against="BGA", paper_gflops=19.93),
}
"""Variants by name; all use lambda 1/4 unless the name says otherwise."""

BASELINE = "BGA + boosters"
"""Trained with several seeds; their spread shows which differences are significant."""
