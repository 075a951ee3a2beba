"""CoinCheung/BiSeNet checkpoints: logits of the original, use of every key, error messages."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from coincheung_checkpoint import checkpoint, image, shapes
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
from bisenet_ros.network import BiSeNetV2

pytestmark = pytest.mark.usefixtures("one_thread")

# Recorded from lib/models/bisenetv2.py of CoinCheung/BiSeNet at commit 6b4b67a without the download
# of its backbone: `checkpoint()` loaded by load_state_dict(strict=True), eval mode, input
# `image(height, width)`, fp32 on a CPU. For each size: mean and standard deviation of all logits,
# and the logits of classes 0, 3, .. 18 at some (row, column).
GOLDEN = {
    (64, 128): (
        (-0.979082, 6.984745),
        {
            (0, 0): [-9.21176, 0.88595, 2.07201, 2.36508, 0.03081, -0.89556, -1.92777],
            (21, 25): [-2.03527, -3.39583, -7.8538, -0.86023, -5.10054, 1.19738, 2.21164],
            (35, 127): [-0.45546, 4.33313, -5.40743, -4.53184, -5.73091, -2.33862, 6.41858],
            (63, 64): [-0.29861, -8.52061, 1.01889, -8.24545, 0.80291, -7.0252, 10.47953],
        },
    ),
    (96, 160): (
        (-1.346239, 7.74617),
        {
            (0, 0): [-6.8468, -0.29688, -1.03457, 1.80446, -0.11944, -1.75621, -0.69221],
            (32, 32): [-7.6471, -2.68007, -0.71448, -3.70675, -7.21814, 0.8827, -0.62322],
            (51, 159): [3.68382, 3.47023, -6.20464, -5.51023, -7.51961, 0.95397, 7.70478],
            (95, 80): [-1.32233, -8.20134, 1.52834, -11.15053, -3.19203, -7.34972, 11.16856],
        },
    ),
}


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(write(tmp_path_factory.mktemp("model") / "model_final_v2_city.pth", checkpoint()))


@pytest.mark.parametrize(("height", "width"), GOLDEN)
def test_logits_are_those_of_the_original(cityscapes: Model, height: int, width: int) -> None:
    assert_logits(cityscapes, (height, width), GOLDEN[height, width])


def test_sizes_that_the_original_does_not_support(cityscapes: Model) -> None:
    with torch.no_grad():
        assert cityscapes.network(image(40, 72)).shape == (1, 19, 40, 72)


def test_metadata(cityscapes: Model) -> None:
    metadata = cityscapes.metadata
    assert cityscapes.name == "model_final_v2_city"
    assert not cityscapes.network.training
    assert metadata.mean == (0.3257, 0.3690, 0.3223)
    assert metadata.std == (0.2112, 0.2148, 0.2115)
    assert metadata.channel_order == "rgb"
    assert metadata.resolution == (1024, 512)
    assert metadata.architecture.upsampling == "nearest"
    assert metadata.architecture.expand_in == "depthwise"
    assert "unknown" in metadata.license


@pytest.mark.parametrize(
    ("num_classes", "mean", "resolution"),
    [(150, 0.49343230, (640, 640)), (171, 0.46962251, (640, 640)), (5, 0.3257, (1024, 512))],
)
def test_each_dataset_has_its_own_normalization(
    num_classes: int, mean: float, resolution: tuple[int, int], tmp_path: Path
) -> None:
    path = write(tmp_path / "x.pth", checkpoint(num_classes, 8, boosters=False))
    metadata = load(path).metadata
    assert (metadata.mean[0], metadata.resolution) == (mean, resolution)
    assert metadata.architecture.num_classes == num_classes
    assert metadata.architecture.head_channels == 8


def test_classes_without_a_class_file_have_numbers_and_distinct_colors(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth", checkpoint(255, 8, boosters=False))
    classes = load(path).metadata.classes
    assert [c.name for c in classes[:3]] == ["class_0", "class_1", "class_2"]
    assert len({c.color for c in classes} | {(0, 0, 0)}) == 256


def test_a_class_file_names_them(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth", checkpoint(19, 8, boosters=False))
    file = Path(__file__).parents[3] / "config/classes/cityscapes.yaml"
    classes = load(path, file).metadata.classes
    assert (classes[13].name, classes[13].color) == ("car", (0, 0, 142))


@pytest.mark.parametrize("boosters", [True, False])
def test_every_key_is_used_once(boosters: bool, tmp_path: Path) -> None:
    original = checkpoint(**SMALL, boosters=boosters)
    _, tensors = read_checkpoint(write(tmp_path / "x.pth", original))
    inference = [
        value
        for name, value in original.items()
        if not name.startswith("aux") and not name.endswith("num_batches_tracked")
    ]
    assert_each_once(tensors.values(), inference)


def test_it_can_be_saved_as_a_model_file(cityscapes: Model, tmp_path: Path) -> None:
    save(tmp_path / "x.safetensors", cityscapes.network, cityscapes.metadata)
    again = load(tmp_path / "x.safetensors")
    assert again.metadata == cityscapes.metadata
    stored = again.network.state_dict()
    for name, tensor in cityscapes.network.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(stored[name], tensor.half().float()), name


NAN = torch.full((5, 8, 1, 1), torch.nan)
REFUSED: dict[str, tuple[Callable[[StateDict], object], str]] = {
    "missing": (without("bga.left1.2.weight"), r"missing: bga\.left1\.2\.weight; unknown: none"),
    "missing count": (
        without("detail.S2.1.bn.num_batches_tracked"),
        r"missing: detail\.S2\.1\.bn\.num_batches_tracked;",
    ),
    "missing in the head": (without("head.conv_out.1.weight"), r"missing: head\.conv_out\.1\.wei"),
    "missing in a booster": (without("aux3.conv.bn.bias"), r"missing: aux3\.conv\.bn\.bias;"),
    "extra": (lambda c: c | {"bga.x": NAN}, r"missing: none; unknown: bga\.x\)"),
    "extra booster": (lambda c: c | {"aux6.x": NAN}, r"unknown: aux6\.x\)"),
    "extra, not text": (lambda c: c | {7: NAN}, r"unknown: 7\)"),
    "form before July 2021": (
        lambda c: {name.replace("conv_out.1", "conv_out.0"): value for name, value in c.items()},
        r"since July 2021 \(missing: aux2\.conv_out\.1\.bias, .* and 5 more; unknown: aux2\.",
    ),
    "not a tensor": (lambda c: c | {"head.conv_out.1.bias": 3}, "conv_out.1.bias' is of type int"),
    "shape": (lambda c: c | {"bga.conv.1.bias": torch.zeros(3)}, r"has shape \(3,\)"),
    "no shape": (lambda c: c | {"head.conv_out.1.weight": torch.tensor(1.0)}, "num_classes is 0"),
    "NaN": (lambda c: c | {"head.conv_out.1.weight": NAN}, "contains NaN"),
    "one class": (lambda c: checkpoint(1, 8), "num_classes is 1"),
    "nested": (lambda c: {"state_dict": c}, "of a supported project"),
    "another project": (lambda c: {"backbone.conv.weight": NAN}, "of a supported project"),
    "a list": (lambda c: [NAN], "of a supported project"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    change, message = REFUSED[case]
    path = write(tmp_path / "x.pth", change(checkpoint(**SMALL)))
    assert_refused(path, message)


class Malicious:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("new_format", [True, False])
def test_pickled_code_is_refused_and_not_run(new_format: bool, tmp_path: Path) -> None:
    proof = tmp_path / "it_ran"
    path = tmp_path / "x.pth"
    value = checkpoint(**SMALL) | {"payload": Malicious(proof)}
    torch.save(value, path, _use_new_zipfile_serialization=new_format)
    with pytest.raises(ModelFileError, match="pickled code, which is never run"):
        load(path)
    assert not proof.exists()
    torch.load(path, weights_only=False)  # the payload does run when code is allowed
    assert proof.exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth", BiSeNetV2)
    with pytest.raises(ModelFileError, match=r"save its state_dict\(\) alone"):
        load(path)


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(new_format: bool, share: float, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save(checkpoint(**SMALL), path, _use_new_zipfile_serialization=new_format)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ModelFileError, match="truncated") as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 21000000\n",
        b"<!DOCTYPE html><html>Not found</html>",
        b"PK\x03\x04 and no more",
        bytes(range(256)) * 4,
    ],
)
def test_a_foreign_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="not a PyTorch checkpoint"):
        load(path)


def test_the_layout_has_as_many_tensors_as_the_original() -> None:
    assert (len(shapes(19, 1024, True)), len(shapes(19, 1024, False))) == (383, 327)
