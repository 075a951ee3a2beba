"""Weights as a file stores them, which become a network only where PyTorch is needed.

A node with an engine in the cache needs none: importing PyTorch takes longer than all the rest of
its start, and half of its memory.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.errors import ModelFileError, quoted
from bisenet_ros.network import Architecture

if TYPE_CHECKING:
    from bisenet_ros.network import BiSeNetV2

Arrays = Mapping[str, NDArray[np.floating[Any]]]
"""Weights by their names in ``BiSeNetV2``."""


class StoredWeights:
    """The weights of a file, and their network.

    Args:
        path: the file, for errors.
        architecture: of the network.
        arrays: the weights, finite.
    """

    def __init__(self, path: Path, architecture: Architecture, arrays: Arrays) -> None:
        self._path = path
        self._architecture = architecture
        self._arrays = arrays

    @cached_property
    def network(self) -> "BiSeNetV2":
        """The network with these weights, in eval mode, float32, on the CPU.

        Raises:
            ModelFileError: the weights do not match the architecture.
        """
        from bisenet_ros.model.build_network import build_network

        try:
            return build_network(self._architecture, self._arrays)
        except ModelFileError as error:
            raise ModelFileError(f"model {self._path}: {error}") from error

    def arrays(self) -> Arrays:
        """Return the weights as float32; those of ``network``, once it exists."""
        if "network" in vars(self):
            return network_arrays(self.network)
        return {name: array.astype(np.float32) for name, array in self._arrays.items()}


def network_arrays(network: "BiSeNetV2") -> Arrays:
    """Return the weights of a network on any device as float32, without booster heads."""
    return {
        name: tensor.detach().cpu().float().contiguous().numpy()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and not name.startswith("boosters.")
    }


def in_float16(arrays: Arrays) -> dict[str, NDArray[np.float16]]:
    """Return weights as model files store them; those out of range become infinite."""
    with np.errstate(over="ignore"):
        return {name: array.astype(np.float16) for name, array in arrays.items()}


def check_finite(arrays: Arrays) -> None:
    """Raise ModelFileError if a weight is NaN or infinite."""
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ModelFileError(
                f"tensor {quoted(name)} contains NaN or infinity in float16: the training "
                "diverged; use an earlier checkpoint"
            )
