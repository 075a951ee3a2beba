"""Pairs of images and label files, whatever folders they lie in."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import SemanticClass
from bisenet_ros.errors import DatasetError, ImageFileError
from bisenet_ros.images.files import IMAGE_SUFFIXES, files_below, is_image_file, read_image

Labels = NDArray[np.uint8]
ReadLabels = Callable[[Path], Labels]
"""Reads a label file: class ids uint8 [H,W], 255 where no class counts. Raises DatasetError
or ImageFileError."""


@dataclass(frozen=True)
class Dataset:
    """Pairs of images and label files; index to read one.

    An item is the image, uint8 [H,W,3] RGB, and its labels, uint8 [H,W]: class ids, and 255
    where no class counts. ``problems`` has a sentence for each file that has no partner or more
    than one, and ``open_dataset`` gives only datasets without any.
    """

    root: Path
    pairs: tuple[tuple[Path, Path], ...]
    classes: tuple[SemanticClass, ...]
    decode: ReadLabels
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], Labels]:
        image_path, label_path = self.pairs[index]
        labels = self.read_labels(index)
        with _errors_of_files():
            image = read_image(image_path)
        if image.shape[:2] != labels.shape:
            raise DatasetError(
                f"{image_path} is {image.shape[1]}x{image.shape[0]} and its labels {label_path} "
                f"{labels.shape[1]}x{labels.shape[0]}; they must have one size"
            )
        return image, labels

    def read_labels(self, index: int) -> Labels:
        """Labels of item ``index`` alone, uint8 [H,W]."""
        with _errors_of_files():
            return self.decode(self.pairs[index][1])


@dataclass(frozen=True)
class Files:
    """Files by the key that an image shares with its labels, and what was wrong with some."""

    by_key: Mapping[str, Path]
    problems: tuple[str, ...] = ()


def list_files(
    folder: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES, ending: str = "", deep: bool = False
) -> Files:
    """The files of ``folder`` by their name without ``ending`` and suffix.

    Args:
        folder: with ``deep``, the files of its subfolders count too, by their path within it.
        suffixes: lower-case, with the dot; files with another are left out.
        ending: what the name ends with before the suffix; files without it are left out.

    Raises:
        DatasetError: the folder is missing, or no file of it counts.
    """
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}")
    files: dict[str, Path] = {}
    problems = []
    for path in files_below(folder) if deep else sorted(folder.iterdir()):
        if not is_image_file(path, suffixes) or not path.stem.endswith(ending):
            continue
        key = path.relative_to(folder).with_suffix("").as_posix().removesuffix(ending)
        twin = files.setdefault(key, path)
        if twin != path:
            problems.append(f"{twin} and {path.name} have one name; rename or remove one")
    if not files:
        raise DatasetError(f"{folder} has no files *{ending}{{{','.join(suffixes)}}}")
    return Files(files, tuple(problems))


def select(images: Files, labels: Files, keys: set[str], source: Path) -> tuple[Files, Files]:
    """The files of ``keys``, which ``source`` lists; a key without any file is a problem."""
    nowhere = sorted(keys - images.by_key.keys() - labels.by_key.keys())
    problems = tuple(f"{source} lists '{key}', which has no image and no labels" for key in nowhere)
    taken = [
        {key: path for key, path in files.by_key.items() if key in keys}
        for files in (images, labels)
    ]
    return Files(taken[0], images.problems + problems), Files(taken[1], labels.problems)


def read_list(path: Path) -> set[str]:
    """The names that a text file lists: of each line the first path, without folder and suffix."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {Path(line.split()[0]).stem for line in lines if line.split()}


def pair_up(images: Files, labels: Files) -> tuple[tuple[tuple[Path, Path], ...], tuple[str, ...]]:
    """The pairs sorted by key, and a sentence for each file that has no partner."""
    problems = [*images.problems, *labels.problems]
    problems += [
        f"{images.by_key[key]} has no labels"
        for key in sorted(images.by_key.keys() - labels.by_key.keys())
    ]
    problems += [
        f"{labels.by_key[key]} has no image"
        for key in sorted(labels.by_key.keys() - images.by_key.keys())
    ]
    common = sorted(images.by_key.keys() & labels.by_key.keys())
    return tuple((images.by_key[key], labels.by_key[key]) for key in common), tuple(problems)


@contextmanager
def _errors_of_files() -> Iterator[None]:
    try:
        yield
    except ImageFileError as error:
        raise DatasetError(str(error)) from error
