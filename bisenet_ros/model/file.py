"""Model files: one ``.safetensors`` with the weights and, in its header, their ``Metadata``.

Loading validates the metadata and checks the weights against the architecture that it names.
"""

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bisenet_ros.atomic import atomic_write
from bisenet_ros.classes import read_classes
from bisenet_ros.documents import parse_json
from bisenet_ros.errors import DocumentError, ModelFileError, UserError, quoted
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

MAX_HEADER = 4 * 1024 * 1024
"""Largest header of a file, which names its tensors and holds its metadata, in bytes."""

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Model:
    """A loaded model: ``network`` is in eval mode, float32, on the CPU, without booster heads."""

    name: str
    network: BiSeNetV2
    metadata: Metadata


def save(path: str | Path, network: BiSeNetV2, metadata: Metadata) -> None:
    """Write the weights of ``network`` as float16, and ``metadata``, atomically.

    Booster heads are left out. Missing parent folders are created.

    Raises:
        ModelFileError: the result could not be loaded again: a weight is not finite in float16,
            or the metadata is not valid or describes another architecture.
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
            raise ModelFileError("its metadata describes another architecture than the network has")
    except ModelFileError as error:
        raise ModelFileError(f"cannot write {path}: {error}") from error
    try:
        # safetensors creates files that only their owner can read.
        with atomic_write(path, mode=0o644) as written:
            safetensors.torch.save_file(tensors, written, metadata={"format": "pt", _KEY: document})
    except safetensors.SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}; is the disk full?") from error


def load_model(model: str | Path = "", classes: str | Path = "") -> Model:
    """Load a model by its path or its name.

    Args:
        model: path of a ``.safetensors`` model file or of a ``.pth`` checkpoint (see ``load``), or
            the bare name of a shipped model; empty for the shipped CamVid model.
        classes: path of a class file, or camvid, cityscapes or cocostuff, whose names and colors
            replace those in the model file; empty to keep the model's own.

    Returns:
        The model; its ``network`` is a torch module in eval mode on the CPU.

    Raises:
        ModelFileError: the file is missing, damaged, of an unknown format, or its number of
            classes differs from that of ``classes``; the message names file, cause and remedy.
    """
    return load(model_path(model), classes_path(classes))


def load(path: str | Path, classes: str | Path | None = None) -> Model:
    """Load a model file, or a checkpoint of CoinCheung/BiSeNet or MMSegmentation.

    Args:
        path: ``.safetensors`` model file, or ``.pth`` checkpoint.
        classes: class file (see ``read_classes``) whose names and colors replace those in
            ``path``. Without it, the classes of a checkpoint that has no names are numbered.

    Raises:
        ModelFileError: as ``load_model``.
    """
    path = Path(path)
    if path.is_dir():
        raise ModelFileError(
            f"{path} is a folder; give the model file in it, such as "
            f"{path / 'model.safetensors'} of a training run"
        )
    if path.exists() and not path.is_file():
        raise ModelFileError(f"{path} is not a regular file; give a model file")
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
    """Apply ``change`` to the metadata stored in ``path``.

    The file is read again first, so metadata that another process wrote since ``model`` was loaded
    is kept.

    Args:
        path: the file that ``model`` was loaded from.
        model: the model whose weights the file must still have.
        change: returns the new metadata given the stored ones.

    Raises:
        ModelFileError: the file cannot be loaded, or its weights are no longer those of ``model``.
        OSError: the file cannot be written.
    """
    now = load(path)
    if not has_weights_of(now, model.network):
        raise ModelFileError(
            f"model {path} was replaced by one with other weights since it was loaded, so the "
            "results are not stored in it; run the command again"
        )
    save(path, now.network, change(now.metadata))


def has_weights_of(stored: Model, network: BiSeNetV2) -> bool:
    """Return whether ``stored`` has the architecture and, in float16, the weights of ``network``.

    Args:
        stored: a model loaded from a file that ``save`` wrote.
        network: a network of any precision on any device.
    """
    found, wanted = stored.network.state_dict(), network.state_dict()
    return stored.metadata.architecture == network.architecture and all(
        torch.equal(tensor, wanted[name].cpu().to(torch.float16).to(tensor.dtype))
        for name, tensor in found.items()
        if tensor.is_floating_point()
    )


def _read(path: Path) -> tuple[Metadata, dict[str, Tensor]]:
    try:
        with path.open("rb") as file:
            # The header begins with its own length, little-endian.
            (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        if length > MAX_HEADER and length < path.stat().st_size:
            raise ModelFileError(
                f"its header has {length >> 20} MiB, more than the {MAX_HEADER >> 20} MiB of any "
                "model file; download it again"
            )
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise ModelFileError(
            f"not a readable .safetensors file ({error}); it may be truncated or a Git LFS "
            "pointer: download it again"
        ) from error
    if _KEY not in header:
        raise ModelFileError(
            "has no bisenet_ros metadata, so its classes and normalization are unknown; "
            "use a file written by 'bisenet train', or the original .pth checkpoint"
        )
    try:
        document = parse_json(header[_KEY])
    except DocumentError as error:
        raise ModelFileError(f"its metadata cannot be read: {error}; create it again") from error
    return from_json(document), tensors


def _network(metadata: Metadata, tensors: Mapping[str, Tensor]) -> BiSeNetV2:
    """Return the network of ``metadata`` with the weights ``tensors``, which are checked."""
    # Without memory for weights that the file may not have.
    with torch.device("meta"), _NoRandomNumbers():
        wanted = _weights(BiSeNetV2(metadata.architecture))
    missing = sorted(wanted.keys() - tensors.keys())
    extra = sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        raise ModelFileError(
            f"its tensors do not match its architecture (missing: {abbreviate(missing)}; "
            f"unknown: {abbreviate(extra)}); the file is of another version or variant"
        )
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise ModelFileError(
                f"tensor {quoted(name)} has shape {tuple(tensor.shape)}, but its architecture "
                f"needs {tuple(wanted[name].shape)}; check num_classes and head_channels"
            )
        plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
        if tensor.dtype not in _FLOATS or not plain:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ModelFileError(
                f"tensor {quoted(name)} is {kind}{'' if plain else ', not dense'}; weights must be "
                "dense float16, bfloat16, float32 or float64: save the original ones"
            )
    _check_finite(tensors)
    network = BiSeNetV2(metadata.architecture)
    wanted = _weights(network)
    for name, tensor in tensors.items():
        wanted[name].copy_(tensor)
    return network.eval()


class _NoRandomNumbers(TorchFunctionMode):
    """Leaves weights as they are allocated; to draw them, the meta device imports the compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        return func(*args, **(kwargs or {}))


def _weights(network: BiSeNetV2) -> dict[str, Tensor]:
    return {n: t for n, t in network.state_dict().items() if t.is_floating_point()}


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ModelFileError(
                f"tensor {quoted(name)} contains NaN or infinity in float16: the training "
                "diverged; use an earlier checkpoint"
            )


def _with_classes(metadata: Metadata, path: Path) -> Metadata:
    classes = read_classes(path)
    if len(classes) != metadata.architecture.num_classes:
        raise ModelFileError(
            f"has {metadata.architecture.num_classes} classes, but class file {path} has "
            f"{len(classes)}; use the class file that the model was trained with"
        )
    return replace(metadata, classes=classes)
