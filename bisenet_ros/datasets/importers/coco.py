"""COCO's JSON: polygons, run lengths and, beside panoptic files, images of segment ids.

Where shapes overlap, the smaller one is on top, by their number of pixels in the image; of equal
ones the later in the file. An object without an outline may cover any pixel of its box, or of the
image if it has none: those that no other object covers are uncertain.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bisenet_ros.datasets.importers.export import (
    UNLABELED,
    Box,
    Drawing,
    Export,
    ImageFinder,
    Picture,
    Source,
    SourceClass,
    check_points,
    image_finder,
    is_file,
    mark_uncertain,
    relative_path,
    split_name,
    stated_size,
    whole_number,
)
from bisenet_ros.datasets.importers.json_files import find_json, read_json
from bisenet_ros.errors import DatasetError, quoted
from bisenet_ros.images.label_images import Color, read_label_image

FOLDERS = "a .json with images, annotations and categories, and the images"
KEYS = ("images", "annotations", "categories")

KINDS = ("instances", "panoptic", "stuff", "annotations", "annotation", "coco", "labels", "result")
"""Words in the names of files that do not tell a split."""

_COMPRESSED = re.compile(rb"(?:[P-o]{0,6}[0-O])*")
"""Compressed run lengths: numbers of up to seven 6-bit digits, the last one below 32."""


def recognize(root: Path) -> bool:
    """Return whether ``root`` is such a file, or a folder that has one."""
    return bool(find_json(root, "|".join(KEYS)))


def read(source: Source) -> Export:
    """Read the files of all splits.

    Raises:
        DatasetError: there is no such file, one is malformed, or they do not fit together.
    """
    files = find_json(source.root, "|".join(KEYS))
    if not files:
        raise DatasetError(f"{source.root} has no COCO .json with the lists {', '.join(KEYS)}")
    # COCO's own annotations/ has the same images again, with captions and keypoints.
    files = [path for path in files if path.stem.startswith("instances")] or files
    documents = {path: _document(path) for path in files}
    categories = _categories(documents)
    index = {entry.id: k for k, entry in enumerate(categories)}
    tally = _Tally()
    pictures: list[Picture] = []
    problems: list[str] = []
    for path, document in documents.items():
        split = _split(path)
        finder = image_finder(source, path, *_image_folders(source, path), deep=True)
        found, missing = _pictures(path, document, split, finder, index, tally)
        pictures += found
        problems += missing
    if tally.polygons and tally.extent <= 1:
        raise DatasetError(
            f"{files[0]} has no polygon that reaches beyond 1: COCO counts pixels, not shares of "
            "the image; multiply by its width and height"
        )
    if (tally.boxes or tally.anywhere) and not tally.outlines:
        raise DatasetError(
            f"{files[0]} has boxes or points only, no outlines; export it as instance segmentation"
        )
    return Export(categories, tuple(pictures), tally.notes(), tuple(problems))


def _split(path: Path) -> str:
    """Return the split of instances_train2017.json, train.json or train/_annotations.coco.json."""
    words = [word for word in re.split(r"[-_.]", path.stem.lower()) if word not in KINDS]
    splits = [split_name(word) for word in words if word]
    return "" if len(splits) > 1 else splits[0] if splits else split_name(path.parent.name)


@dataclass
class _Tally:
    """Counts of annotations by whether they can be drawn.

    ``extent`` is the largest coordinate of the ``polygons``.
    """

    outlines: int = 0
    polygons: int = 0
    extent: float = 0
    boxes: int = 0
    anywhere: int = 0
    lines: int = 0
    without_image: int = 0

    def notes(self) -> tuple[str, ...]:
        counts = (
            (
                self.boxes,
                "annotations have a box but no outline; void where no outline covers their box",
            ),
            (
                self.anywhere,
                "annotations have neither outline nor box; their images are void where no outline "
                "covers them",
            ),
            (
                self.lines,
                "polygons have fewer than 3 points; void where no outline covers the box around "
                "them",
            ),
            (self.without_image, "annotations are of images that the file does not list"),
        )
        return tuple(f"{count} {what}" for count, what in counts if count)


@dataclass
class _Shapes:
    """Annotations of one image."""

    annotations: list[tuple[Any, Any, Box | None]] = field(default_factory=list)
    """(category id, outline, box): polygons as lists of numbers, or run lengths."""
    boxes: list[Box | None] = field(default_factory=list)
    """Boxes of objects without an outline; None if such an object may be anywhere."""
    lines: list[list[Any]] = field(default_factory=list)
    """Polygons of fewer than 3 points."""
    panoptic: tuple[list[Path], list[Any]] | None = None
    """Candidate paths of the image of segment ids, and the segments."""


def _document(path: Path) -> dict[str, list[Any]]:
    document = read_json(path)
    lists = {key: document.get(key) if isinstance(document, dict) else None for key in KEYS}
    for key, value in lists.items():
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise DatasetError(f"{path} has no list of '{key}'; it is not COCO's format")
    return {key: value for key, value in lists.items() if value is not None}


def _id(value: object) -> int | str | None:
    """Return an id, or None if ``value`` is not one."""
    number = whole_number(value)
    return value if number is None and isinstance(value, str) else number


def _categories(documents: Mapping[Path, Mapping[str, list[Any]]]) -> tuple[SourceClass, ...]:
    """Return the categories of all files, sorted by id."""
    names: dict[int, str] = {}
    colors: dict[int, Color] = {}
    used: set[object] = set()
    groups: dict[object, set[int]] = {}
    for path, document in documents.items():
        for entry in document["categories"]:
            given, name = entry.get("id"), entry.get("name")
            id_ = _id(given)
            if not isinstance(id_, int) or not isinstance(name, str):
                raise DatasetError(
                    f"{path} has category {quoted(given)} {quoted(name)}; the id must be a whole "
                    "number and the name text"
                )
            if names.setdefault(id_, name) != name:
                raise DatasetError(
                    f"{path}: category {id_} is {quoted(name)}, and also {quoted(names[id_])}; "
                    "give each file by itself, or correct it"
                )
            match entry:
                case {"color": [int(red), int(green), int(blue)]}:
                    if min(red, green, blue) >= 0 and max(red, green, blue) <= 255:
                        colors[id_] = red, green, blue
            match entry:
                case {"supercategory": str(group)}:
                    groups.setdefault(group, set()).add(id_)
        for entry in document["annotations"]:
            segments = entry.get("segments_info")
            for each in segments if isinstance(segments, list) else [entry]:
                if isinstance(each, dict):
                    used.add(_id(each.get("category_id")))
    return tuple(
        # Roboflow adds a category that only groups the others, often of the same name.
        SourceClass(
            id_, name, colors.get(id_), id_ not in used and bool(groups.get(name, set()) - {id_})
        )
        for id_, name in sorted(names.items())
    )


def _image_folders(source: Source, path: Path) -> Iterable[Path]:
    """Return the folders that may hold the images of ``path``, most likely first."""
    # instances_train2017.json belongs to train2017/ or images/train2017/.
    subset = path.stem.split("_")[-1]
    folders = (path.parent, source.folder)
    inner = [folder / each for folder in folders for each in (subset, f"images/{subset}")]
    return [source.folder, *inner]


def _pictures(
    path: Path,
    document: Mapping[str, list[Any]],
    split: str,
    finder: ImageFinder,
    index: Mapping[int | None, int],
    tally: _Tally,
) -> tuple[list[Picture], list[str]]:
    shapes: dict[int | str, _Shapes] = {}
    for entry in document["images"]:
        id_ = _id(entry.get("id"))
        if id_ is None or id_ in shapes:
            raise DatasetError(
                f"{path}: image id {quoted(entry.get('id'))} is no number or name, or given twice"
            )
        shapes[id_] = _Shapes()
    for entry in document["annotations"]:
        image_id = _id(entry.get("image_id"))
        if image_id is None or image_id not in shapes:
            tally.without_image += 1
        else:
            _add(entry, shapes[image_id], path, tally)
    pictures, problems = [], []
    for entry, shapes_of_image in zip(document["images"], shapes.values(), strict=True):
        name = entry.get("file_name")
        if not isinstance(name, str):
            problems.append(f"{path}: image {entry['id']} has no file_name")
            continue
        try:
            file = finder.find(name)
        except DatasetError as error:
            problems.append(str(error))
            continue
        try:
            size = stated_size(entry.get("width"), entry.get("height"))
        except DatasetError as error:
            problems.append(f"{file}: {error}")
            continue
        draw = _Drawer(shapes_of_image, index)
        pictures.append(
            Picture(PurePosixPath(file.relative_to(finder.root)), file, size, draw, split)
        )
    return pictures, problems


def _add(entry: Mapping[str, Any], shapes: _Shapes, path: Path, tally: _Tally) -> None:
    """Add an annotation to the shapes of its image."""
    segments = entry.get("segments_info")
    if isinstance(segments, list):
        name = relative_path(str(entry.get("file_name")))
        folders = (path.with_suffix(""), path.parent)
        shapes.panoptic = [folder / name for folder in folders if name is not None], segments
        tally.outlines += 1
        return
    outline = entry.get("segmentation")
    if isinstance(outline, list):
        if outline and not any(isinstance(polygon, list) for polygon in outline):
            outline = [outline]  # some tools write a single polygon without its list
        lines = [polygon for polygon in outline if polygon and _is_line(polygon)]
        outline = [polygon for polygon in outline if not _is_line(polygon)]
        tally.lines += len(lines)
        tally.polygons += len(outline)
        tally.extent = max([tally.extent, *map(_extent, outline)])
        shapes.lines += lines
        if lines and not outline:
            return
    box = _box(entry.get("bbox"))
    if outline:
        tally.outlines += 1
        shapes.annotations.append((entry.get("category_id"), outline, box))
        return
    shapes.boxes.append(box)
    if box is None:
        tally.anywhere += 1
    else:
        tally.boxes += 1


def _box(bbox: Any) -> Box | None:
    """Return the edges of COCO's left, top, width and height; None if it is not a box."""
    try:
        left, top, width, height = map(float, bbox)
    except (TypeError, ValueError, OverflowError):
        return None
    box = left, top, left + width, top + height
    return box if width > 0 and height > 0 and np.isfinite(box).all() else None


