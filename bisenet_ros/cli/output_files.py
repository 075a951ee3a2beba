"""Files that a subcommand writes at its end, and checks at its beginning."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bisenet_ros.errors import OutputError


def check_output_files(
    files: Iterable[Path | None] = (),
    plots: Iterable[Path | None] = (),
    folders: Iterable[Path | None] = (),
) -> None:
    """Refuse what could not be written after minutes of work; None is one not asked for.

    Raises:
        OutputError: a folder that is missing or not writable, or a plot's suffix that matplotlib
            does not know.
    """
    for folder in (folder for folder in folders if folder is not None):
        there = next(part for part in (folder, *folder.absolute().parents) if part.exists())
        if not there.is_dir():
            raise OutputError(f"cannot write into {folder}: {there} is a file; give a folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise OutputError(f"cannot write into {folder}: you have no permission to, in {there}")
    pictures = [plot for plot in plots if plot is not None]
    for file in (*(file for file in files if file is not None), *pictures):
        parent = file.absolute().parent
        if not parent.is_dir():
            raise OutputError(f"cannot write {file}: there is no folder {file.parent}")
        if file.is_dir():
            raise OutputError(f"cannot write {file}: it is a folder")
        if not os.access(file if file.exists() else parent, os.W_OK):
            raise OutputError(f"cannot write {file}: you have no permission to")
    for picture in pictures:
        from matplotlib.backend_bases import FigureCanvasBase

        formats = FigureCanvasBase.get_supported_filetypes()
        if picture.suffix[1:].lower() not in formats:
            raise OutputError(
                f"cannot draw {picture}: its suffix must be one of {', '.join(formats)}"
            )


def write_json(file: Path, document: Mapping[str, Any]) -> None:
    """Write what ``--json`` asks for."""
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
