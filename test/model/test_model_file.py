"""Model files: save and load round trips, and the error for each way a file can be damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bisenet_ros.classes import SemanticClass
from bisenet_ros.errors import ModelFileError
from bisenet_ros.inference import resolution
from bisenet_ros.model import metadata
from bisenet_ros.model.file import Metadata, load, save, update_metadata
from bisenet_ros.model.metadata import Score, to_json
from bisenet_ros.network import PRESETS, Architecture, BiSeNetV2

CLASSES = (
    SemanticClass(0, "sky", (128, 128, 128)),
    SemanticClass(1, "road", (128, 64, 128)),
    SemanticClass(2, "car", (64, 0, 128)),
)
METADATA = Metadata(
    preset="bisenetv2_paper",
    architecture=replace(
        PRESETS["bisenetv2_paper"], num_classes=3, head_channels=8, lambda_=Fraction(1, 8)
    ),
    classes=CLASSES,
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
    resolution=(96, 64),
    channel_order="bgr",
    dataset="a test",
    license="none",
    scores=(Score("val", "miou", "fp32", 0.5, "torch avx2"),),
    recipe={"iterations": 3, "scales": [0.5, 1.0]},
)


def network_of(architecture: Architecture, boosters: bool = False) -> BiSeNetV2:
    torch.manual_seed(1)
    network = BiSeNetV2(architecture, boosters=boosters)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "good.safetensors"
    save(path, network_of(METADATA.architecture, boosters=True), METADATA)
    return path


def rewrite(
    good: Path,
    path: Path,
    document: Callable[[dict[str, Any]], object] = lambda d: d,
    tensors: Callable[[dict[str, Tensor]], dict[str, Tensor]] = lambda t: t,
) -> Path:
    """Write a copy of ``good`` with changed metadata or tensors to ``path``."""
    with safetensors.safe_open(good, framework="pt") as file:
        header = json.loads(file.metadata()["bisenet_ros"])
    changed = json.dumps(document(header))
    save_file(tensors(load_file(good)), path, metadata={"bisenet_ros": changed})
    return path


def test_round_trip(good: Path) -> None:
    original = network_of(METADATA.architecture, boosters=True)
    model = load(good)
    assert model.name == "good"
    assert model.metadata == METADATA
    assert model.network.architecture == METADATA.architecture
    assert not model.network.training
    assert len(model.network.boosters) == 0
    stored = model.network.state_dict()
    for name, tensor in original.state_dict().items():
        if tensor.is_floating_point() and not name.startswith("boosters."):
            assert stored[name].dtype == torch.float32
            assert torch.equal(stored[name], tensor.half().float()), name
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected, logits = original.eval()(image), model.network(image)
    assert float((expected - logits).abs().max()) < 0.01 * float(expected.abs().max())
    assert not torch.equal(expected, logits)  # so the bound above is not vacuous


def test_fields_are_read_by_their_old_names(good: Path, tmp_path: Path) -> None:
    def old(document: dict[str, Any]) -> dict[str, Any]:
        quantities = document["architecture"]
        quantities |= {"alpha": quantities.pop("width"), "d": quantities.pop("depth")}
        return {**without("license")(document), "licence": document["license"]}

    assert load(rewrite(good, tmp_path / "old.safetensors", old)).metadata == load(good).metadata


def test_a_loaded_model_can_be_saved_again(good: Path, tmp_path: Path) -> None:
    model = load(good)
    save(tmp_path / "again.safetensors", model.network, model.metadata)
    assert load(tmp_path / "again.safetensors").metadata == METADATA
    first, again = load_file(good), load_file(tmp_path / "again.safetensors")
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_file_is_fp16_and_has_no_boosters(good: Path) -> None:
    tensors = load_file(good)
    assert {t.dtype for t in tensors.values()} == {torch.float16}
    assert not [name for name in tensors if name.startswith("boosters")]
    assert good.stat().st_mode & 0o777 == 0o644


def test_class_file_replaces_names_and_colors(good: Path, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("0 himmel 1 2 3\n1 weg 4 5 6\n2 auto 7 8 9\n")
    metadata = load(good, tmp_path / "c.txt").metadata
    assert metadata.classes[1] == SemanticClass(1, "weg", (4, 5, 6))
    assert replace(metadata, classes=CLASSES) == METADATA


def test_class_file_with_another_number_of_classes_is_refused(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_text("0 himmel 1 2 3\n1 weg 4 5 6\n")
    with pytest.raises(ModelFileError, match=rf"has 3 classes, but class file {path} has 2; use"):
        load(good, path)
    with pytest.raises(ModelFileError, match="cannot use class file"):
        load(good, tmp_path / "none.txt")


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.safetensors"
    with pytest.raises(ModelFileError, match=f"no model file at {path}: check the path"):
        load(path)
    with pytest.raises(ModelFileError, match=r"is a folder; give .*/model\.safetensors of a"):
        load(tmp_path)


@pytest.mark.parametrize("share", [0, 0.0001, 0.5, 0.999])
def test_truncated(good: Path, tmp_path: Path, share: float) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(good.read_bytes()[: int(share * good.stat().st_size)])
    with pytest.raises(ModelFileError, match=r"not a readable .* may be truncated"):
        load(path)


@pytest.mark.parametrize(
    "content",
    [
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7000000\n",
        b"<!DOCTYPE html><html>Not found</html>",
        b"\x08" + bytes(7) + b'{"a": 1}',
    ],
)
def test_foreign_content(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="Git LFS pointer: download it again") as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_weights_of_another_project(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ModelFileError, match="no bisenet_ros metadata"):
        load(path)
    save_file({"weight": torch.zeros(3)}, path, metadata={"bisenet_ros": "{"})
    with pytest.raises(ModelFileError, match="metadata cannot be read: it is not JSON"):
        load(path)


def field(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda document: {**document, name: value}


def architecture(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda d: {**d, "architecture": {**d["architecture"], name: value}}


def without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: {n: v for n, v in document.items() if n != name}


SKY = {"id": 0, "name": "sky", "color": [1, 2, 3]}
SCORE = asdict(METADATA.scores[0])
BAD_METADATA: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda d: [], "metadata has format None, but this version reads up to 2"),
    (field("format", 3), "metadata has format 3, but this version reads up to 2; update"),
    (without("format"), "metadata has format None"),
    *[
        (without(name), f"field '{name}' is None, which cannot be used")
        for name in vars(METADATA)
        if name != "calibration"  # optional: files of version 0.1 do not have it
    ],
    (field("preset", "bisenetv1"), "'preset' is 'bisenetv1'.*must be one of bisenetv2, "),
    (field("architecture", None), "'architecture' is None"),
    (architecture("lambda_", "1/0"), "'architecture'"),
    (architecture("lambda_", float("inf")), "'architecture'.*Infinity"),
    *[
        (architecture("lambda_", value), "'architecture'.*lambda_ must be a ratio such as 1/4")
        for value in ("much", "1e100000000", "1" * 10, "1/" + "9" * 10**6, "", [1], True)
    ],
    (architecture("lambda_", "2"), "'architecture'.*lambda_ is Fraction"),
    (architecture("width", 0), "'architecture'.*width is 0"),
    (architecture("tallness", 2), "'architecture'.*unexpected keyword argument 'tallness'"),
    (architecture("head_channels", "8"), "'architecture'.*head_channels is '8'"),
    (architecture("expand_in", "x"), "'architecture'.*expand_in is 'x'; it must be one of depthwi"),
    (architecture("upsampling", "x"), "'architecture'.*upsampling is 'x'; it must be one of bilin"),
    (architecture("num_classes", 4), "names 3 classes, but its architecture has 4"),
    (field("classes", 3), "'classes' is 3"),
    (field("classes", [SKY]), "'classes'.*1 classes; there must be 2 to 255"),
    (field("classes", [SKY, SKY, SKY]), "'classes'.*1 is missing or another id is given twice"),
    (field("classes", [SKY, {"id": 1, "name": "car"}]), "'classes'.*'color' is missing"),
    (field("classes", [SKY, SKY | {"id": "1"}]), "'classes'.*id must be a whole number"),
    (
        field("classes", [SKY, SKY | {"id": 1, "name": "b", "color": [1, 2, 300]}]),
        r"'classes'.*color \(1, 2",
    ),
    (field("mean", [0.1, 0.2]), "'mean'.*must be three numbers"),
    (field("mean", "rgb"), "'mean'.*must be three numbers"),
    (field("mean", ["a", 0, 0]), "'mean'.*could not convert"),
    (field("mean", [0.1, 0.2, float("nan")]), "'mean'.*must be finite"),
    (field("std", [0.1, 0.2, 0]), "'std'.*must be positive"),
    (field("resolution", [96]), "'resolution'.*a width and a height"),
    (field("resolution", [8200, 64]), "'resolution'.*in 8..8192"),
    (field("resolution", [True, 64]), "'resolution'"),
    (field("resolution", [96, 60]), "'resolution'.*divisible by 8"),
    (field("resolution", [96, 0]), "'resolution'.*in 8..8192"),
    (field("resolution", [96.0, 64]), "'resolution'"),
    (field("channel_order", "grb"), "'channel_order' is 'grb'.*must be one of rgb, bgr"),
    (field("dataset", 3), "'dataset' is 3.*must be text"),
    (field("license", None), "'license' is None.*must be text"),
    (field("scores", [0.5]), "'scores'.*must be a list of records"),
    (field("scores", [SCORE | {"value": 50}]), r"'scores'.*must be in \[0, 1\]"),
    (field("scores", [SCORE | {"value": "high"}]), "'scores'.*could not convert"),
    (field("scores", [SCORE | {"measured_on": 3}]), "'scores'.*must be text"),
    (field("scores", [{"dataset": "val"}]), "'scores'.*'measure' is missing"),
    (field("recipe", "sgd"), "'recipe' is 'sgd'.*must be a mapping"),
    (field("recipe", {"init": "a"}), "'recipe'.*must be a mapping"),
    (field("recipe", {"init": {"init": None}}), "'recipe'.*must be a mapping"),
    (field("license", "x" * 10**6), "'license'.*must be text of at most 100000 characters"),
    # Which would take 100 GB, if it were built before it is compared with the file.
    (
        lambda d: {
            **d,
            "architecture": d["architecture"] | {"width": 8, "depth": 16, "epsilon": 16},
        },
        "tensors do not match its architecture",
    ),
]


@pytest.mark.parametrize(("change", "message"), BAD_METADATA)
def test_bad_metadata(
    good: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = rewrite(good, tmp_path / "x.safetensors", document=change)
    with pytest.raises(ModelFileError, match=message) as caught:
        _ = load(path).network
    assert str(caught.value).startswith(f"model {path}: ")


LAST = "head.2.weight"


def retyped(kind: torch.dtype) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: tensors | {LAST: tensors[LAST].to(kind)}


BAD_TENSORS: list[tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], str]] = [
    (lambda t: {n: v for n, v in t.items() if n != LAST}, r"missing: head\.2\.weight; unknown: no"),
    (lambda t: t | {"x": torch.zeros(1)}, r"missing: none; unknown: x\)"),
    (
        lambda t: t | {LAST: torch.zeros(3, 9, 1, 1)},
        r"'head\.2\.weight' has shape \(3, 9, 1, 1\), but its architecture needs \(3, 8, ",
    ),
    (lambda t: t | {LAST: torch.full((3, 8, 1, 1), torch.nan)}, r"'head\.2\.weight' contains NaN"),
    (lambda t: t | {LAST: torch.full((3, 8, 1, 1), torch.inf)}, r"'head\.2\.weight' contains NaN"),
    (lambda t: {}, "missing: .* and [0-9]+ more; unknown: none"),
    *[
        (retyped(kind), f"'head.2.weight' is {str(kind)[6:]}; weights must be dense float16")
        for kind in (torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.complex64)
    ],
]


@pytest.mark.parametrize(("change", "message"), BAD_TENSORS)
def test_bad_tensors(
    good: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    message: str,
) -> None:
    path = rewrite(good, tmp_path / "x.safetensors", tensors=change)
    with pytest.raises(ModelFileError, match=message) as caught:
        _ = load(path).network
    assert str(caught.value).startswith(f"model {path}: ")


def imported(code: str, *arguments: object) -> set[str]:
    """Return the modules that a new process has imported after ``code``."""
    code += "; import sys; print(*sys.modules)"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_a_model_is_read_without_pytorch_and_its_network_built_without_the_compiler(
    good: Path,
) -> None:
    """They take seconds, at every start of a node."""
    code = "import sys; from bisenet_ros import load_model; model = load_model(sys.argv[1])"
    assert "torch" not in imported(f"{code}; model.arrays()", good)
    with_network = imported(f"{code}; model.network", good)
    assert "torch" in with_network
    assert "sympy" not in with_network


def test_weights_are_the_same_whether_or_not_the_network_was_built(good: Path) -> None:
    model = load(good)
    before = {name: array.tobytes() for name, array in model.arrays().items()}
    with torch.no_grad():
        model.network.head[2].bias += 1
    after = {name: array.tobytes() for name, array in model.arrays().items()}
    assert {name for name in before if before[name] != after[name]} == {"head.2.bias"}
    assert before.keys() == after.keys()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32, torch.float64])
def test_weights_of_other_types_are_read(good: Path, tmp_path: Path, kind: torch.dtype) -> None:
    path = rewrite(
        good, tmp_path / "x.safetensors", tensors=lambda t: {n: v.to(kind) for n, v in t.items()}
    )
    expected = load_file(good)[LAST].to(kind).float()
    assert torch.equal(torch.from_numpy(load(path).arrays()[LAST]), expected)
    assert torch.equal(load(path).network.head[2].weight, expected)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_what_is_no_regular_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    os.mkfifo(path)
    with pytest.raises(ModelFileError, match=f"{path} is not a regular file; give a model file"):
        load(path)


def test_a_long_header_is_refused(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(load_file(good), path, metadata={"bisenet_ros": "x" * (4 << 20)})
    with pytest.raises(ModelFileError, match="its header has 4 MiB, more than the 4 MiB"):
        load(path)


@pytest.mark.parametrize("depth", [98, 99, 5000])
def test_recipes_may_be_nested_but_not_too_deeply(good: Path, tmp_path: Path, depth: int) -> None:
    path = tmp_path / "x.safetensors"
    with safetensors.safe_open(good, framework="pt") as file:
        header = file.metadata()["bisenet_ros"]
    nested = '"recipe": ' + '{"init": ' * depth + "{}" + "}" * depth + ', "old"'
    text = header.replace('"recipe"', nested)
    save_file(load_file(good), path, metadata={"bisenet_ros": text})
    if depth == 98:
        assert to_json(load(path).metadata)["recipe"]["init"]["init"]
        return
    with pytest.raises(ModelFileError, match=r"metadata cannot be read: .* nested deeper than 100"):
        load(path)


def test_a_score_s_key_of_version_0_1_takes_no_time(good: Path, tmp_path: Path) -> None:
    key = "a" + " iou b" * 10_000 + " "

    def old(document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "format": 1, "scores": {key: 0.5, "val miou fp32": 0.25}}

    scores = load(rewrite(good, tmp_path / "x.safetensors", old)).metadata.scores
    assert scores == (Score(key, "", "", 0.5), Score("val", "miou", "fp32", 0.25))


def test_the_largest_resolution_is_that_of_engines() -> None:
    assert metadata.MAX_SIDE == resolution.MAX_SIDE


def test_tensors_of_another_variant(good: Path, tmp_path: Path) -> None:
    path = rewrite(
        good, tmp_path / "x.safetensors", document=architecture("expand_in", "depthwise")
    )
    with pytest.raises(ModelFileError, match=r"'semantic\.S\S+' has shape"):
        _ = load(path).network


def test_update_metadata_keeps_changes_of_other_processes(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(good.read_bytes())
    model = load(path)
    theirs, ours = Score("val", "miou", "bf16", 0.25), Score("val", "miou", "int8", 0.75)
    save(path, model.network, replace(model.metadata, scores=(theirs,)))
    update_metadata(path, model, lambda now: replace(now, scores=(*now.scores, ours)))
    assert load(path).metadata.scores == (theirs, ours)


@pytest.mark.parametrize("head_channels", [8, 16])
def test_update_metadata_refuses_a_file_that_was_replaced(
    good: Path, tmp_path: Path, head_channels: int
) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(good.read_bytes())
    model = load(path)
    architecture = replace(METADATA.architecture, head_channels=head_channels)
    other = network_of(architecture)
    with torch.no_grad():
        next(other.parameters()).add_(1)
    save(path, other, replace(METADATA, architecture=architecture))
    before = path.read_bytes()
    with pytest.raises(ModelFileError, match=r"m\.safetensors was replaced by one with other"):
        update_metadata(path, model, lambda now: replace(now, scores=()))
    assert path.read_bytes() == before


def test_save_creates_folders_and_replaces_an_existing_file(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.safetensors"
    network = network_of(METADATA.architecture)
    for dataset in ("first", "second"):
        save(path, network, replace(METADATA, dataset=dataset))
        assert load(path).metadata.dataset == dataset
    assert list(path.parent.iterdir()) == [path]


def test_update_metadata_writes_through_a_symlink(good: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "target.safetensors", tmp_path / "latest.safetensors"
    target.write_bytes(good.read_bytes())
    link.symlink_to(target)
    model = load(link)
    update_metadata(link, model, lambda now: replace(now, license="by the link"))
    assert link.is_symlink()
    assert load(target).metadata.license == "by the link"


def test_failed_save_keeps_the_existing_file_and_leaves_no_other(
    good: Path, tmp_path: Path
) -> None:
    model = load(good)
    path = tmp_path / "x.safetensors"
    path.write_text("before")
    with pytest.raises(TypeError):
        save(path, model.network, replace(METADATA, recipe={"device": torch.device("cpu")}))
    taken = tmp_path / "folder.safetensors"  # a file cannot replace it
    (taken / "full").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        save(taken, model.network, METADATA)
    assert sorted(tmp_path.iterdir()) == [taken, path]
    assert path.read_text() == "before"


def test_save_refuses_what_load_would_refuse(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    network = network_of(METADATA.architecture)
    with pytest.raises(ModelFileError, match=r"cannot write .*names 2 classes"):
        save(path, network, replace(METADATA, classes=CLASSES[:2]))
    other = replace(METADATA.architecture, upsampling="nearest")
    with pytest.raises(ModelFileError, match="another architecture"):
        save(path, network, replace(METADATA, architecture=other))
    with torch.no_grad():
        network.head[2].bias[0] = 1e6  # beyond the range of fp16
    with pytest.raises(ModelFileError, match=r"'head\.2\.bias' contains NaN or infinity"):
        save(path, network, METADATA)
    assert list(tmp_path.iterdir()) == []
