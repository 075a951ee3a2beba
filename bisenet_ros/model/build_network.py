"""From the tensors of a file to a network in PyTorch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bisenet_ros.errors import ModelFileError, quoted
from bisenet_ros.model.metadata import abbreviate
from bisenet_ros.model.weights import Arrays
from bisenet_ros.network import Architecture, BiSeNetV2

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def to_arrays(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[np.floating[Any]]]:
    """Return tensors as arrays; bfloat16, which NumPy does not have, becomes float32.

    Raises:
        ModelFileError: a tensor is of another type, or not dense.
    """
    arrays = {}
    for name, tensor in tensors.items():
        plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
        if tensor.dtype not in _FLOATS or not plain:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ModelFileError(
                f"tensor {quoted(name)} is {kind}{'' if plain else ', not dense'}; weights must be "
                "dense float16, bfloat16, float32 or float64: save the original ones"
            )
        exact = tensor.float() if tensor.dtype is torch.bfloat16 else tensor
        arrays[name] = exact.detach().numpy()
    return arrays


def build_network(architecture: Architecture, arrays: Arrays) -> BiSeNetV2:
    """Return the network of ``architecture`` in eval mode with the weights ``arrays``.

    Raises:
        ModelFileError: names or shapes of the weights are not those of the architecture.
    """
    # Without memory for weights that the file may not have.
    with torch.device("meta"), _NoRandomNumbers():
        wanted = _weights(BiSeNetV2(architecture))
    missing = sorted(wanted.keys() - arrays.keys())
    extra = sorted(arrays.keys() - wanted.keys())
    if missing or extra:
        raise ModelFileError(
            f"its tensors do not match its architecture (missing: {abbreviate(missing)}; "
            f"unknown: {abbreviate(extra)}); the file is of another version or variant"
        )
    for name, array in arrays.items():
        if array.shape != wanted[name].shape:
            raise ModelFileError(
                f"tensor {quoted(name)} has shape {array.shape}, but its architecture "
                f"needs {tuple(wanted[name].shape)}; check num_classes and head_channels"
            )
    network = BiSeNetV2(architecture)
    for name, tensor in _weights(network).items():
        tensor.copy_(torch.from_numpy(arrays[name]))
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
