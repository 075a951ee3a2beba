"""Importers of labeling tools' exports, one module per format."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bisenet_ros.datasets.importers import coco, cvat, labelme, masks, roboflow, voc
from bisenet_ros.datasets.importers.export import Export, Source
from bisenet_ros.errors import DatasetError, UsageError, quoted

__all__ = ["AUTO", "FORMATS", "read_export", "recognize"]

AUTO = "auto"

MAX_CAUSES = 3
"""Most causes that an error lists."""


@dataclass(frozen=True)
class Format:
    """Format of an export.

    - ``folders``: description of its files, for messages.
    - ``recognize``: whether a folder or file is in this format.
    - ``read``: its images and classes.
    - ``options``: fields of ``Source`` that it can use.
    """

    folders: str
    recognize: Callable[[Path], bool]
    read: Callable[[Source], Export]
    options: tuple[str, ...]


FORMATS = {
    "coco": Format(coco.FOLDERS, coco.recognize, coco.read, ("images",)),
    "labelme": Format(labelme.FOLDERS, labelme.recognize, labelme.read, ("images",)),
    "cvat": Format(cvat.FOLDERS, cvat.recognize, cvat.read, ("images", "classes")),
    "roboflow": Format(roboflow.FOLDERS, roboflow.recognize, roboflow.read, ("classes",)),
    "voc": Format(voc.FOLDERS, voc.recognize, voc.read, ("images", "classes")),
    "masks": Format(masks.FOLDERS, masks.recognize, masks.read, ("images", "classes")),
}


def read_export(source: Source, format_: str = AUTO) -> Export:
    """Read the export of a labeling tool.

    Args:
        source: where it is.
        format_: a key of ``FORMATS``, or "auto" for the only one that it is in.

    Raises:
        DatasetError: there is no export, its format is not clear, it is malformed, or it has no
            labels.
        ClassesError: its classes are malformed.
        UsageError: ``source`` has a field that the format does not use.
    """
    root = source.root
    if not root.exists():
        raise DatasetError(f"there is no {root}; give the folder or file of an export")
    if root.is_file() and zipfile.is_zipfile(root):
        raise DatasetError(
            f"{root} is an archive; unpack it: unzip {root} -d {root.with_suffix('')}"
        )
    if source.images is not None and not source.images.is_dir():
        raise DatasetError(f"there is no folder {source.images}; give --images a folder")
    name = recognize(source) if format_ == AUTO else format_
    for option in ("images", "classes"):
        if getattr(source, option) is not None and option not in FORMATS[name].options:
            raise UsageError(f"--{option}: format {name} has its own {option}; omit the option")
    export = FORMATS[name].read(source)
    if not export.classes:
        causes = "; ".join([*export.problems, *export.notes][:MAX_CAUSES])
        raise DatasetError(f"{root} has no labels of areas{causes and f': {causes}'}")
    return export


def recognize(source: Source) -> str:
    """Return the key of ``FORMATS`` that an export is in.

    Raises:
        DatasetError: none, or several; the message lists them.
    """
    root = source.root
    found = [name for name, format_ in FORMATS.items() if format_.recognize(root)]
    if not found and source.images is not None and masks.has_label_images(root):
        found = ["masks"]
    if len(found) == 1:
        return found[0]
    if found:
        raise DatasetError(
            f"{quoted(str(root))} may be of format {' or '.join(found)}; choose one with --format"
        )
    known = "; ".join(f"{name}: {format_.folders}" for name, format_ in FORMATS.items())
    archives = sorted(root.glob("*.zip")) if root.is_dir() else []
    hint = f"; unpack {archives[0]}" if archives else ""
    raise DatasetError(f"{quoted(str(root))} is in no known format ({known}){hint}")
