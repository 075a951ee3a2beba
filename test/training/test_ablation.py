"""Ablation variants: structure, training and cost relative to the paper."""

import pytest
import torch

from bisenet_ros.model.flops import count_parts
from bisenet_ros.network import PRESETS, Architecture
from bisenet_ros.training.ablation import VARIANTS

SMALL = Architecture(num_classes=3, head_channels=8)


def gmacs(name: str) -> float:
    network = VARIANTS[name].network(PRESETS["bisenetv2_paper"])
    return count_parts(network, [""], (1024, 512))[""].gmacs


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_trains(name: str) -> None:
    network = VARIANTS[name].network(SMALL).train()
    heads = network(torch.rand(2, 3, 64, 96))
    assert len(heads) == (5 if VARIANTS[name].boosters else 1)
    torch.stack([head.float().mean() for head in heads]).sum().backward()
    assert network.head[2].weight.grad is not None
    assert network.eval()(torch.rand(1, 3, 64, 96)).shape == (1, 3, 64, 96)


@pytest.mark.parametrize(
    ("name", "branch"), [("Detail Branch only", "detail"), ("Semantic Branch only", "semantic")]
)
def test_single_branch_variants_have_no_other_weights(name: str, branch: str) -> None:
    names = {
        parameter.split(".")[0] for parameter, _ in VARIANTS[name].network(SMALL).named_parameters()
    }
    assert names == {branch, "head"}


def test_sum_and_concatenation_combine_both_branches() -> None:
    detail, semantic = torch.full((1, 128, 8, 12), 2.0), torch.full((1, 128, 2, 3), 5.0)
    sum_ = VARIANTS["sum"].network(SMALL).aggregation
    assert (sum_(detail, semantic) == 7).all()
    stack = VARIANTS["concatenation"].network(SMALL).aggregation
    stacked = stack(detail, semantic)
    assert stacked.shape == (1, 256, 8, 12)
    assert (stacked[:, :128] == 2).all()
    assert (stacked[:, 128:] == 5).all()


def test_costs_are_ordered_as_in_the_paper() -> None:
    branches = ["Semantic Branch only", "Detail Branch only", "sum", "BGA", "concatenation"]
    costs = [gmacs(name) for name in branches]
    assert costs[:3] == sorted(costs[:3])
    assert costs[2] < min(costs[3:])
    assert gmacs("BGA + boosters") == gmacs("BGA")  # boosters cost nothing at inference
    assert gmacs("lambda 1/8") < gmacs("BGA") < gmacs("lambda 1/2")
