"""Output files of subcommands: checked at the start, written at the end."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bisenet_ros.errors import OutputError, write_errors


def check_output_files(
    files: Iterable[Path | None] = (),
    plots: Iterable[Path | None] = (),
    folders: Iterable[Path | None] = (),
) -> None:
    """Raise OutputError if an output could not be written later, after minutes of work.

    Args:
        files: Files to write; None is skipped, here and below.
        plots: Plots to write with matplotlib.
        folders: Folders to create or write into.

    Raises:
        OutputError: A folder is missing or not writable, or matplotlib does not support the suffix
            of a plot.
    """
    for folder in (folder for folder in folders if folder is not None):
        there = next(part for part in (folder, *folder.absolute().parents) if part.exists())
        if not there.is_dir():
            raise OutputError(f"cannot write into {folder}: {there} is a file; give a folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise OutputError(f"cannot write into {folder}: no write permission in {there}")
    pictures = [plot for plot in plots if plot is not None]
    for file in (*(file for file in files if file is not None), *pictures):
        parent = file.absolute().parent
        if not parent.is_dir():
            raise OutputError(f"cannot write {file}: no folder {file.parent}")
        if file.is_dir():
            raise OutputError(f"cannot write {file}: it is a folder")
        if not os.access(file if file.exists() else parent, os.W_OK):
            raise OutputError(f"cannot write {file}: no write permission")
    for picture in pictures:
        from matplotlib.backend_bases import FigureCanvasBase

        formats = FigureCanvasBase.get_supported_filetypes()
        if picture.suffix[1:].lower() not in formats:
            raise OutputError(
                f"cannot write plot {picture}: its suffix must be one of {', '.join(formats)}"
            )


def write_json(file: Path, document: Mapping[str, Any]) -> None:
    """Write ``document`` as JSON."""
    with write_errors(file):
        file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
