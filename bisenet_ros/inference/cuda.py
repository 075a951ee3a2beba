"""Naming CUDA devices, and freeing their memory."""

from contextlib import suppress
from typing import TYPE_CHECKING

from bisenet_ros.errors import InferenceError, quoted
from bisenet_ros.inference.libraries import has_cuda_driver, library_version

if TYPE_CHECKING:
    import torch


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


def cuda_device_count() -> int:
    """Return the number of CUDA devices; without a driver, PyTorch is not imported for it."""
    if not has_cuda_driver():
        return 0
    import torch

    return torch.cuda.device_count()


def cuda_device(number: int) -> "torch.device":
    """Return the CUDA device ``number``, from 0.

    Raises:
        InferenceError: it does not exist.
    """
    count = cuda_device_count()
    if number >= count:
        raise InferenceError(
            f"device 'cuda:{number}' not found: this PyTorch ({library_version('torch')}) sees "
            f"{count} CUDA devices; use another device, or install a PyTorch built for CUDA"
        )
    import torch

    return torch.device("cuda", number)


def release_memory() -> None:
    """Release the unused GPU memory that PyTorch caches."""
    import torch

    # After a GPU fault every call raises, which would mask the original error.
    with suppress(RuntimeError):
        torch.cuda.empty_cache()
