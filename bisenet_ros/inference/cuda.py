"""CUDA devices: by their names, and giving back their memory."""

from contextlib import suppress

import torch

from bisenet_ros.errors import InferenceError, quoted


def cuda_number(device: str, engine: str, others: str) -> int:
    """N of "cuda:N", and 0 of "cuda".

    Args:
        device: the name.
        engine: for the error.
        others: the names besides that ``engine`` knows, for the error.

    Raises:
        InferenceError: it is neither.
    """
    kind, _, number = device.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise InferenceError(
            f"device {quoted(device)} is not for {engine}; use {others}, cuda or cuda:N"
        )
    return int(number or 0)


def cuda_device(number: int) -> torch.device:
    """The device of that number.

    Raises:
        InferenceError: it is not there.
    """
    count = torch.cuda.device_count()
    if number >= count:
        raise InferenceError(
            f"device 'cuda:{number}' is not there: this PyTorch ({torch.__version__}) sees {count} "
            "CUDA devices; use another device, or install a PyTorch built for CUDA"
        )
    return torch.device("cuda", number)


def release_memory() -> None:
    """Give back what PyTorch keeps of the GPU's memory."""
    # After a fault of the GPU every call raises, which would hide the error that told of it.
    with suppress(RuntimeError):
        torch.cuda.empty_cache()
