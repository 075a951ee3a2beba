"""A labelled dataset as a folder: images/, labels/ and classes.txt."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import SemanticClass, read_classes

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm")


class DatasetError(ValueError):
    """A dataset that cannot be used; the text names the file or folder and the remedy."""


@dataclass(frozen=True)
class Folder:
    """Pairs of images and label images, sorted by name; index to read one.

    An item is the image, uint8 [H,W,3] RGB, and its labels, uint8 [H,W]: class ids, and 255
    where no class applies.
    """

    root: Path
    pairs: tuple[tuple[Path, Path], ...]
    classes: tuple[SemanticClass, ...]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        image_path, label_path = self.pairs[index]
        image = read_image(image_path)
        labels = self.read_labels(index)
        if image.shape[:2] != labels.shape:
            raise DatasetError(
                f"{image_path} is {image.shape[1]}x{image.shape[0]} and its labels {label_path} "
                f"{labels.shape[1]}x{labels.shape[0]}; they must have one size"
            )
        return image, labels

    def read_labels(self, index: int) -> NDArray[np.uint8]:
        """Labels of item ``index`` alone, uint8 [H,W]."""
        path = self.pairs[index][1]
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if labels is None or labels.ndim != 2 or labels.dtype != np.uint8:
            raise DatasetError(f"{path} is not an 8-bit single-channel label image")
        unknown = np.setdiff1d(labels, [*range(len(self.classes)), 255])
        if unknown.size:
            raise DatasetError(
                f"{path} has label {unknown[0]}; labels are 0 to {len(self.classes) - 1} and 255 "
                "for no class"
            )
        return labels.astype(np.uint8, copy=False)


def open_folder(root: Path) -> Folder:
    """Open ``root``/images and ``root``/labels; classes.txt lies in ``root`` or its parent.

    Raises:
        DatasetError: a folder is missing or empty, classes.txt is missing, a file has no partner
            of its name or more than one.
        ClassesError: the class file is malformed.
    """
    images = _by_stem(root / "images")
    labels = _by_stem(root / "labels")
    unpaired = sorted(images.keys() ^ labels.keys())
    if unpaired:
        raise DatasetError(
            f"{root}: '{unpaired[0]}' is in only one of images/ and labels/ "
            f"({len(unpaired)} such names)"
        )
    candidates = [root / "classes.txt", root.parent / "classes.txt"]
    class_file = next((path for path in candidates if path.is_file()), None)
    if class_file is None:
        raise DatasetError(
            f"no classes.txt in {root} or in the folder above; it has a line 'id name r g b' for "
            "each class"
        )
    pairs = tuple((images[stem], labels[stem]) for stem in sorted(images))
    return Folder(root, pairs, read_classes(class_file))


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image file as uint8 [H,W,3] RGB.

    Raises:
        DatasetError: the file is not an image that OpenCV reads.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DatasetError(f"{path} is not a readable image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DatasetError(f"no folder {folder}; a dataset has images/ and labels/")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        twin = files.setdefault(path.stem, path)
        if twin != path:
            raise DatasetError(f"{twin} and {path.name} have one name; rename or remove one")
    if not files:
        raise DatasetError(f"{folder} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    return files
