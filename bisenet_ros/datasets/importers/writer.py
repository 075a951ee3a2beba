"""Write an export as a dataset folder."""

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.atomic import atomic_write
from bisenet_ros.classes import IGNORE_ID, SemanticClass
from bisenet_ros.datasets.importers.class_map import Targets
from bisenet_ros.datasets.importers.export import UNCERTAIN, UNLABELED, Export, Picture
from bisenet_ros.datasets.importers.orientation import (
    UPRIGHT,
    applied_orientation,
    swaps_sides,
    turn,
)
from bisenet_ros.datasets.importers.sequences import validation_part
from bisenet_ros.errors import DatasetError, ImageFileError, OutputError, UsageError, write_errors
from bisenet_ros.images.bit_depth import BitDepth
from bisenet_ros.images.files import check_regular, exif_orientation, is_image_file, read_image
from bisenet_ros.images.render import write_picture

SHOWN = 20
"""Most problems that a summary lists."""


@dataclass(frozen=True)
class Summary:
    """Summary of an import; ``str`` formats it.

    - ``splits``: number of images by split.
    - ``pixels``: int64 [classes + 1], number of pixels of each class, last of unlabeled ones.
    - ``images_with``: int64 [classes], number of images that contain the class.
    - ``without_shapes``: number of images without any labels in the export.
    - ``background``: whether unlabeled pixels of the export got a class.
    - ``notes``: sentences on what was not taken over.
    - ``problems``: a sentence for each image that was left out.
    """

    classes: tuple[SemanticClass, ...]
    splits: Mapping[str, int]
    pixels: NDArray[np.int64]
    images_with: NDArray[np.int64]
    without_shapes: int
    background: bool
    notes: tuple[str, ...]
    problems: tuple[str, ...]

    def __str__(self) -> str:
        total = sum(self.splits.values())
        parts = ", ".join(f"{split} {n}" for split, n in self.splits.items() if split)
        width = max(len("class"), *(len(entry.name) for entry in self.classes))
        lines = [
            f"imported {total} images" + (f": {parts}" if parts else ", without splits"),
            f"{'class':<{width}}  {'share':>8}  {'images':>7}",
        ]
        labeled = max(1, int(self.pixels[:-1].sum()))
        for entry, pixels, images in zip(self.classes, self.pixels, self.images_with, strict=False):
            lines.append(f"{entry.name:<{width}}  {pixels / labeled:8.3%}  {images:7}")
        unlabeled = self.pixels[-1] / max(1, int(self.pixels.sum()))
        hint = "" if self.background else "; --background NAME gives those without labels a class"
        lines.append(
            f"{unlabeled:.2%} of all pixels are void: not trained on" + hint * bool(unlabeled)
        )
        if self.without_shapes:
            what = "background" if self.background else "void"
            lines.append(f"{self.without_shapes} images have no labels: all {what}")
        lines += self.notes
        if self.problems:
            lines.append(f"left out: {len(self.problems)}")
            lines += [f"  {problem}" for problem in self.problems[:SHOWN]]
            if len(self.problems) > SHOWN:
                lines.append(f"  and {len(self.problems) - SHOWN} more")
        return "\n".join(lines)


def check_new(output: Path) -> None:
    """Raise OutputError if ``output`` exists: nothing is ever written over."""
    if output.exists() or output.is_symlink():
        raise OutputError(f"{output} exists; give --output a folder that does not")


