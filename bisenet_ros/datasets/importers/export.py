"""Contents of a labeling tool's export, independent of its format."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.errors import DatasetError, quoted
from bisenet_ros.images.files import files_below, is_image_file
from bisenet_ros.images.label_images import Color

UNLABELED = -1
"""Value of ``Drawing`` for pixels that the export gives no class."""

UNCERTAIN = -2
"""Value of ``Drawing`` for pixels that an object without an outline may cover: they are void, also
where unlabeled pixels get a class."""

Drawing = NDArray[np.int16]
"""Labels of an image, [H,W]: positions in ``Export.classes``, ``UNLABELED`` or ``UNCERTAIN``."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom edge [px]."""

Draw = Callable[[int, int], Drawing]
"""Draws the labels of an image at (width, height); raises DatasetError or ImageFileError."""

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Splits by the names that tools give them."""

MAX_EXTENT = 10
"""Farthest coordinate of a shape, in multiples of the image's longer side. Shapes may leave the
image, but libraries take memory by their extent."""


@dataclass(frozen=True)
class Source:
    """Location of an export.

    - ``root``: its folder, or its file if the format has a single one.
    - ``images``: folder of its images, if they are elsewhere.
    - ``classes``: file of its class names, if it has none of its own.
    - ``ids``, ``colors``: values of label images that the user maps to a class without naming them
      in ``classes``.
    """

    root: Path
    images: Path | None = None
    classes: Path | None = None
    ids: tuple[int, ...] = ()
    colors: tuple[Color, ...] = ()

    @property
    def folder(self) -> Path:
        """Return the folder that the export is in; annotations/ is a part of it."""
        if self.root.is_dir():
            return self.root
        parent = self.root.parent
        return parent.parent if parent.name == "annotations" else parent


@dataclass(frozen=True)
class SourceClass:
    """A class of an export.

    - ``id``: its number in the export; None if the format has none.
    - ``color``: its color in the export; None if it has none.
    - ``empty``: a heading above other classes, without labels of its own.
    """

    id: int | None
    name: str
    color: Color | None = None
    empty: bool = False


@dataclass(frozen=True)
class Picture:
    """An image and how to draw its labels.

    - ``name``: its path in the export, which names its files and its sequence.
    - ``content``: its file, or a function that returns the file's bytes.
    - ``size``: (width, height) that the labels are for; None if the export does not state it.
    - ``draw``: draws the labels at ``size``.
    - ``split``: train, val or test, or empty if the export does not split.
    """

    name: PurePosixPath
    content: Path | Callable[[], bytes]
    size: tuple[int, int] | None
    draw: Draw
    split: str = ""


@dataclass(frozen=True)
class Export:
    """Contents of an export.

    - ``notes``: sentences on what was not taken over.
    - ``problems``: a sentence for each image that cannot be used.
    """

    classes: tuple[SourceClass, ...]
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def split_name(name: str) -> str:
    """Return the split that a folder or list of this name stands for, or an empty string.

    A number may follow: "train2017".
    """
    return SPLITS.get(re.sub(r"[-_]?[0-9]+$", "", name.lower()), "")


def relative_path(text: str) -> PurePosixPath | None:
    """Return a path that an export gives, or None if it is absolute or leads out of its folder.

    Backslashes are separators: exports come from Windows, too.
    """
    path = PurePosixPath(text.replace("\\", "/"))
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and not parts:
            return None
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return PurePosixPath(*parts) if parts and "\0" not in text and not _is_absolute(text) else None


def _is_absolute(text: str) -> bool:
    return text.startswith(("/", "\\")) or re.match("[A-Za-z]:", text) is not None


@dataclass(frozen=True)
class ImageFinder:
    """Finds the files of an export's images, in ``root`` and nowhere else.

    - ``root``: folder of the export, or of its images if they are elsewhere.
    - ``base``: folder in ``root`` that paths are relative to.
    - ``folders``: further folders in ``root`` to look into.
    - ``deep``: whether to look up bare names in their subfolders, too.
    - ``elsewhere``: whether the beginning of paths may differ.
    """

    root: Path
    base: PurePosixPath
    folders: tuple[Path, ...]
    deep: bool
    elsewhere: bool

    def find(self, text: str) -> Path:
        """Return the file of the image that the export calls ``text``.

        Of the path on another machine as much of the end is taken as exists here.

        Raises:
            DatasetError: there is no such image, or there are several.
        """
        path = relative_path(text)
        parts = [part for part in re.split(r"[\\/]+", text) if part not in ("", ".", "..")]
        tries = [path] if path is not None else []
        if _is_absolute(text) or self.elsewhere:
            tries += [PurePosixPath(*parts[start:]) for start in range(len(parts))]
        from_base = None if _is_absolute(text) else relative_path(f"{self.base}/{text}")
        files = [self.root / from_base] if from_base is not None else []
        files += [folder / name for name in tries for folder in self.folders]
        for file in files:
            if is_file(file):
                return file
        if self.deep and path is not None and len(path.parts) == 1:
            found = self._by_name.get(path.name, [])
            if len(found) == 1:
                return found[0]
            if found:
                raise DatasetError(
                    f"image {quoted(text)} may be {found[0]} or {found[1]}; give the folder of "
                    "the images with --images"
                )
        if from_base is None and path is None:
            raise DatasetError(
                f"image {quoted(text)} leads out of the export {self.root}; give the folder of the "
                "images with --images"
            )
        where = " or ".join(str(folder) for folder in self.folders)
        raise DatasetError(f"image {quoted(text)} is not in {where}; add it, or give --images")

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        paths = {path for folder in self.folders for path in files_below(folder)}
        for path in sorted(filter(is_image_file, paths)):
            found.setdefault(path.name, []).append(path)
        return found


def image_finder(source: Source, path: Path, *more: Path, deep: bool) -> ImageFinder:
    """Return a finder of the images of file ``path``: in ``source.images``, else beside it.

    Args:
        source: where the export is.
        path: file that names the images.
        more: further folders that they may be in, in the folder of the export.
        deep: see ``ImageFinder``.
    """
    base = PurePosixPath(path.parent.relative_to(source.folder).as_posix())
    if source.images is not None:
        return ImageFinder(source.images, base, (source.images,), deep, elsewhere=True)
    beside = (path.parent, *more)
    folders = dict.fromkeys(each for folder in beside for each in (folder, folder / "images"))
    found = tuple(folder for folder in folders if folder.is_dir())
    return ImageFinder(source.folder, base, found, deep, elsewhere=False)


def mark_uncertain(drawing: Drawing, box: Box | None = None) -> None:
    """Make the unlabeled pixels that ``box`` touches uncertain, at least one; None is the image.

    Args:
        drawing: [H,W], changed in place.
        box: finite; the part outside of the image is ignored.
    """
    region = drawing if box is None else region_of(drawing, box)
    region[region == UNLABELED] = UNCERTAIN


def region_of(drawing: Drawing, box: Box) -> Drawing:
    """Return a view of the pixels that ``box``, which is finite, touches."""
    left, top = (max(0, math.floor(edge)) for edge in box[:2])
    right, bottom = (
        max(0, math.ceil(end), math.floor(start) + 1)
        for start, end in zip(box[:2], box[2:], strict=True)
    )
    return drawing[top:bottom, left:right]


def whole_number(value: object) -> int | None:
    """Return a whole number, or None. 7.0 and "7", as some tools write, are 7."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        return int(value) if re.fullmatch("[0-9]{1,18}", value) else None
    return value if type(value) is int else None


