"""CamVid (Brostow et al. 2008, 2009): the original release and SegNet's version of 11 classes."""

from pathlib import Path

from bisenet_ros.classes import IGNORE_ID
from bisenet_ros.datasets.dataset import Dataset, Files, list_files, pair_up, read_list, select
from bisenet_ros.datasets.label_files import IdTable, LabelReader, classes_and_reader
from bisenet_ros.errors import DatasetError, quoted
from bisenet_ros.images.label_images import Color

IMAGES, LABELS = "701_StillsRaw_full", "LabeledApproved_full"
FOLDERS = f"{IMAGES}/ and {LABELS}/, or SPLIT/ and SPLITannot/, or SPLIT/ and SPLIT_labels/"

MERGED: dict[int, dict[str, Color]] = {
    0: {"Sky": (128, 128, 128)},
    1: {
        "Building": (128, 0, 0),
        "Archway": (192, 0, 128),
        "Bridge": (0, 128, 64),
        "Tunnel": (64, 0, 64),
        "Wall": (64, 192, 0),
    },
    2: {"Column_Pole": (192, 192, 128), "TrafficCone": (0, 0, 64)},
    3: {
        "Road": (128, 64, 128),
        "LaneMkgsDriv": (128, 0, 192),
        "LaneMkgsNonDriv": (192, 0, 64),
    },
    4: {
        "Sidewalk": (0, 0, 192),
        "ParkingBlock": (64, 192, 128),
        "RoadShoulder": (128, 128, 192),
    },
    5: {"Tree": (128, 128, 0), "VegetationMisc": (192, 192, 0)},
    6: {
        "SignSymbol": (192, 128, 128),
        "Misc_Text": (128, 128, 64),
        "TrafficLight": (0, 64, 64),
    },
    7: {"Fence": (64, 64, 128)},
    8: {
        "Car": (64, 0, 128),
        "SUVPickupTruck": (64, 128, 192),
        "Truck_Bus": (192, 128, 192),
        "Train": (192, 64, 128),
        "OtherMoving": (128, 64, 64),
    },
    9: {
        "Pedestrian": (64, 64, 0),
        "Child": (192, 128, 64),
        "CartLuggagePram": (64, 0, 192),
        "Animal": (64, 128, 64),
    },
    10: {"Bicyclist": (0, 128, 192), "MotorcycleScooter": (192, 0, 192)},
    IGNORE_ID: {"Void": (0, 0, 0)},
}
"""Names and colors of the 32 classes in the release's label_colors.txt, by SegNet's 11 class ids.

Merged as in MathWorks' ``camvidPixelLabelIDs`` ("following the original SegNet training
methodology", Badrinarayanan et al. 2017); SegNet itself published merged images only.
"""
READER = LabelReader(
    IdTable.of(
        {id_: id_ for id_ in range(11)} | {11: IGNORE_ID},
        "the ids of the 11-class version are 0 to 10, and 11 or 255 for no class",
    ),
    tuple((color, class_id) for class_id, merged in MERGED.items() for color in merged.values()),
    "CamVid's label_colors.txt",
    "the colors of CamVid are the 32 of its label_colors.txt",
)


def recognize(root: Path, split: str) -> bool:
    """Return whether a folder of one of the three layouts exists, but no classes.txt."""
    return not (root / "classes.txt").is_file() and any(
        (root / name).is_dir() for name in (IMAGES, LABELS, f"{split}annot", f"{split}_labels")
    )


def find(root: Path, split: str) -> Dataset:
    """Find the image and label files of a split.

    The original release has no splits: ``root``/SPLIT.txt lists them, one image name per line;
    without such a file SegNet's splits are used, see ``segnet_split``. Without a classes.txt in
    ``root`` labels are read by color or, if they have one channel, by id, to 0..10 and 255.

    Raises:
        DatasetError: a folder or the split is missing.
        ClassesError: classes.txt is malformed.
    """
    if (root / IMAGES).is_dir() or (root / LABELS).is_dir():
        images, labels = _of_split(root, split)
    else:
        images = list_files(root / split)
        by_color = (root / f"{split}_labels").is_dir()
        labels = (
            list_files(root / f"{split}_labels", ending="_L")
            if by_color
            else list_files(root / f"{split}annot")
        )
    pairs, problems = pair_up(images, labels)
    classes, decode = classes_and_reader(root, "camvid", READER)
    return Dataset(root, pairs, classes, decode, problems)


def segnet_split(name: str) -> str:
    """Return SegNet's split (367 train, 101 val, 233 test) of an image named like '0016E5_07959'.

    As in the lists of the SegNet tutorial: val is the 15 Hz part of 0016E5; test is Seq05VD and the
    second half of the dusk drive 0001TP.
    """
    drive, _, frame = name.partition("_")
    if drive == "Seq05VD" or (drive == "0001TP" and frame >= "008550"):
        return "test"
    return "val" if drive == "0016E5" and "07959" <= frame <= "08159" else "train"


def _of_split(root: Path, split: str) -> tuple[Files, Files]:
    images, labels = list_files(root / IMAGES), list_files(root / LABELS, ending="_L")
    listed = root / f"{split}.txt"
    if listed.is_file():
        known = {*images.by_key, *labels.by_key}
        return select(images, labels, read_list(listed, known), listed)
    if split not in ("train", "val", "test"):
        raise DatasetError(
            f"{root} has no split {quoted(split)}: create a list {listed}, or use one of SegNet's "
            "splits train, val, test"
        )
    names = {*images.by_key, *labels.by_key}
    return select(images, labels, {n for n in names if segnet_split(n) == split}, root)