def _box_around(polygons: Iterable[Sequence[Any]], width: int, height: int) -> Box:
    points = np.concatenate([check_points(polygon, 1, width, height) for polygon in polygons])
    return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())


def _is_line(polygon: Any) -> bool:
    """Return whether a polygon has fewer than 3 points; pycocotools takes 4 numbers for a box."""
    return isinstance(polygon, list) and len(np.ravel(np.array(polygon, object))) < 6


def _extent(polygon: Any) -> float:
    """Return the largest coordinate; infinity of a malformed polygon, which drawing refuses."""
    try:
        return float(np.array(polygon, np.float64).max())
    except (TypeError, ValueError, OverflowError):
        return math.inf


@dataclass(frozen=True)
class _Drawer:
    """Draws the shapes of one image."""

    shapes: _Shapes
    index: Mapping[int | None, int]

    def __call__(self, width: int, height: int) -> Drawing:
        from pycocotools import mask as coco_mask

        drawing = np.full((height, width), UNLABELED, np.int16)
        if self.shapes.panoptic is not None:
            return self._panoptic(drawing)
        boxes = [*self.shapes.boxes]
        boxes += [_box_around([line], width, height) for line in self.shapes.lines]
        outlines = []
        for category, outline, box in self.shapes.annotations:
            lengths = _run_lengths(outline, width, height)
            area = int(coco_mask.area(lengths))
            outlines.append((area, self._position(category), lengths))
            if not area:  # narrower than a pixel, or without a pixel in its mask
                is_mask = isinstance(outline, dict)
                boxes.append(box if is_mask else _box_around(outline, width, height))
        for _, position, lengths in sorted(outlines, key=lambda each: -each[0]):
            drawing[coco_mask.decode(lengths) > 0] = position
        for box in boxes:
            mark_uncertain(drawing, box)
        return drawing

    def _panoptic(self, drawing: Drawing) -> Drawing:
        assert self.shapes.panoptic is not None
        paths, segments = self.shapes.panoptic
        path = next(filter(is_file, paths), None)
        if path is None:
            raise DatasetError(
                f"its image of segments is not in {paths[0].parent if paths else '.'}"
            )
        colors = read_label_image(path)
        if colors.ndim != 3 or colors.shape[:2] != drawing.shape:
            raise DatasetError(f"{path} is not RGB of the size of its image")
        ids = colors.astype(np.int64) @ np.array([1, 256, 65536], np.int64)
        for segment in segments:
            if not isinstance(segment, dict) or type(segment.get("id")) is not int:
                raise DatasetError(f"{path} has a segment without a number as id")
            here = ids == segment["id"]
            drawing[here] = self._position(segment.get("category_id"))
            ids[here] = 0
        if ids.any():
            raise DatasetError(f"{path} has a segment {ids.max()} that the .json does not list")
        return drawing

    def _position(self, category: Any) -> int:
        id_ = _id(category)
        if not isinstance(id_, int) or id_ not in self.index:
            raise DatasetError(
                f"an annotation has category {quoted(category)}, which is not listed"
            )
        return self.index[id_]


