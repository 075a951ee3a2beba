"""labelme's JSON, one file an image.

Shapes are drawn as labelme's own converter does, by Pillow and in the order of the file: the later
one is on top. An object that is marked by a point or a line may cover any pixel of its image: those
that no shape covers are uncertain.
"""

import base64
import binascii
import io
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from bisenet_ros.datasets.importers.export import (
    UNLABELED,
    Box,
    Drawing,
    Export,
    Picture,
    Source,
    SourceClass,
    check_points,
    image_finder,
    mark_uncertain,
    split_name,
    stated_size,
)
from bisenet_ros.datasets.importers.json_files import find_json, read_json
from bisenet_ros.errors import DatasetError, first_line, quoted
from bisenet_ros.images.files import files_below, is_image_file

FOLDERS = "a .json with shapes for each image"
KEYS = "shapes|imageData"
POLYGONS = ("polygon", "rotation", "oriented_rectangle")
POINTS = {**dict.fromkeys(POLYGONS, 3), "rectangle": 2, "circle": 2, "mask": 2}
"""Least number of points by the type of shape, of those that have an area."""

LINES = ("point", "points", "line", "linestrip")
IGNORED = "__ignore__"
"""labelme's name for pixels that belong to no class."""

SIGNATURES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"BM": ".bmp", b"RIFF": ".webp"}
"""Suffixes of embedded images by their first bytes."""


def recognize(root: Path) -> bool:
    """Return whether ``root`` is such a file, or a folder that has one."""
    return bool(find_json(root, KEYS))


def read(source: Source) -> Export:
    """Read the files.

    Raises:
        DatasetError: there is no such file.
    """
    files = find_json(source.root, KEYS)
    if not files:
        raise DatasetError(f"{source.root} has no labelme .json with a list of shapes")
    left_out: Counter[str] = Counter()
    labeled: list[_File] = []
    problems: list[str] = []
    for path in files:
        try:
            labeled.append(_read_file(path, left_out))
        except DatasetError as error:
            problems.append(str(error))
    labels = sorted({shape.label for file in labeled for shape in file.shapes})
    # A shape to be ignored has no class, whatever pixels outside of shapes get.
    classes = [SourceClass(None, "void" if name == IGNORED else name) for name in labels]
    index = {name: position for position, name in enumerate(labels)}
    pictures = []
    for file in labeled:
        try:
            pictures.append(_picture(file, source, index))
        except DatasetError as error:
            problems.append(f"{file.path}: {error}")
    kept, doubled = _one_per_file(pictures)
    notes = [
        f"{count} shapes of type {kind} have no area; their images are void where no shape covers "
        "them"
        for kind, count in left_out.items()
    ]
    without = _without_labels(source, kept)
    if without:
        notes.append(f"{without} images have no .json: they are not labeled yet and left out")
    return Export(tuple(classes), kept, tuple(notes), (*problems, *doubled))


@dataclass(frozen=True)
class _File:
    """Contents of a .json, without the embedded image: all of them could fill the memory.

    - ``head``: the beginning of the embedded image, base64, or empty.
    - ``shapes``: those that have an area.
    - ``complete``: whether there are no others.
    """

    path: Path
    picture: str
    size: tuple[int, int] | None
    head: str
    shapes: list["_Shape"]
    complete: bool


@dataclass(frozen=True)
class _Shape:
    label: str
    kind: str
    points: Any
    mask: str


def _read_file(path: Path, left_out: Counter[str]) -> _File:
    document = read_json(path)
    if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
        raise DatasetError(f"{path} has no list of shapes; save it again in labelme")
    picture, data = document.get("imagePath"), document.get("imageData")
    try:
        size = stated_size(document.get("imageWidth"), document.get("imageHeight"))
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from None
    shapes = _shapes(document["shapes"], path, left_out)
    return _File(
        path,
        picture if isinstance(picture, str) else "",
        size,
        data[:64] if isinstance(data, str) else "",
        shapes,
        len(shapes) == len(document["shapes"]),
    )


def _shapes(listed: list[Any], path: Path, left_out: Counter[str]) -> list[_Shape]:
    """Return the shapes that have an area; count the others by their type."""
    shapes = []
    for entry in listed:
        label = entry.get("label") if isinstance(entry, dict) else None
        points = entry.get("points") if isinstance(entry, dict) else None
        if not isinstance(label, str) or not isinstance(points, list):
            raise DatasetError(f"{path} has a shape without label or points: {quoted(entry)}")
        kind = entry.get("shape_type") or "polygon"
        kind = "polygon" if kind == "rectangle" and len(points) == 4 else kind
        if not isinstance(kind, str) or kind not in POINTS:
            left_out[kind if kind in LINES else f"{quoted(kind)} (unknown)"] += 1
        elif len(points) < POINTS[kind]:
            left_out[f"{kind} with {len(points)} points"] += 1
        else:
            name = " ".join(label.split())
            shapes.append(_Shape(name, kind, points, str(entry.get("mask") or "")))
    return shapes


