"""Model files: weights in one ``.safetensors`` together with what they mean.

Loading checks all of it, and that the weights are those of the architecture that is named.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from bisenet_ros.atomic import atomic_write
from bisenet_ros.classes import read_classes
from bisenet_ros.errors import ModelFileError, UserError, quoted
from bisenet_ros.model.converters import read_checkpoint
from bisenet_ros.model.metadata import Metadata, abbreviate, from_json, to_json
from bisenet_ros.network import BiSeNetV2
from bisenet_ros.resources import SHIPPED_MODEL, classes_path, model_path

__all__ = [
    "Metadata",
    "Model",
    "ModelFileError",
    "has_weights_of",
    "load",
    "load_model",
    "save",
    "update_metadata",
]

_KEY = "bisenet_ros"


@dataclass(frozen=True)
class Model:
    """A loaded model: ``network`` is in eval mode, fp32, on the CPU, without boosters."""

    name: str
    network: BiSeNetV2
    metadata: Metadata


def save(path: str | Path, network: BiSeNetV2, metadata: Metadata) -> None:
    """Write the inference part of ``network`` as fp16, and ``metadata``, atomically.

    Raises:
        ModelFileError: a file would come of it that ``load`` refuses.
        OSError: the file cannot be written.
    """
    path = Path(path)
    tensors = {
        name: tensor.detach().cpu().to(torch.float16).contiguous()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and not name.startswith("boosters.")
    }
    try:
        _check_finite(tensors)
        document = json.dumps(to_json(metadata))
        if from_json(json.loads(document)).architecture != network.architecture:
            raise ModelFileError("its metadata has another architecture than the network")
    except ModelFileError as error:
        raise ModelFileError(f"cannot write {path}: {error}") from error
    try:
        with atomic_write(path) as written:
            safetensors.torch.save_file(tensors, written, metadata={"format": "pt", _KEY: document})
            written.chmod(0o644)  # safetensors makes it private
    except safetensors.SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}; is the disk full?") from error


def load_model(model: str | Path = "", classes: str | Path = "") -> Model:
    """Load a model by its path or its name.

    Args:
        model: path of a ``.safetensors`` of ours or of a ``.pth`` that ``converters`` know, or the
            bare name of a shipped model; empty for the shipped CamVid model.
        classes: path of a class file, or camvid, cityscapes or cocostuff, whose names and colors
            replace those in the file; empty for the file's own.

    Returns:
        The model; its ``network`` is a torch module in eval mode on the CPU.

    Raises:
        ModelFileError: one sentence with the file, what is wrong with it and what to do.
    """
    return load(model_path(model), classes_path(classes))


def load(path: str | Path, classes: str | Path | None = None) -> Model:
    """Load a model file, or a checkpoint of a project that ``converters`` know.

    Args:
        path: a ``.safetensors`` of ours, or a ``.pth``.
        classes: a class file (see ``read_classes``) that replaces the names and colors in the
            file. Foreign checkpoints carry none: without it their classes have numbers for names.

    Raises:
        ModelFileError: one sentence with the file, what is wrong with it and what to do.
    """
    path = Path(path)
    if path.is_dir():
        raise ModelFileError(
            f"{path} is a folder; of a training run give {path / 'model.safetensors'}"
        )
    if not path.is_file():
        raise ModelFileError(
            f"no model file at {path}: check the path; {SHIPPED_MODEL} is the shipped model"
        )
    try:
        read = _read if path.suffix == ".safetensors" else read_checkpoint
        metadata, tensors = read(path)
        if classes is not None:
            metadata = _with_classes(metadata, Path(classes))
        network = _network(metadata, tensors)
    except UserError as error:
        raise ModelFileError(f"model {path}: {error}") from error
    return Model(path.stem, network, metadata)


def update_metadata(path: str | Path, model: Model, change: Callable[[Metadata], Metadata]) -> None:
    """Replace the metadata in the file ``path`` of ``model`` by what ``change`` makes of them.

    They are read again, so that what others wrote since ``model`` was loaded stays.

    Raises:
        ModelFileError: the file cannot be used, or has other weights than ``model`` by now.
        OSError: the file cannot be written.
    """
    now = load(path)
    if not has_weights_of(now, model.network):
        raise ModelFileError(
            f"model {path} was replaced by another meanwhile, and what was measured is not stored "
            "in it; run this again"
        )
    save(path, now.network, change(now.metadata))


def has_weights_of(stored: Model, network: BiSeNetV2) -> bool:
    """Whether ``stored``, from a file, is ``network`` as ``save`` writes it: in fp16."""
    found, wanted = stored.network.state_dict(), network.state_dict()
    return stored.metadata.architecture == network.architecture and all(
        torch.equal(tensor, wanted[name].cpu().to(torch.float16).to(tensor.dtype))
        for name, tensor in found.items()
        if tensor.is_floating_point()
    )


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
            "has weights but no bisenet_ros metadata, so classes and normalization are unknown; "
            "write it with 'bisenet train', or pass the original checkpoint"
        )
    try:
        document = json.loads(header[_KEY])
    except json.JSONDecodeError as error:
        raise ModelFileError(f"its metadata is not JSON ({error}); write it again") from error
    return from_json(document), tensors


def _network(metadata: Metadata, tensors: Mapping[str, Tensor]) -> BiSeNetV2:
    """The network of ``metadata`` with ``tensors`` in it, once they are the ones that it has."""
    network = BiSeNetV2(metadata.architecture)
    wanted = {n: t for n, t in network.state_dict().items() if t.is_floating_point()}
    missing = sorted(wanted.keys() - tensors.keys())
    extra = sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        raise ModelFileError(
            f"its tensors are not those of its architecture (missing: {abbreviate(missing)}; "
            f"unknown: {abbreviate(extra)}); the file does not belong to this version or variant"
        )
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise ModelFileError(
                f"tensor {quoted(name)} has shape {tuple(tensor.shape)} and its architecture needs "
                f"{tuple(wanted[name].shape)}; check num_classes and head_channels"
            )
    _check_finite(tensors)
    for name, tensor in tensors.items():
        wanted[name].copy_(tensor)
    return network.eval()


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ModelFileError(
                f"tensor {quoted(name)} holds NaN or infinity (in fp16), so the training "
                "diverged; use an earlier checkpoint"
            )


def _with_classes(metadata: Metadata, path: Path) -> Metadata:
    classes = read_classes(path)
    if len(classes) != metadata.architecture.num_classes:
        raise ModelFileError(
            f"has {metadata.architecture.num_classes} classes and class file {path} "
            f"{len(classes)}; use the class file that it was trained with"
        )
    return replace(metadata, classes=classes)
