"""Naming CUDA devices, and freeing their memory."""

from contextlib import suppress

import torch

from bisenet_ros.errors import InferenceError, quoted


def cuda_number(device: str, engine: str, others: str) -> int:
    """Return N for "cuda:N", and 0 for "cuda".

    Args:
        device: the name to parse.
        engine: name of the engine, for the error.
        others: other devices that ``engine`` supports, for the error.

    Raises:
        InferenceError: ``device`` is neither.
    """
    kind, _, number = device.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise InferenceError(
            f"device {quoted(device)} is not supported by {engine}; use {others}, cuda or cuda:N"
        )
    return int(number or 0)


def cuda_device(number: int) -> torch.device:
    """Return the CUDA device ``number``, from 0.

    Raises:
        InferenceError: it does not exist.
    """
    count = torch.cuda.device_count()
    if number >= count:
        raise InferenceError(
            f"device 'cuda:{number}' not found: this PyTorch ({torch.__version__}) sees {count} "
            "CUDA devices; use another device, or install a PyTorch built for CUDA"
        )
    return torch.device("cuda", number)


def release_memory() -> None:
    """Release the unused GPU memory that PyTorch caches."""
    # After a GPU fault every call raises, which would mask the original error.
    with suppress(RuntimeError):
        torch.cuda.empty_cache()