def _picture(file: _File, source: Source, index: Mapping[str, int]) -> Picture:
    content: Path | Callable[[], bytes]
    try:
        content = image_finder(source, file.path, deep=False).find(file.picture)
        suffix = content.suffix
    except DatasetError:
        if not file.head:
            raise
        content, suffix = partial(_embedded, file.path), _suffix(file.head)
    inner = PurePosixPath(file.path.relative_to(source.folder).as_posix())
    split = next(filter(None, map(split_name, inner.parts[:-1])), "")
    draw = _Drawer(tuple(file.shapes), file.complete, index)
    return Picture(inner.with_suffix(suffix), content, file.size, draw, split)


def _one_per_file(pictures: list[Picture]) -> tuple[tuple[Picture, ...], tuple[str, ...]]:
    """Return the images whose file no other one has, and a sentence for each file of several."""
    by_file: dict[Path | int, list[Picture]] = {}
    for number, picture in enumerate(pictures):
        key = picture.content if isinstance(picture.content, Path) else number
        by_file.setdefault(key, []).append(picture)
    problems = [
        f"{file} has labels {len(found)} times; keep one of them"
        for file, found in by_file.items()
        if len(found) > 1
    ]
    kept = [found[0] for found in by_file.values() if len(found) == 1]
    return tuple(kept), tuple(problems)


def _without_labels(source: Source, pictures: tuple[Picture, ...]) -> int:
    """Return the number of image files that neither have a .json beside them nor are used."""
    files = filter(is_image_file, files_below(source.images or source.folder))
    used = {p.content.resolve() for p in pictures if isinstance(p.content, Path)}
    return sum(
        path.resolve() not in used and not path.with_suffix(".json").exists() for path in files
    )


def _embedded(path: Path) -> bytes:
    """Return the image that a .json holds."""
    return _decoded(read_json(path)["imageData"])


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (ValueError, binascii.Error) as error:
        raise DatasetError(f"it has data that is not base64: {first_line(error)}") from None


def _suffix(data: str) -> str:
    head = _decoded(data)
    found = next((suffix for start, suffix in SIGNATURES.items() if head.startswith(start)), None)
    if found is None:
        raise DatasetError("imageData is not a PNG, JPEG, BMP or WebP; add the image's file")
    return found


@dataclass(frozen=True)
class _Drawer:
    """Draws the shapes of one image."""

    shapes: tuple[_Shape, ...]
    complete: bool
    index: Mapping[str, int]

    def __call__(self, width: int, height: int) -> Drawing:
        picture = Image.new("I", (width, height), UNLABELED)
        draw = ImageDraw.Draw(picture)
        empty: list[Box] = []
        for shape in self.shapes:
            fill = self.index[shape.label]
            points = check_points(shape.points, POINTS[shape.kind], width, height)
            if shape.kind in POLYGONS:
                draw.polygon([(x, y) for x, y in points.tolist()], fill=fill, outline=fill)
            elif shape.kind == "circle":
                (x, y), rim = points[0].tolist(), points[1]
                radius = math.dist((x, y), rim.tolist())
                box = (x - radius, y - radius, x + radius, y + radius)
                draw.ellipse(box, fill=fill, outline=fill)
            elif shape.kind == "rectangle":
                box = (*points[:2].min(axis=0).tolist(), *points[:2].max(axis=0).tolist())
                draw.rectangle(box, fill=fill, outline=fill)
            else:
                first = points[:2].min(axis=0).astype(int)
                last = points[:2].max(axis=0).astype(int)
                mask = _mask(shape.mask, *(last - first + 1).tolist())
                picture.paste(fill, (int(first[0]), int(first[1])), mask)
                if mask.getbbox() is None:
                    empty.append((*first.tolist(), *(last + 1).tolist()))
        drawing = np.array(picture, np.int16)
        for box in empty:
            mark_uncertain(drawing, box)
        if not self.complete:
            mark_uncertain(drawing)
        return drawing


def _mask(data: str, width: int, height: int) -> Image.Image:
    """Return the embedded mask of a shape whose corners are of this size."""
    try:
        with Image.open(io.BytesIO(_decoded(data))) as mask:
            if mask.size != (width, height):
                raise DatasetError(
                    f"a mask of {mask.width}x{mask.height} has the corners of {width}x{height}"
                )
            return Image.fromarray(np.asarray(mask.convert("L")) > 0)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"a mask is not an image: {first_line(error)}") from None