def write_dataset(
    export: Export,
    targets: Targets,
    output: Path,
    val: float | None = None,
    link: bool = False,
    done: Callable[[], Any] = lambda: None,
) -> Summary:
    """Write images, label images and classes.txt; the folder appears when all is written.

    Args:
        export: the images.
        targets: the classes.
        output: folder to create.
        val: share of the images for validation, by sequence; None keeps the export's splits.
        link: write symbolic links to the images rather than copies.
        done: called after each image, such as to update a progress bar.

    Raises:
        DatasetError: no image can be used.
        OutputError: ``output`` exists.
        UsageError: ``val`` is given, but the export has a val split.
        OSError: a file cannot be written.
    """
    check_new(output)
    pictures, notes = _split(export.pictures, val)
    names, clashes = _names(pictures)
    pictures = [picture for picture in pictures if picture.name in names]
    as_stored = _labeled_as_stored(pictures)
    with atomic_write(output) as staged:
        staged.mkdir()
        for split in {picture.split for picture in pictures}:
            for kind in ("images", "labels"):
                (staged / split / kind).mkdir(parents=True)
        write = partial(_write, staged, names, targets, as_stored, link)
        results = []
        with ThreadPoolExecutor() as pool:
            try:
                for result in pool.map(write, pictures):
                    results.append(result)
                    done()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        written = [result for result in results if isinstance(result, _Written)]
        failed = [result for result in results if isinstance(result, str)]
        problems = (*export.problems, *clashes, *failed)
        if not written:
            raise DatasetError(
                "no image can be used: "
                + (problems[0] if problems else "the export lists none")
                + (f", and {len(problems) - 1} more problems" if len(problems) > 1 else "")
            )
        with write_errors(output / "classes.txt"):
            (staged / "classes.txt").write_text(_class_file(targets), encoding="utf-8")
        for folder in sorted(staged.rglob("*"), reverse=True):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    guessed = sum(result.guessed for result in written)
    if guessed:
        way = "stored" if as_stored else "shown"
        notes.append(
            f"{guessed} images are turned by EXIF, and their size does not tell whether their "
            f"labels are; they were taken for labels of the images as {way}: look at them"
        )
    uncertain = [result.uncertain for result in written if result.uncertain]
    if uncertain:
        share = sum(uncertain) / sum(int(result.counts.sum()) for result in written)
        notes.append(
            f"{share:.2%} of all pixels, in {len(uncertain)} images, are void because objects "
            "without an outline may cover them"
        )
    notes += _class_notes(targets.classes, written)
    counts = np.sum([result.counts for result in written], axis=0)
    present = np.sum([result.counts > 0 for result in written], axis=0)
    count = Counter(result.split for result in written)
    number = len(targets.classes)
    return Summary(
        targets.classes,
        {split: count[split] for split in ("", "train", "val", "test") if count[split]},
        np.append(counts[:number], counts[IGNORE_ID]),
        present[:number],
        sum(result.without_shapes for result in written),
        bool(targets.table[UNLABELED] != IGNORE_ID),
        (*export.notes, *notes),
        problems,
    )


@dataclass(frozen=True)
class _Written:
    """A written image.

    ``counts`` has the pixels of each label value, int64 [256]; ``uncertain`` of those with 255 are
    UNCERTAIN.
    """

    split: str
    counts: NDArray[np.int64]
    uncertain: int
    without_shapes: bool
    guessed: bool


def _class_notes(classes: Sequence[SemanticClass], written: Sequence[_Written]) -> list[str]:
    """Return notes on classes that a split lacks, and on names that are hard to tell apart."""
    notes = []
    present = {
        split: np.sum([r.counts for r in written if r.split == split], axis=0) > 0
        for split in sorted({result.split for result in written})
    }
    anywhere = np.any(list(present.values()), axis=0)
    for split, seen in present.items():
        lacking = [entry.name for entry in classes if anywhere[entry.id] and not seen[entry.id]]
        if lacking:
            notes.append(f"no image of {split} has: {', '.join(lacking)}")
    by_name: dict[str, str] = {}
    for entry in classes:
        twin = by_name.setdefault(entry.name.casefold(), entry.name)
        if twin != entry.name:
            notes.append(f"'{twin}' and '{entry.name}' are two classes; --map can merge them")
    return notes


def _write(
    root: Path,
    names: Mapping[PurePosixPath, str],
    targets: Targets,
    as_stored: bool,
    link: bool,
    picture: Picture,
) -> _Written | str:
    """Write an image and its labels, or return why it cannot be used."""
    stem = names[picture.name]
    image_path = root / picture.split / "images" / f"{stem}{picture.name.suffix.lower()}"
    try:
        _place(picture.content, image_path, link)
        drawing, guessed = _draw(picture, image_path, as_stored)
    except (DatasetError, ImageFileError) as error:
        image_path.unlink(missing_ok=True)
        origin = picture.content if isinstance(picture.content, Path) else picture.name
        text = str(error).replace(str(image_path), str(origin))
        return text if str(origin) in text else f"{origin}: {text}"
    labels = targets.labels(drawing)
    label_path = root / picture.split / "labels" / f"{stem}.png"
    write_picture(label_path, labels)
    counts = np.bincount(labels.ravel(), minlength=IGNORE_ID + 1).astype(np.int64)
    uncertain = int(np.count_nonzero(drawing == UNCERTAIN))
    return _Written(picture.split, counts, uncertain, not (drawing != UNLABELED).any(), guessed)


def _place(content: Path | Callable[[], bytes], path: Path, link: bool) -> None:
    if not isinstance(content, Path):
        data = content()
        with write_errors(path):
            path.write_bytes(data)
        return
    check_regular(content)
    if link:
        path.symlink_to(content.resolve())
    else:
        with write_errors(path):
            shutil.copyfile(content, path)