def _run_lengths(outline: Any, width: int, height: int) -> Any:
    """Return an outline as compressed run lengths of pycocotools.

    Raises:
        DatasetError: it is malformed or not of this size.
    """
    from pycocotools import mask as coco_mask

    if isinstance(outline, list):
        polygons = [check_points(each, 3, width, height).ravel().tolist() for each in outline]
        return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    counts = outline.get("counts") if isinstance(outline, dict) else None
    if not isinstance(counts, str | list):
        raise DatasetError("an annotation has neither polygons nor run lengths")
    if outline.get("size") != [height, width]:
        raise DatasetError(
            f"run lengths are for size {quoted(outline.get('size'))} (height, width), and the "
            f"image is {width}x{height}"
        )
    # pycocotools does not check this, and returns memory of others behind the last run.
    if _total(counts) != width * height:
        raise DatasetError(f"run lengths do not add up to the {width}x{height} pixels")
    if isinstance(counts, str):
        return {"size": [height, width], "counts": counts.encode("ascii")}
    return coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)


def _total(counts: str | Sequence[Any]) -> int | None:
    """Return the sum of run lengths, or None if they are malformed."""
    runs: list[int] = []
    if isinstance(counts, str):
        code = counts.encode("utf-8", "replace")
        if not _COMPRESSED.fullmatch(code):
            return None
        value = shift = 0
        for digit in code:
            value |= (digit - 48 & 31) << shift
            shift += 5
            if digit - 48 < 32:  # the last digit, of which bit 4 is the sign
                value -= (digit - 48 & 16) << shift - 4
                runs.append(value + (runs[-2] if len(runs) > 2 else 0))
                value = shift = 0
    else:
        runs = [run if type(run) is int else -1 for run in counts]
    return sum(runs) if all(run >= 0 for run in runs) else None
