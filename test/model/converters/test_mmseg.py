"""MMSegmentation checkpoints: logits of the original, use of every key, error messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmseg_checkpoint import checkpoint, shapes, state_dict
from reading import (
    SMALL,
    StateDict,
    assert_each_once,
    assert_logits,
    assert_refused,
    without,
    write,
)

from bisenet_ros.errors import ModelFileError
from bisenet_ros.model.converters import read_checkpoint
from bisenet_ros.model.file import Model, load, save

pytestmark = pytest.mark.usefixtures("one_thread")

# Recorded from mmsegmentation 1.2.2 with mmcv-lite 2.1.0: the model of
# configs/_base_/models/bisenetv2.py with BN instead of SyncBN, `state_dict(auxiliary_heads=True)`
# loaded by load_state_dict(strict=True), eval mode, inference() in mode "whole" on `image(height,
# width)`, fp32 on a CPU. For each size: mean and standard deviation of all logits, and the logits
# of classes 0, 3, .. 18 at some (row, column). All sizes are divisible by 32, because at others
# mmsegmentation stretches the semantic features, which shifts them (see `enlarge`).
GOLDEN = {
    (64, 128): (
        (0.033556, 3.196059),
        {
            (0, 0): [-2.19881, 1.74294, 1.41678, -2.09791, -0.01821, -0.74223, -1.36507],
            (21, 25): [-4.98425, 3.3884, -1.50908, -7.51838, -3.11152, -3.71928, 4.47578],
            (36, 127): [-4.44285, -2.84705, -3.07522, -6.18088, -3.26496, 2.71586, 3.33975],
            (63, 64): [-4.68436, 1.79032, -1.67967, -8.11427, 0.50425, -2.93309, 6.5454],
        },
    ),
    (96, 160): (
        (-0.142976, 3.84658),
        {
            (0, 0): [-0.74953, 1.48423, 1.46265, -3.8166, 2.4794, -3.94242, -1.5512],
            (32, 32): [-2.54158, 3.14049, -2.22831, -4.56498, -0.1301, -2.70706, 3.07803],
            (54, 159): [-5.15599, -4.43652, -6.01158, -7.48391, -6.29772, 0.38017, 2.72633],
            (95, 80): [-3.23919, 0.90782, 1.04182, -7.87899, -1.83421, -3.50867, 5.6841],
        },
    ),
    (384, 480): (
        (-0.40257, 4.671257),
        {
            (0, 0): [-0.88491, 3.7504, 1.30098, -2.62056, 1.37069, -1.96219, -0.49434],
            (128, 96): [-6.57869, 2.66042, -4.33388, -5.83417, -1.44721, -6.67518, 10.83402],
            (219, 479): [-4.49273, -4.23514, -6.03996, -6.68494, -8.52325, 1.92995, 0.82082],
            (383, 240): [-2.17569, 1.19983, -0.8444, -8.26383, 1.45874, -2.00731, 9.32988],
        },
    ),
}

NAMES = ("road", "sky", "car", "person", "tree")
PALETTE = [[128, 64, 128], [70, 130, 180], [0, 0, 142], [220, 20, 60], [107, 142, 35]]


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("model") / "bisenetv2_fcn_4x4_1024x1024_160k_cityscapes.pth"
    return load(write(path, checkpoint()))


@pytest.mark.parametrize(("height", "width"), GOLDEN)
def test_logits_are_those_of_the_original(cityscapes: Model, height: int, width: int) -> None:
    assert_logits(cityscapes, (height, width), GOLDEN[height, width])


def test_metadata(cityscapes: Model) -> None:
    metadata = cityscapes.metadata
    assert not cityscapes.network.training
    assert metadata.mean == pytest.approx((0.485, 0.456, 0.406), abs=1e-9)
    assert metadata.std == pytest.approx((0.229, 0.224, 0.225), abs=1e-9)
    assert metadata.channel_order == "rgb"
    assert metadata.resolution == (2048, 1024)
    architecture = metadata.architecture
    assert (architecture.num_classes, architecture.head_channels) == (19, 1024)
    assert (architecture.upsampling, architecture.expand_in) == ("bilinear", "depthwise")
    assert architecture.aggregation_bias
    assert "unknown" in metadata.license


@pytest.mark.parametrize(
    "meta",
    [
        {"CLASSES": NAMES, "PALETTE": PALETTE},
        {"dataset_meta": {"classes": NAMES, "palette": PALETTE, "reduce_zero_label": False}},
    ],
    ids=["version 0.x", "version 1.x"],
)
def test_classes_are_those_of_meta(meta: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth", {"state_dict": state_dict(**SMALL), "meta": meta})
    classes = load(path).metadata.classes
    assert [(c.id, c.name) for c in classes] == list(enumerate(NAMES))
    assert [list(c.color) for c in classes] == PALETTE


@pytest.mark.parametrize("meta", [None, {}, {"CLASSES": None, "dataset_meta": None}])
def test_classes_have_numbers_where_meta_has_none(meta: object, tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth", {"state_dict": state_dict(**SMALL), "meta": meta})
    classes = load(path).metadata.classes
    assert [c.name for c in classes] == [f"class_{i}" for i in range(5)]


def test_names_without_colors_get_colors(tmp_path: Path) -> None:
    meta = {"dataset_meta": {"classes": NAMES, "palette": None}}
    path = write(tmp_path / "x.pth", {"state_dict": state_dict(**SMALL), "meta": meta})
    classes = load(path).metadata.classes
    assert tuple(c.name for c in classes) == NAMES
    assert len({c.color for c in classes} | {(0, 0, 0)}) == 6


def test_a_class_file_names_them(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth", checkpoint(19, 8))
    file = Path(__file__).parents[3] / "config/classes/cityscapes.yaml"
    assert load(path, file).metadata.classes[13].name == "car"


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("auxiliary_heads", [True, False])
def test_every_key_is_used_once(wrapped: bool, auxiliary_heads: bool, tmp_path: Path) -> None:
    original = state_dict(**SMALL, auxiliary_heads=auxiliary_heads)
    value = {"state_dict": original, "meta": {}, "optimizer": {}} if wrapped else original
    _, tensors = read_checkpoint(write(tmp_path / "x.pth", value))
    inference = [
        value
        for name, value in original.items()
        if not name.startswith("auxiliary_head") and not name.endswith("num_batches_tracked")
    ]
    assert_each_once(tensors.values(), inference)


def test_it_can_be_saved_as_a_model_file(cityscapes: Model, tmp_path: Path) -> None:
    save(tmp_path / "x.safetensors", cityscapes.network, cityscapes.metadata)
    again = load(tmp_path / "x.safetensors")
    assert again.metadata == cityscapes.metadata
    stored = again.network.state_dict()
    bias = "aggregation.semantic_keep.1.bias"
    assert torch.equal(stored[bias], cityscapes.network.state_dict()[bias].half().float())


NAN = torch.full((5, 8, 1, 1), torch.nan)
BIAS = "backbone.bga.detail_dwconv.0.pointwise_conv.conv.bias"
REFUSED: dict[str, tuple[Callable[[StateDict], object], str]] = {
    "missing bias": (without(BIAS), rf"missing: {BIAS}; unknown: none"),
    "missing in the head": (
        without("decode_head.conv_seg.bias"),
        r"missing: decode_head\.conv_seg",
    ),
    "a second convolution in the head": (
        lambda s: s | {"decode_head.convs.1.conv.weight": NAN},
        r"missing: none; unknown: decode_head\.convs\.1\.conv\.weight\)",
    ),
    "another head": (
        lambda s: {name.replace("conv_seg", "cls"): value for name, value in s.items()},
        r"bisenetv2 with the FCNHead of its configs \(missing: decode_head\.conv_seg",
    ),
    "not a tensor": (
        lambda s: s | {"decode_head.conv_seg.bias": 3},
        "conv_seg.bias' is of type int",
    ),
    "shape": (lambda s: s | {BIAS: torch.zeros(3)}, r"has shape \(3,\)"),
    "NaN": (lambda s: s | {"decode_head.conv_seg.weight": NAN}, "contains NaN"),
    "one class, by a threshold": (lambda s: state_dict(1, 8), "num_classes is 1"),
    "another network": (
        lambda s: {f"backbone.stem.{i}.weight": NAN for i in range(3)},
        "of a supported project",
    ),
    "no state dict": (lambda s: NAN, "of a supported project"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    change, message = REFUSED[case]
    path = write(tmp_path / "x.pth", {"state_dict": change(state_dict(**SMALL)), "meta": {}})
    assert_refused(path, message)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        (
            {"CLASSES": NAMES[:4], "PALETTE": PALETTE[:4]},
            "5 classes, but its meta has 4 names and 4 col",
        ),
        ({"CLASSES": NAMES, "PALETTE": PALETTE[:4]}, "5 names and 4 colors"),
        ({"CLASSES": 5}, "classes that are not a list"),
        ({"CLASSES": NAMES, "PALETTE": [1, 2, 3, 4, 5]}, "classes that are not a list"),
        ({"CLASSES": [*NAMES[:4], "road"]}, "name 'road' is empty or given twice"),
        ({"CLASSES": NAMES, "PALETTE": [*PALETTE[:4], [0, 0, 256]]}, r"color \(0, 0, 256\)"),
    ],
)
def test_unusable_classes_are_refused(meta: object, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth", {"state_dict": state_dict(**SMALL), "meta": meta})
    with pytest.raises(ModelFileError, match=message):
        load(path)


def test_the_layout_has_as_many_tensors_as_the_original() -> None:
    assert (len(shapes(19, 1024, True)), len(shapes(19, 1024, False))) == (385, 329)
