"""From another project's names of the network's tensors to ours."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from bisenet_ros.errors import ModelFileError, quoted
from bisenet_ros.model.metadata import abbreviate
from bisenet_ros.network import Architecture, BiSeNetV2

BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
"""The tensors of a batch norm; the last one counts, and inference has no use for it."""


def rename(
    checkpoint: Mapping[Any, Any],
    architecture: Architecture,
    modules: Mapping[str, str],
    unused: Collection[str],
    form: str,
) -> dict[str, Tensor]:
    """The inference part's tensors, by our names, of a state dict in which each key has its place.

    Args:
        checkpoint: the state dict.
        architecture: one with the tensors that the project's network has, of any sizes.
        modules: our name of each convolution and batch norm of the inference part, and theirs.
        unused: keys that must be there too, and serve training only.
        form: what the state dict has to be, for the error.

    Raises:
        ModelFileError: naming keys that are missing, unknown or no tensors.
    """
    theirs_by_ours = {}
    for ours in BiSeNetV2(architecture).state_dict():
        module, _, tensor = ours.rpartition(".")
        theirs_by_ours[ours] = f"{modules[module]}.{tensor}"
    expected = {*theirs_by_ours.values(), *unused}
    missing = sorted(expected - checkpoint.keys())
    unknown = sorted(str(key) for key in checkpoint.keys() - expected)
    if missing or unknown:
        raise ModelFileError(
            f"not a whole checkpoint of {form} (missing: {abbreviate(missing)}; unknown: "
            f"{abbreviate(unknown)}); save the state_dict() of its network again"
        )
    for key, value in checkpoint.items():
        if not isinstance(value, Tensor):
            raise ModelFileError(
                f"{quoted(key)} is of type {type(value).__name__}, not a tensor; save the "
                "state_dict() of the network again"
            )
    return {
        ours: checkpoint[theirs]
        for ours, theirs in theirs_by_ours.items()
        if not theirs.endswith(BATCH_NORM[-1])
    }


def size(tensors: Mapping[str, Tensor], name: str) -> int:
    """The output channels of a convolution; of a tensor without dimensions 0, which none has."""
    return next(iter(tensors[name].shape), 0)