def _draw(picture: Picture, path: Path, as_stored: bool) -> tuple[NDArray[np.int16], bool]:
    """Draw an image's labels the way up that ``read_image`` gives, and whether that is a guess.

    Raises:
        DatasetError: the labels are for an image of another size, or malformed.
        ImageFileError: the image is not readable.
    """
    # Only its size counts here: the commands that use its values warn of dark ones.
    image = read_image(path, BitDepth(warn=lambda _: None))
    shown = image.shape[1], image.shape[0]
    orientation = applied_orientation(path, image)
    stored = shown[::-1] if swaps_sides(orientation) else shown
    size = picture.size or shown
    if size not in (shown, stored):
        raise DatasetError(
            f"{path} is {shown[0]}x{shown[1]}, but its labels are for {size[0]}x{size[1]}; export "
            "again with images of the original size"
        )
    guessed = orientation != UPRIGHT and (shown == stored or picture.size is None)
    turned = as_stored if guessed and shown == stored else size != shown
    drawing = picture.draw(*size)
    if turned:
        drawing = turn(drawing, orientation).astype(np.int16)
    if drawing.shape != image.shape[:2]:
        raise DatasetError(f"{path}: its labels are {drawing.shape[1]}x{drawing.shape[0]}")
    return drawing, guessed


def _labeled_as_stored(pictures: Sequence[Picture]) -> bool:
    """Return whether the tool ignores EXIF orientations, by the images whose size tells.

    Browsers and labeling tools show images turned, so that is taken where no image tells.
    """
    from PIL import Image
    from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

    for picture in pictures:
        if not isinstance(picture.content, Path) or picture.size is None:
            continue
        if picture.size[0] != picture.size[1] and swaps_sides(exif_orientation(picture.content)):
            with Image.open(picture.content) as image:
                if isinstance(image, TiffImageFile):  # its size is that of the turned image
                    return picture.size == (image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH])
                return picture.size == image.size
    return False


def _split(pictures: Sequence[Picture], val: float | None) -> tuple[list[Picture], list[str]]:
    """Return the images with their final splits, and notes on them."""
    splits = {picture.split for picture in pictures}
    if val is None or not pictures:
        if splits - {""}:
            return [replace(p, split=p.split or "train") for p in pictures], []
        note = "without splits all images are training data: --val 0.2 sets some apart"
        return list(pictures), [note]
    if "val" in splits:
        raise UsageError("--val: the export has a val split, which is kept; omit the option")
    names = [picture.name for picture in pictures if picture.split != "test"]
    if len(names) < 2:
        raise UsageError(f"--val: {len(names)} images cannot be split")
    chosen, note = validation_part(names, val)
    validation = {names[position] for position in chosen}
    return [
        replace(
            p, split=p.split if p.split == "test" else "val" if p.name in validation else "train"
        )
        for p in pictures
    ], [note]


def _names(pictures: Sequence[Picture]) -> tuple[dict[PurePosixPath, str], list[str]]:
    """Return the name of each image's files, without suffix, and a sentence for each refused one.

    It is the image's own name if those of its split are unique, else also that of its folders,
    and its suffix.
    """
    problems = []
    by_split: dict[str, list[PurePosixPath]] = {}
    number = Counter(picture.name for picture in pictures)
    for picture in pictures:
        if not is_image_file(Path(picture.name.name)):
            problems.append(f"{picture.name} is of a type that cannot be read; convert it to PNG")
        elif number[picture.name] > 1:
            problems.append(f"{picture.name} is in the export several times; rename or remove one")
        else:
            by_split.setdefault(picture.split, []).append(picture.name)
    names: dict[PurePosixPath, str] = {}
    for paths in by_split.values():
        own = _unique_names(paths)
        count = Counter(own.values())
        names |= {path: name for path, name in own.items() if count[name] == 1}
        problems += [
            f"{path} is named like another image; rename it" for path in own.keys() - names
        ]
    return names, problems


def _unique_names(paths: Sequence[PurePosixPath]) -> dict[PurePosixPath, str]:
    """Return the shortest kind of names of which no two are equal, or the longest kind."""
    kinds: tuple[Callable[[PurePosixPath], str], ...] = (
        lambda path: path.stem,
        lambda path: "_".join(path.with_suffix("").parts),
        lambda path: "_".join(path.parts).replace(".", "_"),
    )
    for kind in kinds:
        names = {path: kind(path) for path in paths}
        if len({*names.values()}) == len(paths):
            break
    return names


def _class_file(targets: Targets) -> str:
    lines = [f"{entry.id} {entry.name} %d %d %d" % entry.color for entry in targets.classes]
    return "\n".join([*lines, f"{IGNORE_ID} void %d %d %d" % targets.void]) + "\n"
