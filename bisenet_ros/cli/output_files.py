"""Files that a subcommand writes at its end, checked at its beginning."""

from collections.abc import Iterable
from pathlib import Path


def check_output_files(files: Iterable[Path | None], plots: Iterable[Path | None] = ()) -> None:
    """Refuse what could not be written after minutes of work; None is a file not asked for.

    Raises:
        ValueError: a folder that is not there, or a plot's suffix that matplotlib does not know.
    """
    pictures = [plot for plot in plots if plot is not None]
    for file in (*(file for file in files if file is not None), *pictures):
        if not file.absolute().parent.is_dir():
            raise ValueError(f"cannot write {file}: there is no folder {file.parent}")
    for picture in pictures:
        from matplotlib.backend_bases import FigureCanvasBase

        formats = FigureCanvasBase.get_supported_filetypes()
        if picture.suffix[1:].lower() not in formats:
            raise ValueError(
                f"cannot draw {picture}: its suffix must be one of {', '.join(formats)}"
            )
