"""Converters of other projects' checkpoints, one module per project."""

from pathlib import Path

import torch
from torch import Tensor

from bisenet_ros.errors import ModelFileError, first_line
from bisenet_ros.model.converters import coincheung, mmseg
from bisenet_ros.model.metadata import Metadata


def read_checkpoint(path: Path) -> tuple[Metadata, dict[str, Tensor]]:
    """Read a PyTorch checkpoint of CoinCheung/BiSeNet or MMSegmentation.

    Only tensors and plain containers are unpickled, no code is run.

    Returns:
        Metadata, and the weights by their names in ``BiSeNetV2``.

    Raises:
        ModelFileError: the file is not a checkpoint, is of another project or is incomplete. The
            message does not name the file, the caller adds it.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on damaged files torch.load raises errors of almost any type
        raise ModelFileError(
            f"not a PyTorch checkpoint of plain tensors ({_first_sentence(error)}); it may be "
            "truncated, a Git LFS pointer, or contain pickled code, which is never run: download "
            "it again, or save its state_dict() alone"
        ) from error
    if isinstance(checkpoint, dict):
        if coincheung.RECOGNIZED_BY in checkpoint:
            return coincheung.convert(checkpoint)
        if mmseg.RECOGNIZED_BY in mmseg.state_dict(checkpoint):
            return mmseg.convert(checkpoint)
        if {"settings", "iteration", "network"} <= checkpoint.keys():
            raise ModelFileError(
                "a training checkpoint, which only 'bisenet train --resume' reads; give the "
                "model.safetensors next to it"
            )
    raise ModelFileError(
        "not a checkpoint of a supported project; give a bisenet_ros .safetensors, or a .pth of "
        f"the bisenetv2 of CoinCheung/BiSeNet (has key '{coincheung.RECOGNIZED_BY}') or "
        f"MMSegmentation (has key '{mmseg.RECOGNIZED_BY}')"
    )


def _first_sentence(error: Exception) -> str:
    """Return PyTorch's message without its advice to load with ``weights_only=False``."""
    return first_line(error).split(". ")[0].strip()
