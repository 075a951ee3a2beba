"""Errors that a user can mend by asking for something else."""

from collections.abc import Iterator
from contextlib import contextmanager


class InferenceError(ValueError):
    """A backend, device, precision or resolution that this machine or model cannot serve."""


class UnusableEngineError(InferenceError):
    """A compiled engine that its library does not load."""


@contextmanager
def engine_errors(engine: str, device: str) -> Iterator[None]:
    """Turn what a library raises where a device fails or memory runs out into ``InferenceError``.

    ``engine`` and ``device`` are for the message.
    """
    try:
        yield
    # TypeError is what TensorRT's constructors raise where CUDA does not start.
    except (RuntimeError, MemoryError, TypeError) as error:
        raise InferenceError(
            f"{engine} failed on {device} ({cause(error)}); if memory ran out, end what else uses "
            f"it, or lower the resolution; else see that the driver of {device} fits {engine}"
        ) from error


def cause(error: Exception) -> str:
    """The line of a library's message that says what happened.

    That is the first one, but in OpenVINO's, whose lines before the last name places in its
    sources: "Exception from src/inference/...".
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1] if lines[0].startswith("Exception from ") else lines[0]
