"""Errors that a user can mend by asking for something else."""

from collections.abc import Iterator
from contextlib import contextmanager

from bisenet_ros.first_line import first_line


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
    except (RuntimeError, MemoryError) as error:
        if (engine, device) == ("torch", "cpu") and not _is_of_memory(error):
            raise  # nothing is there that could fail but our own code
        driver = "" if device == "cpu" else f"; else see that the driver of {device} fits {engine}"
        raise InferenceError(
            f"{engine} failed on {device} ({cause(error)}); if memory ran out, end what else uses "
            f"it, or lower the resolution{driver}"
        ) from error


def _is_of_memory(error: Exception) -> bool:
    """On the CPU PyTorch has no class of its own for these."""
    return isinstance(error, MemoryError) or any(
        text in str(error) for text in ("allocate memory", "out of memory")
    )


def cause(error: Exception) -> str:
    """The line of a library's message that says what happened.

    That is the first one, but in OpenVINO's, whose lines before the last name places in its
    sources: "Exception from src/inference/...".
    """
    first = first_line(error)
    return str(error).strip().splitlines()[-1] if first.startswith("Exception from ") else first
