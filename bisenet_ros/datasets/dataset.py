"""Pairs of image and label files, independent of the folder layout."""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import SemanticClass
from bisenet_ros.datasets.pairing import labels_by_image
from bisenet_ros.documents import read_text
from bisenet_ros.errors import DatasetError, DocumentError, ImageFileError
from bisenet_ros.images.bit_depth import BitDepth
from bisenet_ros.images.files import (
    IMAGE_SUFFIXES,
    exif_orientation,
    files_below,
    header_size,
    is_image_file,
    read_image,
    unread_pictures,
)
from bisenet_ros.images.label_images import read_label_image

Labels = NDArray[np.uint8]
ReadLabels = Callable[[Path], Labels]
"""Reader of label files: returns class ids uint8 [H,W], 255 for unlabeled pixels; raises
DatasetError or ImageFileError."""


CLASS_ENDINGS = ("_labelIds", "_labelTrainIds")
INSTANCE_ENDINGS = ("_instanceIds", "_instanceTrainIds")
COLOR_ENDING = "_color"
"""Endings of the label files that Cityscapes has of each image. Instances of a class are numbered
``id * 1000 + k``, but what has no instances has the id of its class."""

MAX_LIST_BYTES = 64 * 1024 * 1024
"""Maximum size of a list of names [bytes]. The names of all COCO images take a tenth of it."""


@dataclass(frozen=True)
class Dataset:
    """Sequence of images with labels, read when indexed.

    An item is an image, uint8 [H,W,3] RGB, and its labels, uint8 [H,W]: class ids, 255 for
    unlabeled pixels.

    - ``root``: folder of the dataset.
    - ``pairs``: image and label file of each item.
    - ``classes``: class of each id.
    - ``decode``: reader of the label files.
    - ``problems``: a sentence for each file that cannot be paired; ``open_dataset`` never returns a
      dataset with problems.
    - ``depth``: number of bits of the values in 16-bit images.
    """

    root: Path
    pairs: tuple[tuple[Path, Path], ...]
    classes: tuple[SemanticClass, ...]
    decode: ReadLabels
    problems: tuple[str, ...] = ()
    depth: BitDepth = field(default_factory=BitDepth, compare=False)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], Labels]:
        image_path, label_path = self.pairs[index]
        labels = self.read_labels(index)
        with _dataset_errors():
            image = read_image(image_path, self.depth)
        if image.shape[:2] != labels.shape:
            raise DatasetError(describe_mismatch(image_path, image, label_path, labels))
        return image, labels

    def read_labels(self, index: int) -> Labels:
        """Read the labels of item ``index``, uint8 [H,W], without its image.

        Raises:
            DatasetError: the file cannot be read or has values that the dataset does not define.
        """
        with _dataset_errors():
            return self.decode(self.pairs[index][1])


def check_headers(pairs: Iterable[tuple[Path, Path]]) -> None:
    """Raise DatasetError for a pair that its headers show to be unreadable or of two sizes.

    This takes less than a millisecond each, unlike reading the files.
    """
    for image_path, label_path in pairs:
        if not is_image_file(label_path):  # COCO-Stuff's are .mat files
            continue
        size = header_size(image_path)
        if size is not None and size == header_size(label_path):
            continue
        with _dataset_errors():
            image = read_image(image_path, BitDepth(warn=lambda _: None))
            labels = read_label_image(label_path)
        if image.shape[:2] != labels.shape[:2]:
            raise DatasetError(describe_mismatch(image_path, image, label_path, labels))


def describe_mismatch(
    image_path: Path, image: NDArray[np.uint8], label_path: Path, labels: Labels
) -> str:
    """Return a sentence on labels, [H,W] or [H,W,3], that are not of the size of their image."""
    (height, width), (label_height, label_width) = image.shape[:2], labels.shape[:2]
    turn = exif_orientation(image_path)
    if turn > 4 and (label_width, label_height) == (height, width):
        return (
            f"{image_path} is turned to {width}x{height} by its EXIF orientation {turn}, but its "
            f"labels {label_path} have the size before turning, {label_width}x{label_height}: turn "
            "the labels, too, or remove the orientation from the picture ('exiftool -Orientation= "
            "FILE')"
        )
    return (
        f"{image_path} is {width}x{height} and its labels {label_path} "
        f"{label_width}x{label_height}; they must have the same size"
    )


@dataclass(frozen=True)
class Files:
    """Files by the key that pairs an image with its labels, and a sentence for each problem."""

    by_key: Mapping[str, Path]
    problems: tuple[str, ...] = ()


def list_files(
    folder: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES, ending: str = "", deep: bool = False
) -> Files:
    """List the image files in a folder by their name without ``ending`` and suffix.

    Args:
        folder: folder of the images or of the labels.
        suffixes: suffixes to include, lower-case, with the dot.
        ending: include only files whose name ends with this before the suffix.
        deep: include subfolders; keys are then paths relative to ``folder``.
            Without it, such files in subfolders are a problem.

    Raises:
        DatasetError: the folder is missing or contains no such file.
    """
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}")
    paths = files_below(folder)
    found = [path for path in paths if is_image_file(path, suffixes) and path.stem.endswith(ending)]
    read = [path for path in found if deep or path.parent == folder]
    nested = Counter(path.parent for path in found if not deep and path.parent != folder)
    problems = [
        f"{subfolder} has {count} files that are not read; move them into {folder}, or elsewhere"
        for subfolder, count in nested.items()
    ]
    problems += unread_pictures(folder, paths)
    if not read:
        raise DatasetError(
            "; ".join([f"{folder} has no files *{ending}{{{','.join(suffixes)}}}", *problems])
        )
    files = files_by_key(folder, read, ending)
    return replace(files, problems=(*files.problems, *problems))


