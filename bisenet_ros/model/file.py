"""Model files: one ``.safetensors`` with the weights and, in its header, their ``Metadata``.

Loading validates the metadata and checks that the weights are finite. They are checked against the
architecture when ``Model.network`` is built, since only PyTorch knows its layers.
"""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors
import safetensors.numpy

from bisenet_ros.atomic import atomic_write
from bisenet_ros.classes import read_classes
from bisenet_ros.documents import parse_json
from bisenet_ros.errors import DocumentError, ModelFileError, UserError
from bisenet_ros.model.metadata import Metadata, from_json, to_json
from bisenet_ros.model.weights import (
    Arrays,
    StoredWeights,
    check_finite,
    in_float16,
    network_arrays,
)
from bisenet_ros.resources import SHIPPED_MODEL, classes_path, model_path

if TYPE_CHECKING:
    from bisenet_ros.network import BiSeNetV2

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

_NUMPY_TYPES = {"F16", "F32", "F64"}
"""Types of weights that are read without PyTorch, by their names in the file."""


@dataclass(frozen=True)
class Model:
    """A model.

    - ``weights``: of a file; or a network in eval mode, float32, on the CPU, without booster heads.
    """

    name: str
    weights: "BiSeNetV2 | StoredWeights"
    metadata: Metadata

    @property
    def network(self) -> "BiSeNetV2":
        """The network in PyTorch, built on first use; see ``weights``.

        Raises:
            ModelFileError: the weights of the file do not match its architecture.
        """
        weights = self.weights
        return weights.network if isinstance(weights, StoredWeights) else weights

    def arrays(self) -> Arrays:
        """Return the weights by name, float32, whether or not the network has been built."""
        weights = self.weights
        return weights.arrays() if isinstance(weights, StoredWeights) else network_arrays(weights)


def save(path: str | Path, network: "BiSeNetV2", metadata: Metadata) -> None:
    """Write the weights of ``network`` as float16, and ``metadata``, atomically.

    Booster heads are left out. Missing parent folders are created.

    Raises:
        ModelFileError: the result could not be loaded again: a weight is not finite in float16,
            or the metadata is not valid or describes another architecture.
        OSError: the file cannot be written.
    """
    path = Path(path)
    weights = in_float16(network_arrays(network))
    try:
        check_finite(weights)
        document = json.dumps(to_json(metadata))
        if from_json(json.loads(document)).architecture != network.architecture:
            raise ModelFileError("its metadata describes another architecture than the network has")
    except ModelFileError as error:
        raise ModelFileError(f"cannot write {path}: {error}") from error
    try:
        # safetensors creates files that only their owner can read.
        with atomic_write(path, mode=0o644) as written:
            safetensors.numpy.save_file(weights, written, metadata={"format": "pt", _KEY: document})
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
        The model; its ``network`` is a torch module in eval mode on the CPU, built on first use,
        which raises ModelFileError if the weights do not match the architecture.

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
        read = _read if path.suffix == ".safetensors" else _read_checkpoint
        metadata, arrays = read(path)
        if classes is not None:
            metadata = _with_classes(metadata, Path(classes))
        check_finite(arrays)
    except UserError as error:
        raise ModelFileError(f"model {path}: {error}") from error
    weights = StoredWeights(path, metadata.architecture, arrays)
    if read is _read_checkpoint:
        _ = weights.network  # PyTorch is imported already, so report a wrong shape at once
    return Model(path.stem, weights, metadata)


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


def has_weights_of(stored: Model, network: "BiSeNetV2") -> bool:
    """Return whether ``stored`` has the architecture and, in float16, the weights of ``network``.

    Args:
        stored: a model loaded from a file that ``save`` wrote.
        network: a network of any precision on any device.
    """
    found, wanted = stored.arrays(), in_float16(network_arrays(network))
    return (
        stored.metadata.architecture == network.architecture
        and found.keys() == wanted.keys()
        and all(np.array_equal(array, wanted[name]) for name, array in found.items())
    )


def _read(path: Path) -> tuple[Metadata, Arrays]:
    try:
        with path.open("rb") as file:
            # The header begins with its own length, little-endian.
            (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        if length > MAX_HEADER and length < path.stat().st_size:
            raise ModelFileError(
                f"its header has {length >> 20} MiB, more than the {MAX_HEADER >> 20} MiB of any "
                "model file; download it again"
            )
        with safetensors.safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            types = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
            readable = _NUMPY_TYPES.issuperset(types.values())
            arrays = {name: file.get_tensor(name) for name in types} if readable else None
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
    metadata = from_json(document)
    return metadata, _read_by_torch(path) if arrays is None else arrays


def _read_by_torch(path: Path) -> Arrays:
    """Return the weights of a file with types that NumPy does not have."""
    from safetensors.torch import load_file

    from bisenet_ros.model.build_network import to_arrays

    return to_arrays(load_file(path))


def _read_checkpoint(path: Path) -> tuple[Metadata, Arrays]:
    from bisenet_ros.model.build_network import to_arrays
    from bisenet_ros.model.converters import read_checkpoint

    metadata, tensors = read_checkpoint(path)
    return metadata, to_arrays(tensors)


def _with_classes(metadata: Metadata, path: Path) -> Metadata:
    classes = read_classes(path)
    if len(classes) != metadata.architecture.num_classes:
        raise ModelFileError(
            f"has {metadata.architecture.num_classes} classes, but class file {path} has "
            f"{len(classes)}; use the class file that the model was trained with"
        )
    return replace(metadata, classes=classes)
