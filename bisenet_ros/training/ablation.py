"""The variants of the paper's ablations (Tables 2 and 3), composed from the network's parts."""

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
    """Aggregation that leaves the semantic features out."""

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        return detail


class SemanticOnly(nn.Module):
    """Aggregation that takes nothing but the size from the detail features."""

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        return enlarge(semantic, detail.shape[2:], "bilinear")


class Sum(nn.Module):
    """Aggregation by adding the upsampled semantic features."""

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        return detail + enlarge(semantic, detail.shape[2:], "bilinear")


class Concatenation(nn.Module):
    """Aggregation by stacking both, [N,2C,H/8,W/8]."""

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        return torch.cat([detail, enlarge(semantic, detail.shape[2:], "bilinear")], dim=1)


class NoDetail(nn.Module):
    """In place of the Detail Branch: something of its size, [N,3,H/8,W/8], at no cost."""

    def forward(self, image: Tensor) -> Tensor:
        return image[:, :, ::8, ::8]


class NoSemantic(nn.Module):
    """In place of the Semantic Branch: no stages, and something that nobody looks at."""

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (image,)


@dataclass(frozen=True)
class Variant:
    """One row of the paper's tables.

    - ``compose``: makes the network of an architecture into the variant's, in place.
    - ``changes``: of the architecture.
    - ``boosters``: train with booster heads.
    - ``ohem``: setting of that name.
    - ``against``: the variant that it is compared with.
    - ``paper_miou``: percent on Cityscapes val; ``paper_gflops``: at 1024x512. None where the
      paper has no figure.
    """

    compose: Callable[[BiSeNetV2], None] = lambda network: None
    changes: Mapping[str, Any] = field(default_factory=dict)
    boosters: bool = False
    ohem: float = 0.0
    against: str = "BGA + boosters"
    paper_miou: float | None = None
    paper_gflops: float | None = None

    def network(self, base: Architecture) -> BiSeNetV2:
        """Return the network, with new weights."""
        network = BiSeNetV2(replace(base, **self.changes), boosters=self.boosters)
        self.compose(network)
        return network

    def start(self, settings: Settings, num_classes: int) -> InitialModel:
        """Return the network of a run with these settings, its weights drawn with their seed."""
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
    # A head for twice the channels, and no layer before it: the paper's 1.21 GFLOPs over the sum
    # are those of such a head.
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
"""By name. "BGA" is that with lambda 1/4."""

BASELINE = "BGA + boosters"
"""Trained with several seeds, whose spread says which differences mean something."""
