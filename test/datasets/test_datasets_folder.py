"""The layout for custom data: folders, label formats and error messages."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from encoded_images import label_png
from numpy.typing import NDArray
from PIL import Image

from bisenet_ros.cli.calibrate import evenly_spread
from bisenet_ros.datasets import find_dataset, open_dataset
from bisenet_ros.errors import ClassesError, DatasetError


def test_pairs_are_sorted_and_rgb(
    write_folder: Callable[[list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]], Path],
) -> None:
    rng = np.random.default_rng(1)
    samples = [
        (rng.integers(0, 256, (6, 8, 3), np.uint8), rng.choice(np.uint8([0, 1, 255]), (6, 8)))
        for _ in range(11)
    ]
    dataset = open_dataset(write_folder(samples))
    assert len(dataset) == 11
    assert [entry.name for entry in dataset.classes] == ["dark", "bright"]
    for index, (image, labels) in enumerate(samples):
        read_image, read_labels = dataset[index]
        np.testing.assert_array_equal(read_image, image)
        np.testing.assert_array_equal(read_labels, labels)
        np.testing.assert_array_equal(dataset.read_labels(index), labels)
        assert read_labels.dtype == np.uint8


def test_classes_may_be_in_the_folder_above(two_tone: Path) -> None:
    (two_tone / "classes.txt").rename(two_tone.parent / "classes.txt")
    assert len(open_dataset(two_tone).classes) == 2


def test_a_folder_without_splits_is_the_same_for_every_split(two_tone: Path) -> None:
    assert open_dataset(two_tone, split="val") == open_dataset(two_tone, split="train")
    with pytest.raises(DatasetError, match=r"'train\+val' contains images of .*data twice"):
        open_dataset(two_tone, split="train+val")


def test_splits_are_folders_and_can_be_joined(two_tone: Path, tmp_path: Path) -> None:
    root = tmp_path / "splits"
    for split in ("train", "val"):
        for kind, numbers in (("images", range(5)), ("labels", range(5))):
            (root / split / kind).mkdir(parents=True)
            for number in numbers:
                if split == "train" or number < 2:
                    source = two_tone / kind / f"{number:03}.png"
                    (root / split / kind / source.name).write_bytes(source.read_bytes())
    (root / "classes.txt").write_bytes((two_tone / "classes.txt").read_bytes())
    assert [len(open_dataset(root, split=s)) for s in ("train", "val", "train+val")] == [5, 2, 7]
    joined = open_dataset(root, "folder", "train+val")
    assert [image.parent.parent.name for image, _ in joined.pairs] == ["train"] * 5 + ["val"] * 2
    assert joined.root == root
    with pytest.raises(DatasetError, match=r"splits has no split 'test'; it has train, val$"):
        open_dataset(root, split="test")
    with pytest.raises(DatasetError, match=r"no known layout for split 'val' .*SPLIT/images/"):
        open_dataset(two_tone / "images", split="val")
    with pytest.raises(DatasetError, match=r"no folder .*splits/test/images"):
        open_dataset(root, "folder", "test")
    (root / "val" / "classes.txt").write_text("0 dark 1 2 3\n1 light 4 5 6\n")
    with pytest.raises(DatasetError, match=r"parts of split 'train\+val' of .* different classes"):
        open_dataset(root, split="train+val")


def test_splits_may_be_folders_in_images_and_labels(two_tone: Path) -> None:
    before = open_dataset(two_tone)
    for split, numbers in (("train", range(3)), ("val", range(3, 5))):
        for kind in ("images", "labels"):
            (two_tone / kind / split).mkdir()
            for number in numbers:
                name = f"{number:03}.png"
                (two_tone / kind / name).rename(two_tone / kind / split / name)
    train, val = (open_dataset(two_tone, split=split) for split in ("train", "val"))
    assert (len(train), len(val)) == (3, 2)
    assert train.classes == before.classes
    assert train.pairs[0][0] == two_tone / "images" / "train" / "000.png"
    assert evenly_spread(two_tone, 9) == [image for image, _ in train.pairs]


def test_gray_images_become_rgb_and_suffixes_may_differ(two_tone: Path) -> None:
    gray = np.full((64, 64), 77, np.uint8)
    (two_tone / "images" / "000.png").unlink()
    assert cv2.imwrite(str(two_tone / "images" / "000.bmp"), gray)
    assert (open_dataset(two_tone)[0][0] == 77).all()
    assert open_dataset(two_tone)[0][0].shape == (64, 64, 3)


def test_labels_by_color(two_tone: Path) -> None:
    with (two_tone / "classes.txt").open("a") as file:
        file.write("255 void 0 0 0\n")
    before = open_dataset(two_tone).read_labels(2)
    colors = np.uint8([[10, 20, 30], [200, 210, 220]])[before]
    colors[:3] = 0
    path = two_tone / "labels" / "002.png"
    assert cv2.imwrite(str(path), colors[..., ::-1])
    labels = open_dataset(two_tone).read_labels(2)
    assert (labels[:3] == 255).all()
    np.testing.assert_array_equal(labels[3:], before[3:])
    assert labels.dtype == np.uint8


def test_foreign_colors_are_counted(two_tone: Path) -> None:
    colors = np.full((64, 64, 3), (10, 20, 30), np.uint8)
    colors[0, :7] = 0
    colors[1, :2] = 255, 1, 2
    assert cv2.imwrite(str(two_tone / "labels" / "002.png"), colors[..., ::-1])
    text = (
        r"002.png has colors \(0, 0, 0\) \(7 pixels\), \(255, 1, 2\) \(2 pixels\); add the color "
        r"to .*classes.txt, as '255 void r g b' if it means no class$"
    )
    with pytest.raises(DatasetError, match=text):
        open_dataset(two_tone).read_labels(2)


def test_colors_of_two_classes_must_differ(two_tone: Path) -> None:
    (two_tone / "classes.txt").write_text("0 dark 9 9 9\n1 bright 9 9 9\n")
    assert open_dataset(two_tone).read_labels(1).max() == 1
    assert cv2.imwrite(str(two_tone / "labels" / "002.png"), np.full((64, 64, 3), 9, np.uint8))
    with pytest.raises(DatasetError, match=r"classes 0 and 1 have the same color, \(9, 9, 9\)"):
        open_dataset(two_tone).read_labels(2)


def test_a_palette_gives_its_indices(two_tone: Path) -> None:
    dataset = open_dataset(two_tone)
    before = dataset.read_labels(3)
    path = two_tone / "labels" / "003.png"
    indexed = Image.fromarray(before, mode="P")
    indexed.putpalette([200, 0, 0, 0, 200, 0])
    indexed.save(path)
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim == 3  # OpenCV returns colors
    np.testing.assert_array_equal(dataset.read_labels(3), before)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DatasetError, match=r"003.png is not a readable label image"):
        dataset.read_labels(3)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_less_than_8_bits_give_the_ids_in_the_file(two_tone: Path, bits: int) -> None:
    dataset = open_dataset(two_tone)
    before = dataset.read_labels(3)
    (two_tone / "labels" / "003.png").write_bytes(label_png(before, bits=bits))
    assert cv2.imread(str(two_tone / "labels" / "003.png"), cv2.IMREAD_UNCHANGED).max() > 1
    np.testing.assert_array_equal(dataset.read_labels(3), before)


def test_missing_and_empty_folders(two_tone: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"there is no folder .*nowhere"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"has no split 'train'; it has data$"):
        open_dataset(tmp_path)
    with pytest.raises(
        DatasetError, match=r"unknown layout 'camvit'; it must be one of auto, city"
    ):
        open_dataset(two_tone, "camvit")
    for path in (two_tone / "labels").iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(DatasetError, match=r"labels has no files \*{.png,"):
        open_dataset(two_tone)


def test_files_without_a_partner_are_named(two_tone: Path) -> None:
    (two_tone / "labels" / "003.png").unlink()
    (two_tone / "images" / "001.png").unlink()
    text = r"images/003.png has no labels, and 1 more problems; 'bisenet dataset check'"
    with pytest.raises(DatasetError, match=text):
        open_dataset(two_tone)
    dataset = find_dataset(two_tone)
    assert len(dataset) == 3
    assert dataset.problems == (
        f"{two_tone}/images/003.png has no labels",
        f"{two_tone}/labels/001.png has no image",
    )


def test_two_files_with_the_same_name_are_refused(two_tone: Path) -> None:
    (two_tone / "images" / "002.jpg").write_bytes((two_tone / "images" / "002.png").read_bytes())
    with pytest.raises(DatasetError, match=r"002.jpg and 002.png have the same name"):
        open_dataset(two_tone)


def test_missing_and_malformed_classes(two_tone: Path) -> None:
    (two_tone / "classes.txt").write_text("0 dark 1 2\n")
    with pytest.raises(ClassesError, match="line 1"):
        open_dataset(two_tone)
    (two_tone / "classes.txt").unlink()
    with pytest.raises(DatasetError, match=r"no classes.txt in .* or in the folder above"):
        open_dataset(two_tone)


def test_sizes_that_differ_are_named(two_tone: Path) -> None:
    assert cv2.imwrite(str(two_tone / "labels" / "001.png"), np.zeros((32, 48), np.uint8))
    with pytest.raises(DatasetError, match=r"001.png is 64x64 and its labels .*001.png 48x32"):
        open_dataset(two_tone)[1]


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (np.full((64, 64), 2, np.uint8), r"has label 2 \(4096 pixels\); labels are 0 to 1 and 255"),
        (np.full((64, 64), 254, np.uint8), "has label 254"),
        (np.arange(64, dtype=np.uint8)[None], r"has labels 2 \(1 pixels\), 3 .* and 57 more; "),
        (np.full((64, 64), 2, np.uint16), r"has label 2 \(4096 pixels\)"),
        (np.zeros((64, 64, 3), np.uint16), "has 3 channels of uint16: save class ids in one"),
        (np.zeros((64, 64, 4), np.uint8), "has transparent pixels, which may have a class or"),
    ],
)
def test_bad_label_images_are_named(two_tone: Path, labels: NDArray, text: str) -> None:
    assert cv2.imwrite(str(two_tone / "labels" / "004.png"), labels)
    with pytest.raises(DatasetError, match=f"004.png.*{text}"):
        open_dataset(two_tone)[4]


def test_broken_files_are_named(two_tone: Path) -> None:
    (two_tone / "images" / "000.png").write_bytes(b"no image")
    (two_tone / "labels" / "001.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"000.png is not an image that OpenCV can read"):
        open_dataset(two_tone)[0]
    with pytest.raises(DatasetError, match=r"001.png is not a readable label image"):
        open_dataset(two_tone)[1]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_pictures_are_turned_by_exif_and_labels_are_not(two_tone: Path, suffix: str) -> None:
    """Labeling tools show the picture turned, so that is what labels belong to."""
    (two_tone / "images" / "001.png").unlink()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees to the right
    stored = np.zeros((48, 64, 3), np.uint8)
    stored[:24] = 250
    Image.fromarray(stored).save(two_tone / "images" / f"001{suffix}", exif=exif)
    labels = np.zeros((64, 48), np.uint8)
    labels[:, 24:] = 1
    assert cv2.imwrite(str(two_tone / "labels" / "001.png"), labels)
    image, read_labels = open_dataset(two_tone)[1]
    np.testing.assert_array_equal(image[..., 0] > 128, read_labels == 1)
    assert cv2.imwrite(str(two_tone / "labels" / "001.png"), labels.T)
    text = (
        rf"001\{suffix} is turned to 48x64 by its EXIF orientation 6, but its labels .*001.png "
        r"have the size before turning, 64x48: turn the labels, too, or remove the orientation"
    )
    with pytest.raises(DatasetError, match=text):
        open_dataset(two_tone)[1]
    assert cv2.imwrite(str(two_tone / "labels" / "001.png"), labels[:9])
    with pytest.raises(DatasetError, match=r"is 48x64 and its labels .* 48x9; they must have"):
        open_dataset(two_tone)[1]


def test_pictures_of_types_that_are_not_read_are_errors(two_tone: Path) -> None:
    """Without a word, an image and labels of such types would be missing."""
    (two_tone / "images" / "x.heic").touch()
    (two_tone / "labels" / "x.gif").touch()
    heic, gif = find_dataset(two_tone).problems
    assert "images has pictures of types that are not read (.heic): 1, such as x.heic" in heic
    assert "labels has pictures of types that are not read (.gif): 1, such as x.gif" in gif


def test_labels_may_have_a_suffix(two_tone: Path) -> None:
    before = open_dataset(two_tone)
    expected = [before.read_labels(index) for index in range(5)]
    for path in (two_tone / "labels").iterdir():
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    dataset = open_dataset(two_tone)
    assert [(image.stem, labels.stem) for image, labels in dataset.pairs] == [
        (f"{number:03}", f"{number:03}_mask") for number in range(5)
    ]
    for index, labels in enumerate(expected):
        np.testing.assert_array_equal(dataset.read_labels(index), labels)


def test_two_labels_of_an_image_and_two_images_of_a_label(two_tone: Path) -> None:
    images, labels = two_tone / "images", two_tone / "labels"
    (labels / "001_mask.png").write_bytes((labels / "001.png").read_bytes())
    (labels / "003.png").rename(labels / "x.png")
    (images / "003.png").rename(images / "x-.png")
    (images / "x_rgb.png").write_bytes((images / "x-.png").read_bytes())
    (images / "x_img.png").write_bytes((images / "x-.png").read_bytes())
    (images / "x-.png").unlink()
    dataset = find_dataset(two_tone)
    assert dataset.problems == (
        f"{labels}/001.png and {labels}/001_mask.png are labels of {images}/001.png; remove all "
        "but one",
        f"{labels}/x.png is named like the images {images}/x_img.png and {images}/x_rgb.png; name "
        "it exactly like one of them",
    )
    assert [image.stem for image, _ in dataset.pairs] == ["000", "002", "004"]


@pytest.mark.parametrize("ending", ["labelIds", "labelTrainIds"])
def test_other_files_of_cityscapes_are_no_labels(two_tone: Path, ending: str) -> None:
    for path in sorted((two_tone / "labels").iterdir()):
        for other in ("instanceIds", "instanceTrainIds", "color"):
            name = f"{path.stem}_gtFine_{other}.png"
            assert cv2.imwrite(str(path.with_name(name)), np.zeros((6, 8), np.uint16))
        path.with_name(f"{path.stem}_gtFine_polygons.json").write_text("{}")
        path.rename(path.with_name(f"{path.stem}_gtFine_{ending}.png"))
    names = [labels.name for _, labels in open_dataset(two_tone).pairs]
    assert names == [f"{number:03}_gtFine_{ending}.png" for number in range(len(names))]


def test_ids_of_instances_alone_are_never_labels(two_tone: Path) -> None:
    """They are small where an image has no instances."""
    for path in sorted((two_tone / "labels").iterdir()):
        path.rename(path.with_name(f"{path.stem}_gtFine_instanceIds.png"))
    dataset = find_dataset(two_tone)
    assert dataset.pairs == ()
    assert dataset.problems[0] == (
        f"{two_tone}/labels/000_gtFine_instanceIds.png has ids of instances, not of classes; add "
        "its 000_gtFine_labelIds.png, or remove it"
    )


def test_colors_alone_are_labels(two_tone: Path) -> None:
    for path in sorted((two_tone / "labels").iterdir()):
        path.rename(path.with_name(f"{path.stem}_gtFine_color.png"))
    assert len(open_dataset(two_tone)) == 5


def test_names_that_never_match_are_one_problem(two_tone: Path) -> None:
    for path in (two_tone / "labels").iterdir():
        path.rename(path.with_name(f"1{path.name}"))
    (problem,) = find_dataset(two_tone).problems
    assert problem == (
        f"no label file is named like an image: images are named like {two_tone}/images/000.png, "
        f"label files like {two_tone}/labels/1000.png; name each label file like its image, such "
        "as 000.png"
    )


def test_folders_in_images_and_labels_are_read(two_tone: Path) -> None:
    for kind, suffix in (("images", ""), ("labels", "_mask")):
        for number, day in ((1, "day_1"), (2, "day_2")):
            folder = two_tone / kind / day
            folder.mkdir()
            (two_tone / kind / f"00{number}.png").rename(folder / f"000{suffix}.png")
        (two_tone / kind / ".trash").mkdir()
        (two_tone / kind / ".trash" / "9.png").write_bytes(b"")
    dataset = open_dataset(two_tone)
    assert [
        tuple(str(path.relative_to(two_tone)) for path in pair)
        for pair in dataset.pairs
        if pair[0].stem == "000"
    ] == [
        ("images/000.png", "labels/000.png"),
        ("images/day_1/000.png", "labels/day_1/000_mask.png"),
        ("images/day_2/000.png", "labels/day_2/000_mask.png"),
    ]
    assert len(dataset) == 5


def test_files_of_no_split_are_named(two_tone: Path) -> None:
    for kind in ("images", "labels"):
        (two_tone / kind / "train").mkdir()
        for number in (0, 1):
            path = two_tone / kind / f"00{number}.png"
            path.rename(path.parent / "train" / path.name)
    assert find_dataset(two_tone).problems == tuple(
        f"{two_tone}/{kind} has 3 files beside the folders of splits, which are not read; move "
        f"them into {two_tone}/{kind}/train or another split"
        for kind in ("images", "labels")
    )
    # Images of the train split would otherwise be those of any split.
    with pytest.raises(DatasetError, match=r"data has no split 'val'; it has train$"):
        find_dataset(two_tone, split="val")


def test_a_second_folder_of_images_is_named(two_tone: Path) -> None:
    (two_tone / "val" / "images").mkdir(parents=True)
    assert find_dataset(two_tone).problems == ()
    with pytest.raises(DatasetError, match=r"data/val/images is not read, because .*data has im"):
        open_dataset(two_tone, split="val")
