"""Find and read the .json files of an export."""

import re
from pathlib import Path
from typing import Any

from bisenet_ros.documents import parse_json, read_text
from bisenet_ros.errors import DatasetError, DocumentError
from bisenet_ros.images.files import check_regular, files_below

MAX_BYTES = 1024 * 1024 * 1024
"""Largest file. The instances of COCO 2017 take half of it."""

HEAD_BYTES = 64 * 1024
"""Part of a file that tells its format."""


def find_json(root: Path, key: str) -> list[Path]:
    """Return the .json files at or below ``root`` with ``key``, a pattern, near their start."""
    pattern = re.compile(rf'"({key})"\s*:'.encode())
    paths = [root] if root.is_file() else files_below(root)
    return [
        path
        for path in paths
        if path.suffix.lower() == ".json"
        and not path.name.startswith(".")
        and pattern.search(_head(path))
    ]


def read_json(path: Path) -> Any:
    """Return the values of a .json file.

    Raises:
        DatasetError: not a regular file, malformed, or larger than ``MAX_BYTES``.
    """
    try:
        # Python reserves the limit before it reads.
        return parse_json(read_text(path, min(path.stat().st_size, MAX_BYTES)))
    except DocumentError as error:
        text = str(error)
        raise DatasetError(text if str(path) in text else f"{path}: {text}") from error


def _head(path: Path) -> bytes:
    check_regular(path)
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)
