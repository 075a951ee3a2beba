"""Read small YAML, JSON and text files of unknown origin within bounds.

Nothing that such a file holds can take more than a second or much memory: its size, the depth of
its nesting, the number of its values and the length of numbers are limited, YAML aliases (which
expand exponentially) are refused, and so is all that is not a regular file, such as a FIFO that
nobody writes to.
"""

import json
import os
import stat
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from bisenet_ros.errors import DocumentError, first_line, quoted

MAX_BYTES = 128 * 1024
"""Largest file. A class file of 255 classes has a tenth of it."""

MAX_DEPTH = 20
"""Deepest nesting of lists and mappings in YAML."""

MAX_JSON_DEPTH = 100
"""The same in JSON. The recipe of a fine-tuned model holds that of the model before it."""

MAX_VALUES = 10_000
"""Most values in YAML, which PyYAML reads at 20,000 a second. 255 classes have a quarter."""

MAX_DIGITS = 100
"""Longest number in YAML, in characters."""


def read_text(path: str | Path, limit: int = MAX_BYTES) -> str:
    """Return the text of a small UTF-8 file, without a byte order mark.

    Args:
        path: the file.
        limit: its largest size in bytes.

    Raises:
        DocumentError: not a regular file, larger than ``limit``, not UTF-8, or not readable.
    """
    try:
        # Without O_NONBLOCK, open() waits for somebody to write to a FIFO.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DocumentError(f"{path} is not a regular file")
            data = file.read(limit + 1)
    except OSError as error:
        raise DocumentError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > limit:
        raise DocumentError(f"{path} is larger than {limit // 1024} KiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"{path} is not UTF-8 text: {error}") from error


def parse_yaml(text: str) -> Any:
    """Return the plain values of a YAML document: dicts, lists, strings, numbers, None.

    Raises:
        DocumentError: malformed, with aliases or a key twice in one mapping, or beyond
            ``MAX_DEPTH``, ``MAX_VALUES`` or ``MAX_DIGITS``.
    """
    try:
        # The loader is a SafeLoader: it builds plain values only.
        return yaml.load(text, Loader=_BoundedLoader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date
        raise DocumentError(f"it is not YAML: {' '.join(str(error).split())}") from error
    except (LookupError, AttributeError) as error:  # as for !!bool 7 and !!timestamp x
        raise DocumentError("it is not YAML: it has a value that its tag does not fit") from error


def parse_json(text: str) -> Any:
    """Return the plain values of a JSON document.

    Raises:
        DocumentError: malformed, with a key twice in one object, or nested deeper than
            ``MAX_JSON_DEPTH``.
    """
    too_deep = DocumentError(f"it is JSON nested deeper than {MAX_JSON_DEPTH} levels")
    try:
        document = json.loads(text, object_pairs_hook=_unique_keys)
    except RecursionError:
        raise too_deep from None
    except ValueError as error:
        raise DocumentError(f"it is not JSON: {first_line(error)}") from error
    level = [document]
    for _ in range(MAX_JSON_DEPTH):
        level = [inner for value in level for inner in _within(value)]
    if any(isinstance(value, dict | list) for value in level):
        raise too_deep
    return document


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a dict; refuse what Python would take the last of."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise DocumentError(f"it has {quoted(twice)} twice in one object")
    return found


def _within(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class _BoundedLoader(yaml.SafeLoader):
    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._values = 0

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        known = set()
        # The tag of a mapping may be on another node, which the base class refuses.
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if (key.tag, str(key.value)) in known:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"line {line} has {quoted(key.value)} a second time")
            known.add((key.tag, str(key.value)))
        return super().construct_mapping(node, deep)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            line = self.get_event().start_mark.line + 1  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"line {line} has an alias (*name): write it out")
        if self._depth == MAX_DEPTH:
            raise yaml.YAMLError(f"nested deeper than {MAX_DEPTH} levels")
        if self._values == MAX_VALUES:
            raise yaml.YAMLError(f"it has more than {MAX_VALUES} values")
        self._values += 1
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        # Those to base 60, as in 1:59:59, take time with the square of their length.
        if node is not None and node.tag in _NUMBERS and len(node.value) > MAX_DIGITS:
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"line {line} has a number of {len(node.value)} characters")
        return node
