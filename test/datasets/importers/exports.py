"""Writers of small exports, in the formats of labeling tools, for the tests of the importers."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bisenet_ros.datasets import Dataset, open_dataset
from bisenet_ros.datasets.importers import read_export
from bisenet_ros.datasets.importers.class_map import ClassMap, map_classes
from bisenet_ros.datasets.importers.export import Source
from bisenet_ros.datasets.importers.writer import Summary, write_dataset

Labels = NDArray[np.uint8]
WIDTH, HEIGHT = 16, 12


def import_export(
    root: Path,
    output: Path,
    format_: str = "auto",
    *,
    rules: ClassMap | None = None,
    background: str | None = None,
    val: float | None = None,
    images: Path | None = None,
    classes: Path | None = None,
    link: bool = False,
) -> Summary:
    """Import an export as ``bisenet dataset import`` does."""
    rules = rules or ClassMap()
    source = Source(root, images, classes, tuple(rules.ids), tuple(rules.colors))
    export = read_export(source, format_)
    targets = map_classes(export.classes, rules, background)
    return write_dataset(export, targets, output, val, link)


def imported(root: Path, output: Path, **options: Any) -> Dataset:
    """Import an export without splits and open the result."""
    import_export(root, output, **options)
    return open_dataset(output)


def labels_of(dataset: Dataset) -> dict[str, Labels]:
    """Return the labels of each picture by its name without suffix."""
    return {
        image.stem: dataset.read_labels(index) for index, (image, _) in enumerate(dataset.pairs)
    }


def write_picture(
    path: Path, width: int = WIDTH, height: int = HEIGHT, orientation: int = 1
) -> NDArray[np.uint8]:
    """Write a noisy picture with an EXIF orientation; return it as it is stored, RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = np.frombuffer(path.name.encode(), np.uint8)
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    Image.fromarray(picture).save(path, exif=exif)
    return picture


def rectangle(x: int, y: int, width: int, height: int) -> list[float]:
    """Return the polygon, as COCO's list of numbers, that covers these pixels."""
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def coco_document(
    images: Sequence[tuple[int, str]],
    annotations: Sequence[Mapping[str, Any]],
    categories: Mapping[int, str],
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> dict[str, Any]:
    """Return a document in COCO's format; ``images`` are ids and file names."""
    width, height = size
    return {
        "info": {},
        "images": [
            {"id": id_, "file_name": name, "width": width, "height": height} for id_, name in images
        ],
        "annotations": [{"id": k, "iscrowd": 0, **each} for k, each in enumerate(annotations, 1)],
        "categories": [{"id": id_, "name": name} for id_, name in categories.items()],
    }


def shape(image: int, category: int, outline: object, **more: object) -> dict[str, Any]:
    """Return one of COCO's annotations."""
    return {"image_id": image, "category_id": category, "segmentation": outline, **more}


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Return COCO's uncompressed run lengths: down the columns, beginning with zeros."""
    runs, value = [0], False
    for pixel in mask.ravel(order="F").tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def compressed(runs: Sequence[int]) -> str:
    """Return run lengths as COCO's text: differences to the run before the last, 5 bits a digit."""
    text = ""
    for k, run in enumerate(runs):
        value = run - runs[k - 2] if k > 2 else run
        while True:
            digit = value & 31
            value >>= 5
            last = value == (-1 if digit & 16 else 0)
            text += chr(48 + digit + 32 * (not last))
            if last:
                break
    return text


def labelme_document(
    picture: str,
    shapes: Sequence[Mapping[str, Any]],
    size: tuple[int, int] | None = (WIDTH, HEIGHT),
    data: bytes | None = None,
) -> dict[str, Any]:
    """Return a document in labelme's format."""
    width, height = size or (None, None)
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": [{"group_id": None, "flags": {}, **each} for each in shapes],
        "imagePath": picture,
        "imageData": None if data is None else base64.b64encode(data).decode(),
        "imageHeight": height,
        "imageWidth": width,
    }


def drawn(label: str, kind: str, *points: tuple[float, float], **more: object) -> dict[str, Any]:
    """Return one of labelme's shapes."""
    return {"label": label, "shape_type": kind, "points": [list(p) for p in points], **more}


def write_json(path: Path, document: object) -> Path:
    """Write a document and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def write_palette(path: Path, values: Labels, palette: Sequence[Sequence[int]]) -> None:
    """Write label values as a PNG with a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    indexed = Image.fromarray(values, mode="P")
    indexed.putpalette([value for color in palette for value in color])
    indexed.save(path)


def write_labels(path: Path, values: Labels) -> None:
    """Write values [H,W] or RGB colors [H,W,3] as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), values[..., ::-1] if values.ndim == 3 else values)


def blocks(*values: int, width: int = WIDTH, height: int = HEIGHT) -> Labels:
    """Return labels of vertical stripes of equal width with these values."""
    stripes = np.array(values, np.uint8).repeat(width // len(values))
    return np.tile(stripes, (height, 1))