def files_by_key(folder: Path, paths: Iterable[Path], ending: str = "") -> Files:
    """Return files by their path relative to ``folder`` without ``ending`` and suffix.

    Files of the same name are problems and left out: nothing tells which one is meant.
    """
    files: dict[str, Path] = {}
    twins: set[str] = set()
    problems = []
    for path in paths:
        key = path.relative_to(folder).with_suffix("").as_posix().removesuffix(ending)
        twin = files.setdefault(key, path)
        if twin != path:
            problems.append(f"{twin} and {path.name} have the same name; rename or remove one")
            twins.add(key)
    return Files({k: path for k, path in files.items() if k not in twins}, tuple(problems))


def select(images: Files, labels: Files, keys: set[str], source: Path) -> tuple[Files, Files]:
    """Select the files with one of ``keys``; a key without any file is a problem of ``source``."""
    missing = sorted(keys - images.by_key.keys() - labels.by_key.keys())
    problems = tuple(f"{source} lists '{key}', which has no image and no labels" for key in missing)
    selected = [
        {key: path for key, path in files.by_key.items() if key in keys}
        for files in (images, labels)
    ]
    return Files(selected[0], images.problems + problems), Files(selected[1], labels.problems)


def read_list(path: Path, known: Container[str]) -> set[str]:
    """Read a list of names in a text file: one, or the paths of an image and its labels, a line.

    Args:
        path: the text file.
        known: names of the files that there are, without suffix. They tell names with spaces or
            dots from paths in columns and with suffixes.

    Returns:
        The name of the first file in each line, without suffix.

    Raises:
        DatasetError: not a text file, or larger than ``MAX_LIST_BYTES``.
    """
    try:
        lines = read_text(path, MAX_LIST_BYTES).splitlines()
    except DocumentError as error:
        raise DatasetError(f"cannot use a split's list: {error}; give a name a line") from error
    names = set()
    for line in filter(None, map(str.strip, lines)):
        whole, first = Path(line), Path(line.split()[0])
        tries = [whole.name, whole.stem, first.name, first.stem]
        if first.suffix.lower() in IMAGE_SUFFIXES:  # else a name with spaces
            tries = tries[2:]
        names.add(next((name for name in tries if name in known), first.stem))
    return names


def without_companions(labels: Files) -> Files:
    """Return label files without the other ones of the same image that Cityscapes defines.

    Those are colors and ids of instances, beside ids of classes. Ids of instances are never
    labels: alone they are a problem.
    """
    classes = {
        key.removesuffix(ending)
        for key in labels.by_key
        for ending in CLASS_ENDINGS
        if key.endswith(ending)
    }
    kept = {}
    problems = []
    for key, path in labels.by_key.items():
        name, underscore, word = key.rpartition("_")
        ending = underscore + word
        if ending not in INSTANCE_ENDINGS and (ending != COLOR_ENDING or name not in classes):
            kept[key] = path
        elif name not in classes:
            class_file = path.name.replace(ending, CLASS_ENDINGS[0])
            problems.append(
                f"{path} has ids of instances, not of classes; add its {class_file}, or remove it"
            )
    return Files(kept, (*labels.problems, *problems))


def pair_up(images: Files, labels: Files) -> tuple[tuple[tuple[Path, Path], ...], tuple[str, ...]]:
    """Return (image, labels) pairs sorted by key, and a sentence for each unpaired file.

    Labels belong to the image of the same name, or of nearly the same, see ``labels_by_image``.
    """
    labels = without_companions(labels)
    found = labels_by_image(images.by_key, labels.by_key)
    problems = [*images.problems, *labels.problems]
    if not found and min(len(images.by_key), len(labels.by_key)) > 1:
        (key, image), (_, label) = (next(iter(files.by_key.items())) for files in (images, labels))
        problems.append(
            f"no label file is named like an image: images are named like {image}, label files "
            f"like {label}; name each label file like its image, such as {key}.png"
        )
        return (), tuple(problems)
    problems += [
        f"{images.by_key[key]} has no labels" for key in sorted(images.by_key.keys() - found.keys())
    ]
    owners: dict[str, list[str]] = {}
    for key, keys in sorted(found.items()):
        for name in keys:
            owners.setdefault(name, []).append(key)
    problems += [
        f"{_all(labels, keys)} are labels of {images.by_key[key]}; remove all but one"
        for key, keys in sorted(found.items())
        if len(keys) > 1
    ]
    problems += [
        f"{labels.by_key[key]} is named like the images {_all(images, keys)}; name it exactly like "
        "one of them"
        for key, keys in sorted(owners.items())
        if len(keys) > 1
    ]
    problems += [
        f"{labels.by_key[key]} has no image" for key in sorted(labels.by_key.keys() - owners.keys())
    ]
    pairs = [
        (images.by_key[key], labels.by_key[keys[0]])
        for key, keys in sorted(found.items())
        if len(keys) == 1 and len(owners[keys[0]]) == 1
    ]
    return tuple(pairs), tuple(problems)


def _all(files: Files, keys: Sequence[str]) -> str:
    return " and ".join(str(files.by_key[key]) for key in keys)


@contextmanager
def _dataset_errors() -> Iterator[None]:
    """Turn ``ImageFileError`` into ``DatasetError``."""
    try:
        yield
    except ImageFileError as error:
        raise DatasetError(str(error)) from error
