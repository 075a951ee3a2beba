"""The layout for custom data: images/, labels/ and classes.txt."""

from pathlib import Path

from bisenet_ros.classes import read_classes
from bisenet_ros.datasets.dataset import Dataset, list_files, pair_up
from bisenet_ros.datasets.label_files import class_file_reader
from bisenet_ros.errors import DatasetError

FOLDERS = (
    "images/ and labels/, or SPLIT/images/ and SPLIT/labels/, or images/SPLIT/ and labels/SPLIT/"
)


def recognize(root: Path, split: str) -> bool:
    """Return whether images/ or labels/ exists in ``root`` or in its folder of the split."""
    folders = [root, root / split]
    return any((f / name).is_dir() for f in folders for name in ("images", "labels"))


def folders(root: Path, split: str) -> tuple[Path, Path]:
    """Return the folders of images and labels of a split, which need not exist.

    They are ``root``/images/``split`` and ``root``/labels/``split`` if one exists; else
    ``root``/images and ``root``/labels if one exists, whatever the split; else
    ``root``/``split``/images and ``root``/``split``/labels.
    """
    within = root / "images" / split, root / "labels" / split
    if any(folder.is_dir() for folder in within):
        return within
    parent = root if recognize(root, "") else root / split
    return parent / "images", parent / "labels"


def find(root: Path, split: str) -> Dataset:
    """Find the image and label files of a split, see ``folders``.

    classes.txt is next to these folders or one level up. A label image has one channel of class
    ids (255: unlabelled) or the colors of classes.txt, where lines with id 255 define the colors of
    unlabelled pixels.

    Raises:
        DatasetError: a folder is missing or empty, or there is no classes.txt.
        ClassesError: the class file is malformed.
    """
    images, labels = folders(root, split)
    pairs, problems = pair_up(list_files(images), list_files(labels))
    candidates = images.parent, images.parent.parent
    class_file = next(
        (p / "classes.txt" for p in candidates if (p / "classes.txt").is_file()), None
    )
    if class_file is None:
        raise DatasetError(
            f"no classes.txt in {images.parent} or in the folder above; create it with a line "
            "'id name r g b' for each class"
        )
    classes = read_classes(class_file)
    return Dataset(root, pairs, classes, class_file_reader(class_file, classes), problems)
