"""Errors that a user can mend by asking for something else."""

from collections.abc import Iterator
from contextlib import contextmanager


class InferenceError(ValueError):
    """A backend, device, precision or resolution that this machine or model cannot serve."""


@contextmanager
def torch_memory_errors(device: str) -> Iterator[None]:
    """Turn PyTorch's errors of memory, of the CPU's and of CUDA's, into ``InferenceError``."""
    try:
        yield
    except RuntimeError as error:
        # On the CPU they have no class of their own.
        if "allocate memory" in str(error) or "out of memory" in str(error):
            raise InferenceError(
                f"{device} has too little memory for this: end what else uses it, or lower the "
                "resolution"
            ) from error
        raise
