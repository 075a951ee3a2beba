"""The tree of errors that users can fix, and quoting of outside values in their messages.

``bisenet``, the node's lifecycle transitions and its frame handler catch ``EXPECTED`` and show the
message alone. Everything else is a bug and shows its traceback.
"""

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import format_exception

MAX_VALUE = 200
"""Longest quotation of a value in a message, in characters."""

MAX_MESSAGE = 4096
"""Longest message, in characters."""


class UserError(ValueError):
    """Base of all errors that a user can fix; the message names thing, value and remedy."""


EXPECTED = (UserError, OSError)
"""Errors that are reported by their message alone. Any other exception is a bug."""


class UsageError(UserError):
    """An invalid command-line option or combination of options; exit status 2."""


class OutputError(UserError):
    """A file or folder that cannot be written."""


class DocumentError(UserError):
    """A YAML, JSON or text file that is malformed, or too large to be what it should be."""


class ClassesError(UserError):
    """An invalid class list."""


class ModelFileError(UserError):
    """A model file or checkpoint of weights that cannot be used."""


class ImageFileError(UserError):
    """A file that cannot be decoded as an image."""


class SourceError(UserError):
    """An input (video, folder, bag, camera) that yields no frames."""


class BagError(SourceError):
    """A bag whose images cannot be read."""


class DatasetError(UserError):
    """A dataset that cannot be used."""


class UndefinedValuesError(DatasetError):
    """A label file with ids or colors that its dataset does not define.

    ``values`` is the ``UndefinedValues`` of ``datasets.label_files``, which counts them; None after
    PyTorch's loader has raised a worker's exception again, from its message alone.
    """

    def __init__(self, message: str, values: object = None) -> None:
        super().__init__(message)
        self.values = values


class LabelsError(DatasetError):
    """Label images that do not match the model's classes."""


class SettingsError(UserError):
    """An invalid training setting."""


class CheckpointError(UserError):
    """A training checkpoint that cannot be resumed."""


class TrainingError(UserError):
    """A training run that cannot start or continue."""


class InferenceError(UserError):
    """A backend, device, precision or resolution that this machine or model does not support."""


class DeviceError(InferenceError):
    """A device that PyTorch cannot use."""


class UnusableEngineError(InferenceError):
    """A compiled engine that its library cannot load."""


class ParityError(InferenceError):
    """An engine whose labels differ from PyTorch's beyond the limit."""


class EngineCacheError(UserError):
    """A cache folder that cannot be listed or cleared."""


class ParameterError(UserError):
    """A ROS parameter with an invalid value."""


class ImageError(UserError):
    """An image message that cannot be decoded."""


class CameraError(UserError):
    """A camera calibration or pose that pixels cannot be located with."""


class NodeError(UserError):
    """A node that did not do what was asked; the message has the cause from its log."""


def quoted(value: object) -> str:
    """Return ``repr(value)`` with control characters escaped, at most ``MAX_VALUE`` characters."""
    try:
        text = _repr.repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits down
        text = "a number of thousands of digits"
    return _shortened(text, MAX_VALUE)


def first_line(error: BaseException) -> str:
    """Return the first line of another library's message, or the exception's type if it is empty.

    At most ``MAX_VALUE`` characters.
    """
    return _shortened((str(error).strip() or type(error).__name__).splitlines()[0], MAX_VALUE)


def describe(error: BaseException | str) -> str:
    """Return the text of ``error`` fit for a terminal, a log or a ROS message.

    Control characters except newlines are escaped; at most ``MAX_MESSAGE`` characters.
    """
    return _shortened(str(error), MAX_MESSAGE)


def describe_bug(error: BaseException) -> str:
    """Return the traceback of ``error``, escaped like ``describe``, at most ``MAX_MESSAGE`` long.

    The middle of a longer one is left out: its ends name the place and the exception.
    """
    text = "".join(format_exception(error))
    if len(text) <= MAX_MESSAGE:
        return _shortened(text, MAX_MESSAGE)
    half = MAX_MESSAGE // 2 - 2
    return _shortened(f"{_shortened(text[:half], half)}\n…\n{text[-half:]}", MAX_MESSAGE)


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Name ``path`` in the OSError of writing to it, as Python does not where the disk is full.

    Raises:
        OSError: the body raised one.
    """
    try:
        yield
    except BrokenPipeError:  # of /dev/stdout: not an error of the file
        raise
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(path)):
            raise  # it names another file
        raise OSError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def engine_errors(engine: str, device: str) -> Iterator[None]:
    """Convert a library's exception on device failure or lack of memory to ``InferenceError``.

    Args:
        engine: name of the library, for the message.
        device: name of the device, for the message. On the CPU, torch's other errors are bugs of
            this package and are not converted.

    Raises:
        InferenceError: the body raised RuntimeError or MemoryError.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if (engine, device) == ("torch", "cpu") and not _is_out_of_memory(error):
            raise
        driver = "" if device == "cpu" else f"; else check that {engine} supports {device}'s driver"
        raise InferenceError(
            f"{engine} failed on {device} ({cause(error)}); if memory ran out, stop other "
            f"processes that use it, or lower the resolution{driver}"
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    # PyTorch has no exception class for this on the CPU.
    return isinstance(error, MemoryError) or any(
        text in str(error) for text in ("allocate memory", "out of memory")
    )


def cause(error: Exception) -> str:
    """Return the line of a library's message that states the cause.

    This is the first line, except in OpenVINO's messages: these start with source locations
    ("Exception from src/inference/...") and end with the cause.
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
