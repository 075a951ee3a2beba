"""Errors that users can fix, one tree, and how outside values appear in their messages.

``bisenet``, the node's lifecycle transitions and its frame handler catch ``UserError`` and
``OSError`` and show the message alone. Everything else is a bug and shows its traceback.
"""

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager

MAX_VALUE = 200
"""Longest quotation of a value in a message, in characters."""

MAX_MESSAGE = 4096
"""Longest message, in characters."""


class UserError(ValueError):
    """What a user can fix. The message names the thing, its value and the remedy."""


class UsageError(UserError):
    """A command-line option or a combination of options that is not valid; exit status 2."""


class OutputError(UserError):
    """A file or folder that cannot be written."""


class DocumentError(UserError):
    """A YAML, JSON or text file that is malformed, or too large to be what it should be."""


class ClassesError(UserError):
    """A class list that is not valid."""


class ModelFileError(UserError):
    """A model file or checkpoint of weights that cannot be used."""


class ImageFileError(UserError):
    """A file that cannot be decoded as an image."""


class SourceError(UserError):
    """An input (video, folder, bag, camera) that gives no frames."""


class BagError(SourceError):
    """A bag whose images cannot be read."""


class DatasetError(UserError):
    """A dataset that cannot be used."""


class LabelsError(DatasetError):
    """Label images that do not fit the model's classes."""


class SettingsError(UserError):
    """A training setting that is not valid."""


class CheckpointError(UserError):
    """A training checkpoint that cannot be resumed."""


class TrainingError(UserError):
    """A training run that cannot start or continue."""


class InferenceError(UserError):
    """A backend, device, precision or resolution that this machine or model cannot serve."""


class DeviceError(InferenceError):
    """A device that PyTorch cannot use."""


class UnusableEngineError(InferenceError):
    """A compiled engine that its library does not load."""


class ParityError(InferenceError):
    """An engine whose labels differ from its model's beyond the limit."""


class EngineCacheError(UserError):
    """A cache folder that cannot be listed or cleared."""


class ParameterError(UserError):
    """A ROS parameter whose value is not valid."""


class ImageError(UserError):
    """An image message that cannot be decoded."""


class NodeError(UserError):
    """A node that does not do what was asked; the message has the cause from its log."""


def quoted(value: object) -> str:
    """Return ``repr(value)`` with control characters escaped, at most ``MAX_VALUE`` characters."""
    return _shortened(_repr.repr(value), MAX_VALUE)


def first_line(error: BaseException) -> str:
    """Return the first line of another library's message, or the exception's type if it is empty.

    At most ``MAX_VALUE`` characters.
    """
    return _shortened((str(error).strip() or type(error).__name__).splitlines()[0], MAX_VALUE)


def describe(error: BaseException) -> str:
    """Return ``str(error)`` fit for a terminal, a log or a ROS message.

    Control characters except newlines are escaped; at most ``MAX_MESSAGE`` characters.
    """
    return _shortened(str(error), MAX_MESSAGE)


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


def _shortened(text: str, length: int) -> str:
    # Cut first: escaping 100 MB takes seconds.
    kept = text[: length + 1]
    if not kept.replace("\n", "").isprintable():
        kept = "".join(
            character
            if character.isprintable() or character == "\n"
            else character.encode("unicode_escape", "surrogatepass").decode("ascii")
            for character in kept
        )
    return kept if len(kept) <= length else f"{kept[: length - 1]}…"


_repr = reprlib.Repr()
# Unlike repr(), reprlib never builds the whole text of a huge value.
_repr.maxstring = _repr.maxother = _repr.maxlong = MAX_VALUE
_repr.maxlist = _repr.maxtuple = _repr.maxset = _repr.maxfrozenset = _repr.maxdict = 20
