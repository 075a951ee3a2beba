"""Renaming of the tensors in other projects' state dicts."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from bisenet_ros.errors import ModelFileError, quoted
from bisenet_ros.model.metadata import abbreviate
from bisenet_ros.network import Architecture, BiSeNetV2

BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
"""Tensors of a batch norm; the last one counts training steps and is not needed in inference."""


UNKNOWN_ORIGIN = "unknown; see the project that the checkpoint comes from"
"""Dataset and license of a checkpoint, which names neither."""


def rename(
    checkpoint: Mapping[Any, Any],
    architecture: Architecture,
    modules: Mapping[str, str],
    unused: Collection[str],
    form: str,
) -> dict[str, Tensor]:
    """Rename the tensors of a state dict to those of ``BiSeNetV2``.

    The state dict must have exactly the expected keys. Shapes are not checked.

    Args:
        checkpoint: the project's state dict.
        architecture: architecture whose tensors have the same names as the project's network;
            its sizes do not matter.
        modules: the project's name of each convolution and batch norm in inference, by our name.
        unused: keys that must be present as well but serve training only.
        form: description of the expected state dict, for the error message.

    Returns:
        The tensors of the inference part by our names, unchanged in shape and dtype.

    Raises:
        ModelFileError: a key is missing, unknown or not a tensor; the message names it.
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
            f"not a complete checkpoint of {form} (missing: {abbreviate(missing)}; unknown: "
            f"{abbreviate(unknown)}); save the state_dict() of the network again"
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
    """Return the output channels of a convolution; 0, which is never valid, for a scalar."""
    return next(iter(tensors[name].shape), 0)
