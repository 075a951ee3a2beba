"""Model files: weights in one ``.safetensors`` together with what they mean.

Weights alone do not say which normalisation, class order or variant they were trained with, and
a network that runs with the wrong ones gives bad labels without a word. So everything that the
weights need to be used rightly stands in the file, and loading checks all of it.
"""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from bisenet_ros.classes import (
    UNLABELLED,
    ClassesError,
    SemanticClass,
    check_classes,
    read_classes,
)
from bisenet_ros.network import PRESETS, Architecture, BiSeNetV2
from bisenet_ros.network.aggregation import Upsampling
from bisenet_ros.network.semantic import ExpandIn

T = TypeVar("T")

FORMAT = 1
_KEY = "bisenet_ros"

ChannelOrder = Literal["rgb", "bgr"]


class ModelFileError(ValueError):
    """A model file that cannot be used; the text says what is wrong and what to do."""


@dataclass(frozen=True)
class Metadata:
    """What the weights mean.

    - ``preset``: the preset that ``architecture`` is made from.
    - ``classes``: one for each logit, in their order.
    - ``mean``, ``std``: of the channels in ``channel_order``, for images in 0..1.
    - ``resolution``: (width, height) in pixels that the network was trained for.
    - ``scores``: measured fractions, such as ``{"camvid/val miou": 0.65}``.
    - ``recipe``: the settings that trained the weights.
    """

    preset: str
    architecture: Architecture
    classes: tuple[SemanticClass, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resolution: tuple[int, int]
    channel_order: ChannelOrder = "rgb"
    ignore_id: int = UNLABELLED
    dataset: str = ""
    licence: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """A loaded model: ``network`` is in eval mode, fp32, on the CPU, without boosters."""

    name: str
    network: BiSeNetV2
    metadata: Metadata


def save(path: Path, network: BiSeNetV2, metadata: Metadata) -> None:
    """Write the inference part of ``network`` as fp16, and ``metadata``, atomically.

    A reader sees the old file or the new one, never a part of one.
    """
    tensors = {
        name: tensor.detach().cpu().to(torch.float16).contiguous()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and not name.startswith("boosters.")
    }
    header = {"format": "pt", _KEY: json.dumps(_to_json(metadata))}
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        safetensors.torch.save_file(tensors, temporary, metadata=header)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load(path: Path, classes: Path | None = None) -> Model:
    """Load a model file, or a checkpoint of a project that ``readers`` knows.

    Args:
        path: a ``.safetensors`` of ours, or a ``.pth``.
        classes: a class file (see ``read_classes``) that replaces the names and colours in the
            file. Foreign checkpoints carry none: without it their classes have numbers for names.

    Raises:
        ModelFileError: one sentence with the file, what is wrong with it and what to do.
    """
    if not path.is_file():
        raise ModelFileError(f"no model file at {path}: check the path, or leave it out to use "
                             "the shipped model")
    try:
        if path.suffix == ".safetensors":
            metadata, tensors = _read(path)
        else:
            from bisenet_ros.readers import read_checkpoint

            metadata, tensors = read_checkpoint(path)
        if classes is not None:
            metadata = _with_classes(metadata, classes)
        network = BiSeNetV2(metadata.architecture)
        _fill(network, tensors)
    except (ModelFileError, ClassesError) as error:
        raise ModelFileError(f"model {path}: {error}") from error
    return Model(path.stem, network.eval(), metadata)


def _read(path: Path) -> tuple[Metadata, dict[str, Tensor]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise ModelFileError(
            f"not a readable .safetensors file ({error}); it may be truncated or a Git LFS "
            "pointer, so fetch it again"
        ) from error
    if _KEY not in header:
        raise ModelFileError(
            "has weights but no bisenet_ros metadata, so classes and normalisation are unknown; "
            "write it with 'bisenet train', or pass the original checkpoint"
        )
    try:
        document = json.loads(header[_KEY])
    except json.JSONDecodeError as error:
        raise ModelFileError(f"its metadata is not JSON ({error}); write it again") from error
    return _from_json(document), tensors


def _fill(network: BiSeNetV2, tensors: Mapping[str, Tensor]) -> None:
    """Copy ``tensors`` into ``network``, once they are the ones that it has."""
    wanted = {n: t for n, t in network.state_dict().items() if t.is_floating_point()}
    missing = sorted(wanted.keys() - tensors.keys())
    extra = sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        raise ModelFileError(
            f"its tensors are not those of its architecture (missing: {_some(missing)}; "
            f"unknown: {_some(extra)}); the file does not belong to this version or variant"
        )
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise ModelFileError(
                f"tensor '{name}' has shape {tuple(tensor.shape)} and its architecture needs "
                f"{tuple(wanted[name].shape)}; check num_classes and head_channels"
            )
        if not tensor.isfinite().all():
            raise ModelFileError(
                f"tensor '{name}' holds NaN or infinity, so the training diverged; use an "
                "earlier checkpoint"
            )
    with torch.no_grad():
        for name, tensor in tensors.items():
            wanted[name].copy_(tensor)


def _with_classes(metadata: Metadata, path: Path) -> Metadata:
    classes = read_classes(path)
    if len(classes) != metadata.architecture.num_classes:
        raise ModelFileError(
            f"has {metadata.architecture.num_classes} classes and class file {path} "
            f"{len(classes)}; use the class file that it was trained with"
        )
    return replace(metadata, classes=classes)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (", ".join(names[:3]) + more) or "none"


def _to_json(metadata: Metadata) -> dict[str, Any]:
    document = asdict(metadata)
    document["architecture"]["lambda_"] = str(metadata.architecture.lambda_)
    return {"format": FORMAT, **document}


def _from_json(document: Any) -> Metadata:
    """Check every field of the stored metadata.

    Raises:
        ModelFileError: naming the field.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else None
        raise ModelFileError(
            f"its metadata has format {found!r} and this version reads {FORMAT}; update "
            "bisenet_ros or write the file again"
        )

    def parse(name: str, convert: Callable[[Any], T]) -> T:
        try:
            return convert(document[name])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"its metadata field '{name}' is {document.get(name)!r}, which cannot be used "
                f"({error or type(error).__name__}); write the file again"
            ) from error

    metadata = Metadata(
        preset=parse("preset", str),
        architecture=parse("architecture", _architecture),
        classes=parse("classes", _classes),
        mean=parse("mean", _triple),
        std=parse("std", _triple),
        resolution=parse("resolution", _resolution),
        channel_order=parse("channel_order", _channel_order),
        ignore_id=parse("ignore_id", int),
        dataset=parse("dataset", str),
        licence=parse("licence", str),
        scores=parse("scores", dict),
        recipe=parse("recipe", dict),
    )
    if metadata.preset not in PRESETS:
        raise ModelFileError(f"preset '{metadata.preset}' is none of {', '.join(PRESETS)}")
    if len(metadata.classes) != metadata.architecture.num_classes:
        raise ModelFileError(
            f"names {len(metadata.classes)} classes and its architecture has "
            f"{metadata.architecture.num_classes}"
        )
    if min(metadata.std) <= 0:
        raise ModelFileError(f"std {metadata.std} must be positive")
    return metadata


def _architecture(value: Any) -> Architecture:
    architecture = Architecture(**{**value, "lambda_": Fraction(value["lambda_"])})
    if architecture.expand_in not in get_args(ExpandIn):
        raise ValueError(f"expand_in must be one of {get_args(ExpandIn)}")
    if architecture.upsampling not in get_args(Upsampling):
        raise ValueError(f"upsampling must be one of {get_args(Upsampling)}")
    return architecture


def _classes(value: Any) -> tuple[SemanticClass, ...]:
    return check_classes([SemanticClass(v["id"], v["name"], tuple(v["color"])) for v in value])


def _triple(value: Any) -> tuple[float, float, float]:
    first, second, third = (float(v) for v in value)
    return first, second, third


def _resolution(value: Any) -> tuple[int, int]:
    width, height = (int(v) for v in value)
    if min(width, height) <= 0 or width % 8 or height % 8:
        raise ValueError("width and height must be positive and divisible by 8")
    return width, height


def _channel_order(value: Any) -> ChannelOrder:
    if value not in get_args(ChannelOrder):
        raise ValueError(f"must be one of {get_args(ChannelOrder)}")
    order: ChannelOrder = value
    return order