def stated_size(width: object, height: object) -> tuple[int, int] | None:
    """Return the size of an image by its export, or None if that states none or 0.

    Raises:
        DatasetError: it is not a size.
    """
    sides = [whole_number(side or 0) for side in (width, height)]
    if sides == [0, 0]:
        return None
    if sides[0] is None or sides[1] is None or min(sides[0], sides[1]) <= 0:
        raise DatasetError(
            f"its labels are for an image of width {quoted(width)} and height {quoted(height)}; "
            "correct or remove these"
        )
    return sides[0], sides[1]


def is_file(path: Path) -> bool:
    """Return whether ``path`` is a file, also if it is no valid path."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def check_points(
    points: Sequence[object], least: int, width: int, height: int
) -> NDArray[np.float64]:
    """Return the coordinates of a shape as [N,2], N at least ``least``.

    Args:
        points: numbers, or pairs of them.
        least: number of points that the shape needs.
        width: width of the image [px].
        height: height of the image [px].

    Raises:
        DatasetError: they are too few, or not finite numbers within ``MAX_EXTENT``.
    """
    try:
        array = np.array(points, np.float64).reshape(-1, 2)
    except (TypeError, ValueError, OverflowError):
        array = np.empty((0, 2))
    if len(array) < least:
        raise DatasetError(f"a shape has points {quoted(points)}, not {least} or more x, y")
    limit = MAX_EXTENT * max(width, height)
    if not np.isfinite(array).all() or (np.abs(array).max() > limit):
        raise DatasetError(
            f"a shape has points farther than {limit} pixels from an image of {width}x{height}; "
            "correct or remove it"
        )
    return array
