"""Cityscapes (www.cityscapes-dataset.com) in its official folders."""

from functools import cache, partial
from pathlib import Path

from bisenet_ros.classes import IGNORE_ID, read_classes
from bisenet_ros.datasets.dataset import Dataset, Files, Labels, list_files, pair_up
from bisenet_ros.datasets.label_files import IdTable, LabelReader, classes_and_reader
from bisenet_ros.errors import DatasetError
from bisenet_ros.resources import share_directory

FOLDERS = "leftImg8bit/SPLIT/CITY/ and gtFine/SPLIT/CITY/ (gtCoarse/ for coarse labels)"

TRAINED_IDS = (7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33)
"""Label id of each of the 19 train ids; the other ids of 0 to 33 are ignored.

As in ``cityscapesscripts.helpers.labels``, which a test compares.
"""
LABEL_IDS = IdTable.of(
    {id_: IGNORE_ID for id_ in range(34)}
    | {id_: train_id for train_id, id_ in enumerate(TRAINED_IDS)},
    "the ids of Cityscapes are 0 to 33, and 255 for its -1",
)
TRAIN_IDS = IdTable.of(
    {id_: id_ for id_ in range(19)}, "the train ids of Cityscapes are 0 to 18, and 255 for no class"
)


def recognize(root: Path, split: str) -> bool:
    """Return whether one of the official folders exists; ``split`` is not used."""
    return any((root / name).is_dir() for name in ("leftImg8bit", "gtFine", "gtCoarse"))


def find(root: Path, split: str, coarse: bool = False) -> Dataset:
    """Find the image and label files of a split.

    Labels are *_labelIds.png or, if there are none, *_labelTrainIds.png. If ``root`` has a
    classes.txt with other classes, the labels have its ids or colors, and it is the other way
    round: of own classes only the train ids are sure to be without gaps.

    Args:
        root: folder with leftImg8bit/ and gtFine/ or gtCoarse/.
        split: name of the folder in these.
        coarse: use the coarse labels; always so for 'train_extra', which has no fine ones.

    Raises:
        DatasetError: a folder of the split is missing or empty.
        ClassesError: classes.txt is malformed.
    """
    classes, decode = classes_and_reader(root, "cityscapes", read_labels)
    truth = "gtCoarse" if coarse or split == "train_extra" else "gtFine"
    images = _files(root, "leftImg8bit", split, "_leftImg8bit")
    endings = [f"_{truth}_labelIds", f"_{truth}_labelTrainIds"]
    first, second = endings if decode is read_labels else reversed(endings)
    try:
        labels = _files(root, truth, split, first)
    except DatasetError as error:
        try:
            labels = _files(root, truth, split, second)
        except DatasetError:
            raise error from None
    pairs, problems = pair_up(images, labels)
    return Dataset(root, pairs, classes, decode, problems)


find_coarse = partial(find, coarse=True)


def read_labels(path: Path) -> Labels:
    """Read a label image; its name says whether it has label ids or train ids.

    Returns:
        Train ids 0..18 and 255, uint8 [H,W].

    Raises:
        DatasetError: the image has ids or colors that Cityscapes does not define.
        ImageFileError: the file is not a label image.
    """
    return _reader(path.stem.endswith("TrainIds"))(path)


@cache
def _reader(train_ids: bool) -> LabelReader:
    classes = read_classes(share_directory() / "config" / "classes" / "cityscapes.yaml")
    return LabelReader(
        TRAIN_IDS if train_ids else LABEL_IDS,
        tuple((entry.color, entry.id) for entry in classes),
        "Cityscapes",
        "labels of Cityscapes have one channel of ids",
    )


def _files(root: Path, kind: str, split: str, ending: str) -> Files:
    folder = root / kind / split
    if not folder.is_dir():
        existing = sorted(p.name for p in (root / kind).glob("*") if p.is_dir())
        raise DatasetError(
            f"there is no folder {folder}; {root / kind} "
            + (f"has {', '.join(existing)}" if existing else "is missing or empty")
        )
    return list_files(folder, (".png",), ending, deep=True)
