"""Read small YAML, JSON and text files of unknown origin within bounds.

Nothing that such a file holds can take more than a second or much memory: its size and the depth of
its nesting are limited, YAML aliases (which expand exponentially) are refused, and so is all that
is not a regular file, such as a FIFO that nobody writes to.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any

import yaml

from bisenet_ros.errors import DocumentError, first_line

MAX_BYTES = 128 * 1024
"""Largest file. A class file of 255 classes has a tenth of it."""

MAX_DEPTH = 20
"""Deepest nesting of lists and mappings."""


def read_text(path: str | Path) -> str:
    """Return the text of a small UTF-8 file, without a byte order mark.

    Raises:
        DocumentError: not a regular file, larger than ``MAX_BYTES``, not UTF-8, or not readable.
    """
    try:
        # Without O_NONBLOCK, open() waits for somebody to write to a FIFO.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DocumentError(f"{path} is not a regular file")
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DocumentError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise DocumentError(f"{path} is larger than {MAX_BYTES // 1024} KiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"{path} is not UTF-8 text: {error}") from error


def parse_yaml(text: str) -> Any:
    """Return the plain values of a YAML document: dicts, lists, strings, numbers, None.

    Raises:
        DocumentError: malformed, with aliases, or nested deeper than ``MAX_DEPTH``.
    """
    try:
        # The loader is a SafeLoader: it builds plain values only.
        return yaml.load(text, Loader=_BoundedLoader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date, a huge number
        raise DocumentError(f"it is not YAML: {' '.join(str(error).split())}") from error


def parse_json(text: str) -> Any:
    """Return the plain values of a JSON document.

    Raises:
        DocumentError: malformed, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise DocumentError("it is not JSON that can be used: nested too deeply") from None
    except ValueError as error:
        raise DocumentError(f"it is not JSON: {first_line(error)}") from error


class _BoundedLoader(yaml.SafeLoader):
    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            line = self.get_event().start_mark.line + 1  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"line {line} has an alias (*name): write it out")
        if self._depth == MAX_DEPTH:
            raise yaml.YAMLError(f"nested deeper than {MAX_DEPTH} levels")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node
