"""CVAT's "Segmentation mask 1.1": VOC's folders and the colors of the classes in labelmap.txt."""

from pathlib import Path

from bisenet_ros.datasets.importers import voc
from bisenet_ros.datasets.importers.export import Export, Source, SourceClass
from bisenet_ros.datasets.importers.masks import mask_reader
from bisenet_ros.documents import read_text
from bisenet_ros.errors import ClassesError, DocumentError, quoted
from bisenet_ros.images.label_images import Color

FOLDERS = "labelmap.txt, SegmentationClass/ and JPEGImages/"


def recognize(root: Path) -> bool:
    """Return whether there are labelmap.txt and label images."""
    return (root / "labelmap.txt").is_file() and voc.masks_folder(root) is not None


def read(source: Source) -> Export:
    """Read the export.

    Raises:
        DatasetError: a folder or list is missing.
        ClassesError: labelmap.txt is malformed.
    """
    path = source.folder / "labelmap.txt"
    classes = _classes(path)
    boundary = [voc.BOUNDARY] if voc.BOUNDARY not in {entry.color for entry in classes} else []
    masks = mask_reader(source, source.classes, classes, boundary, str(path))
    pictures, problems, notes = voc.list_pictures(source, masks)
    return Export(masks.classes, pictures, notes, problems)


def _classes(path: Path) -> list[SourceClass]:
    """Read lines ``name:r,g,b:parts:actions``; names may have colons.

    The id of a class is the number of classes before it, as CVAT defines for label images of one
    channel.
    """
    try:
        lines = read_text(path).splitlines()
    except DocumentError as error:
        raise ClassesError(f"cannot use the classes: {error}") from error
    classes: list[SourceClass] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, *fields = line.rsplit(":", 3)
        color = _color(fields[0]) if len(fields) == 3 else None
        if color is None:
            raise ClassesError(
                f"{path}: line {number} is {quoted(line.strip())}, not 'name:r,g,b:parts:actions'"
            )
        classes.append(SourceClass(len(classes), name, color))
    return classes


def _color(text: str) -> Color | None:
    values = [int(v) if v.strip().isdecimal() and len(v) < 9 else 256 for v in text.split(",")]
    if len(values) != 3 or max(values) > 255:
        return None
    return values[0], values[1], values[2]
