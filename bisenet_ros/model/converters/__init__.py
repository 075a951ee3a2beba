"""Readers of other projects' checkpoints, one file a project."""

from pathlib import Path

import torch
from torch import Tensor

from bisenet_ros.errors import ModelFileError, first_line
from bisenet_ros.model.converters import coincheung, mmseg
from bisenet_ros.model.metadata import Metadata


def read_checkpoint(path: Path) -> tuple[Metadata, dict[str, Tensor]]:
    """Metadata and tensors, by our names, of a PyTorch checkpoint of a project that we know.

    Nothing in the file is executed.

    Raises:
        ModelFileError: not a checkpoint, an unknown one, or one that is not whole; the text says
            which, without the file's name.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or foreign file makes torch.load raise nearly anything
        raise ModelFileError(
            f"not a PyTorch checkpoint of plain tensors ({_first_sentence(error)}); it may be "
            "truncated, a Git LFS pointer, or hold pickled code, which is never run: fetch it "
            "again, or save its state_dict() alone"
        ) from error
    if isinstance(checkpoint, dict):
        if coincheung.RECOGNIZED_BY in checkpoint:
            return coincheung.convert(checkpoint)
        if mmseg.RECOGNIZED_BY in mmseg.state_dict(checkpoint):
            return mmseg.convert(checkpoint)
        if {"settings", "iteration", "network"} <= checkpoint.keys():
            raise ModelFileError(
                "the checkpoint of a run of 'bisenet train', which goes on with --resume; give "
                "the model.safetensors beside it"
            )
    raise ModelFileError(
        "a checkpoint of a project that is not known here; pass a bisenet_ros .safetensors, or a "
        f".pth of CoinCheung/BiSeNet's bisenetv2 (which has '{coincheung.RECOGNIZED_BY}') or of "
        f"MMSegmentation's (which has '{mmseg.RECOGNIZED_BY}')"
    )


def _first_sentence(error: Exception) -> str:
    """What torch says, less the advice to load with weights_only=False that may follow."""
    return first_line(error).split(". ")[0].strip()
