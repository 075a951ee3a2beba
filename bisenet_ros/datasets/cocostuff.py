"""COCO-Stuff (Caesar et al. 2018): the 10K release and the pixel maps of COCO 2017."""

from pathlib import Path

import numpy as np

from bisenet_ros.classes import IGNORE_ID
from bisenet_ros.datasets.dataset import Dataset, Labels, list_files, pair_up, read_list, select
from bisenet_ros.datasets.label_files import IdTable, LabelReader, classes_and_reader
from bisenet_ros.errors import DatasetError, first_line
from bisenet_ros.images.files import check_regular

FOLDERS = (
    "images/, annotations/ (.mat, or .png of ids 0 to 181) and imageLists/SPLIT.txt, or "
    "images/SPLIT2017/ and annotations/SPLIT2017/ or stuffthingmaps/SPLIT2017/"
)
MAPS = ("annotations", "stuffthingmaps")

NEVER_LABELED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
"""Official ids, of 1 to 182, that COCO never labeled; without them there are 171 classes.

Street sign, hat, shoe, eye glasses, plate, mirror, window, desk, door, blender and hair brush
(github.com/nightrome/cocostuff, Label Names & Indices).
"""
LABELED = [id_ for id_ in range(1, 183) if id_ not in NEVER_LABELED]

MAT_IDS = IdTable.of(
    {0: IGNORE_ID}
    | dict.fromkeys(NEVER_LABELED, IGNORE_ID)
    | {id_: class_id for class_id, id_ in enumerate(LABELED)},
    "the ids of the .mat files are 0 (unlabeled) to 182",
)
MAP_IDS = IdTable.of(
    {id_ - 1: IGNORE_ID for id_ in NEVER_LABELED}
    | {id_ - 1: class_id for class_id, id_ in enumerate(LABELED)},
    "the ids of the pixel maps are 0 to 181, and 255 for unlabeled",
)
MAP_READER = LabelReader(
    MAP_IDS, (), "COCO-Stuff", "the pixel maps of COCO-Stuff have one channel of ids, not colors"
)


def recognize(root: Path, split: str) -> bool:
    """Return whether image lists, or a folder of pixel maps of the split, exist."""
    maps = [root / name / f"{split}2017" for name in MAPS]
    return any(folder.is_dir() for folder in (root / "imageLists", *maps))


def find(root: Path, split: str) -> Dataset:
    """Find the image and label files of a split; val of the 10K release is its test list.

    Raises:
        DatasetError: a folder or the list of the split is missing, or a classes.txt in ``root``
            has other classes than the .mat files.
        ClassesError: classes.txt is malformed.
    """
    lists = root / "imageLists"
    if lists.is_dir():
        listed = lists / f"{split}.txt"
        if split == "val" and not listed.is_file():
            listed = lists / "test.txt"
        if not listed.is_file():
            existing = ", ".join(sorted(path.stem for path in lists.glob("*.txt")))
            raise DatasetError(f"there is no {listed}; {lists} has {existing or 'no lists'}")
        files = list_files(root / "images"), list_files(root / "annotations", (".mat", ".png"))
        known = {key for each in files for key in each.by_key}
        images, labels = select(*files, read_list(listed, known), listed)
    else:
        name = f"{split}2017"
        folders = [root / kind / name for kind in MAPS]
        images = list_files(root / "images" / name)
        labels = list_files(next((f for f in folders if f.is_dir()), folders[0]), (".png",))
    pairs, problems = pair_up(images, labels)
    classes, decode = classes_and_reader(root, "cocostuff", read_labels)
    if decode is not read_labels and any(label.suffix == ".mat" for _, label in pairs):
        raise DatasetError(
            f"{root / 'classes.txt'} has other classes than COCO-Stuff, whose ids the .mat files "
            "have: remove it, or save the labels as PNG with its ids"
        )
    return Dataset(root, pairs, classes, decode, problems)


def read_labels(path: Path) -> Labels:
    """Read a .mat file (its array S) or a pixel map.

    Returns:
        Class ids 0..170 and 255, uint8 [H,W].

    Raises:
        DatasetError: a .mat file cannot be decoded, a pixel map has three channels or another
            palette, or there are ids that COCO-Stuff does not define.
        ImageFileError: not a regular file, or a pixel map that is not a label image.
    """
    check_regular(path)
    if path.suffix == ".mat":
        return _read_mat(path)
    return MAP_READER(path)


def _read_mat(path: Path) -> Labels:
    from scipy.io import loadmat

    try:
        stored = loadmat(str(path), variable_names=["S", "names"])
    except Exception as error:  # on damaged files SciPy raises errors of any type
        raise DatasetError(f"{path} is not a readable .mat file: {first_line(error)}") from None
    if "S" not in stored or stored["S"].ndim != 2:
        raise DatasetError(f"{path} has no label map S of [height, width]")
    if "names" in stored and stored["names"].size != 182:
        raise DatasetError(
            f"{path} has {stored['names'].size} class names instead of 182: it is of version 1.0, "
            "which orders ids differently; download cocostuff-10k-v1.1.zip"
        )
    values = np.asarray(stored["S"])
    with np.errstate(invalid="ignore"):  # overflows are detected by the comparison below
        ids = values.astype(np.uint8)
    if not np.array_equal(ids, values):
        raise DatasetError(f"{path} has labels that are not 8-bit ids; {MAT_IDS.rule}")
    return MAT_IDS.decode(ids, path)
