"""BiSeNet V2: output shapes, parameter and MAC counts, gradients, initialization."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bisenet_ros.model.flops import PARTS, count_macs
from bisenet_ros.network import PRESETS, Architecture, BiSeNetV2, upsample
from bisenet_ros.network.layers import enlarge

TINY = Architecture(num_classes=3, head_channels=8, booster_channels=8)


@pytest.fixture(autouse=True, scope="module")
def seeded(one_thread: None) -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def boosted() -> BiSeNetV2:
    return BiSeNetV2(TINY, boosters=True)


@pytest.mark.parametrize("upsampling", ["bilinear", "nearest"])
@pytest.mark.parametrize("expand_in", ["depthwise", "conv"])
def test_any_size_divisible_by_8(expand_in: Any, upsampling: Any) -> None:
    network = BiSeNetV2(replace(TINY, expand_in=expand_in, upsampling=upsampling)).eval()
    for height, width in ((64, 128), (40, 56), (8, 8), (120, 8), (88, 24)):
        with torch.no_grad():
            logits = network(torch.rand(2, 3, height, width))
        assert logits.shape == (2, 3, height, width)
        assert logits.isfinite().all()


@pytest.mark.parametrize("rows", [1, 4, 5, 9, 44, 45, 46, 48])
def test_upsampling_does_not_shift_features_at_any_size(rows: int) -> None:
    """A stage of ``rows`` rows has ``ceil(rows / 4)`` rows at a quarter of its resolution."""
    coarse = ceil(rows / 4)
    # Cell k covers rows 4k to 4k + 3, so its center is at 4k + 1.5.
    middles = (4 * torch.arange(coarse) + 1.5).view(1, 1, coarse, 1)
    smooth = enlarge(middles, (rows, 1), "bilinear").flatten().tolist()
    expected = [min(max(row, 1.5), 4 * coarse - 2.5) for row in range(rows)]
    assert smooth == pytest.approx(expected)
    nearest = enlarge(torch.arange(coarse).float().view(1, 1, 1, coarse), (1, rows), "nearest")
    assert nearest.flatten().tolist() == [column // 4 for column in range(rows)]


@pytest.mark.parametrize(("height", "width"), [(60, 64), (64, 60), (1, 1), (8, 9)])
def test_other_sizes_are_refused(boosted: BiSeNetV2, height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"image is {width}x{height}; .* divisible by 8"):
        boosted(torch.rand(1, 3, height, width))


def test_stages_have_the_strides_and_channels_of_table_1() -> None:
    network = BiSeNetV2(TINY).eval()
    image = torch.rand(1, 3, 96, 160)
    with torch.no_grad():
        stages = [tuple(stage.shape[1:]) for stage in network.semantic(image)]
        assert network.detail(image).shape[1:] == (128, 12, 20)
    assert stages == [(16, 24, 40), (32, 12, 20), (64, 6, 10), (128, 3, 5), (128, 3, 5)]


@pytest.mark.parametrize(
    ("preset", "changes", "parameters", "macs"),
    [
        ("bisenetv2", {}, 3_358_627, 24_603_312_128),
        ("bisenetv2", {"head_channels": 256}, 2_457_763, 17_236_017_152),
        ("bisenetv2_paper", {}, 5_147_843, 20_255_916_032),
        ("bisenetv2_paper", {"lambda_": Fraction(1, 2)}, 5_592_947, 25_311_559_680),
        ("bisenetv2_paper", {"lambda_": Fraction(1, 8)}, 5_030_315, 18_961_219_584),
        ("bisenetv2_large", {}, 57_048_947, 112_679_059_456),
    ],
)
def test_parameters_and_multiply_adds(
    preset: str, changes: dict[str, Any], parameters: int, macs: int
) -> None:
    architecture = replace(PRESETS[preset], **changes)
    parts = count_macs(architecture, (1024, 512))
    assert sum(cost.parameters for cost in parts.values()) == parameters
    assert sum(cost.macs for cost in parts.values()) == macs
    # The parts cover the whole network.
    assert sum(p.numel() for p in BiSeNetV2(architecture).parameters()) == parameters


def test_multiply_adds_of_parts() -> None:
    parts = count_macs(PRESETS["bisenetv2"], (1024, 512))
    assert tuple(parts) == PARTS
    # A 1x1 convolution at one pixel, then a 3x3 one at 16x32.
    assert parts["semantic.S5_5"].macs == 128 * 128 + 9 * 128 * 128 * 16 * 32
    assert round(parts["semantic.S5_5"].gmacs, 3) == 0.076
    # A 3x3 convolution to 1024 channels, then a 1x1 one to 19 classes, at 64x128.
    assert parts["head"].macs == (9 * 128 * 1024 + 1024 * 19) * 64 * 128
    assert parts["head"].parameters == 9 * 128 * 1024 + 2 * 1024 + 1024 * 19 + 19


def test_multiply_adds_follow_the_size() -> None:
    small, large = (count_macs(PRESETS["bisenetv2"], size) for size in ((512, 256), (1024, 512)))
    for part in PARTS:
        pooled = 128 * 128 if part == "semantic.S5_5" else 0  # after pooling, whatever the size
        assert large[part].macs - pooled == 4 * (small[part].macs - pooled)
    with pytest.raises(ValueError, match="100x64"):
        count_macs(PRESETS["bisenetv2"], (100, 64))
    with pytest.raises(ValueError, match="0x64"):
        count_macs(PRESETS["bisenetv2"], (0, 64))


def test_training_gives_the_main_logits_and_those_of_each_booster(boosted: BiSeNetV2) -> None:
    image = torch.rand(2, 3, 40, 72)
    outputs = boosted.train()(image)
    assert [tuple(logits.shape) for logits in outputs] == [(2, 3, 40, 72)] * 5
    assert [len(BiSeNetV2(TINY).train()(image))] == [1]


@pytest.mark.parametrize("head", range(5))
def test_gradients_reach_what_each_head_sees(boosted: BiSeNetV2, head: int) -> None:
    boosted.train().zero_grad()
    logits: Tensor = boosted(torch.rand(2, 3, 64, 96))[head]
    # The gradient of a plain sum vanishes in a batch norm without a nonlinearity after it.
    (logits * torch.rand_like(logits)).sum().backward()
    reached = {
        name
        for name, parameter in boosted.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().max() > 0
    }
    stages = ("stem", "S3", "S4", "S5_4")
    if head == 0:
        seen = ("detail.", "semantic.", "aggregation.", "head.")
    else:
        below = (f"semantic.{stage}." for stage in stages[:head])
        seen = (*below, f"boosters.{head - 1}.")
    expected = {name for name, _ in boosted.named_parameters() if name.startswith(seen)}
    # This bias shifts the context of all images alike, and the batch norm that follows in the
    # Context Embedding removes the shift: its gradient is zero but for rounding.
    assert reached | {"semantic.S5_5.bn.bias"} == expected | {"semantic.S5_5.bn.bias"}


def test_boosters_do_not_touch_inference(boosted: BiSeNetV2) -> None:
    plain = BiSeNetV2(TINY)
    state = boosted.state_dict()
    plain.load_state_dict({n: t for n, t in state.items() if not n.startswith("boosters.")})
    image = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        assert torch.equal(boosted.eval()(image), plain.eval()(image))


def test_logits_are_upsampled_without_aligned_corners() -> None:
    low = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    full = upsample(low, (8, 16))
    # Pixel x is at (x + 0.5) / 8 - 0.5 in low-resolution coordinates.
    expected = (((torch.arange(16) + 0.5) / 8) - 0.5).clamp(0, 1)
    assert torch.allclose(full[0, 0], expected.expand(8, 16))


def test_booster_heads_have_the_layers_of_the_main_head() -> None:
    network = BiSeNetV2(replace(TINY, booster_channels=16), boosters=True)
    assert len(network.boosters) == 4

    def kind(head: nn.Module) -> list[type]:
        return [type(module) for module in head.modules()]

    inputs = []
    for booster in network.boosters:
        assert kind(booster) == kind(network.head)
        convolutions = [m for m in booster.modules() if isinstance(m, nn.Conv2d)]
        inputs.append(convolutions[0].in_channels)
        assert [c.out_channels for c in convolutions] == [16, 3]
    assert inputs == [16, 32, 64, 128]


def test_initial_weights() -> None:
    network = BiSeNetV2(PRESETS["bisenetv2"], boosters=True)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.detach()
            fan_out = weight.shape[0] * weight[0, 0].numel()
            n = weight.numel()
            # Kaiming normal, within 5 standard errors of the sample's mean and deviation.
            expected = (2 / fan_out) ** 0.5
            assert abs(float(weight.std()) / expected - 1) < 5 / (2 * n) ** 0.5, name
            assert abs(float(weight.mean())) < 5 * expected / n**0.5, name
            assert module.bias is None or not module.bias.any(), name
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all(), name


def test_aggregation_bias_is_in_the_1x1_convolutions_only() -> None:
    without, with_bias = (
        BiSeNetV2(replace(TINY, aggregation_bias=bias)).state_dict() for bias in (False, True)
    )
    assert {name: tuple(with_bias[name].shape) for name in with_bias.keys() - without} == {
        "aggregation.detail_keep.1.bias": (128,),
        "aggregation.semantic_keep.1.bias": (128,),
    }


def test_depth_width_and_expansion() -> None:
    large = BiSeNetV2(replace(PRESETS["bisenetv2_large"], head_channels=8))
    assert [len(s) for s in (large.semantic.S3, large.semantic.S4, large.semantic.S5_4)] == [
        6,
        6,
        12,
    ]
    assert large.detail.S3[2][0].out_channels == 256
    assert large.semantic.S5_5.conv[0].out_channels == 256
    for expand_in, gathered in (("depthwise", 16), ("conv", 64)):
        layer = BiSeNetV2(replace(TINY, epsilon=4, expand_in=expand_in)).semantic.S3[0]
        assert layer.gather[0].out_channels == gathered
        assert layer.depthwise[0][0].out_channels == 64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 1}, "num_classes is 1; it must be a whole number in 2..255"),
        ({"num_classes": 256}, "num_classes is 256"),
        ({"head_channels": 0}, "head_channels is 0"),
        ({"head_channels": 64.0}, "head_channels is 64.0"),
        ({"width": True}, "width is True"),
        ({"depth": 0}, "depth is 0"),
        ({"epsilon": 17}, "epsilon is 17"),
        ({"lambda_": Fraction(0)}, "lambda_ is Fraction"),
        ({"lambda_": Fraction(5, 4)}, "lambda_ is Fraction"),
        ({"lambda_": Fraction(1, 64)}, "give the Stem an even number of channels"),
        ({"expand_in": "both"}, "expand_in is 'both'; it must be one of depthwise, conv"),
        ({"upsampling": "cubic"}, "upsampling is 'cubic'; it must be one of bilinear, nearest"),
        ({"aggregation_bias": 1}, "aggregation_bias is 1; it must be true or false"),
    ],
)
def test_invalid_hyperparameters_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)
