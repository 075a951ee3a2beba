"""Exports of label images: CVAT, Roboflow, PASCAL VOC, and folders of ids or colors."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from exports import (
    HEIGHT,
    WIDTH,
    blocks,
    import_export,
    imported,
    labels_of,
    write_labels,
    write_palette,
    write_picture,
)

from bisenet_ros.classes import read_unlabeled_colors
from bisenet_ros.datasets import open_dataset
from bisenet_ros.datasets.importers import voc
from bisenet_ros.datasets.importers.class_map import ClassMap
from bisenet_ros.errors import ClassesError, DatasetError

LABELMAP = """# label:color_rgb:parts:actions
background:0,0,0::
road: 128,64,128::
traffic light:red:250,170,30::
"""
COLORS = np.array([(0, 0, 0), (128, 64, 128), (250, 170, 30)], np.uint8)


def cvat(root: Path, names: list[str], values: np.ndarray) -> None:
    """Write pictures and label images of "Segmentation mask 1.1"."""
    (root / "labelmap.txt").parent.mkdir(parents=True, exist_ok=True)
    (root / "labelmap.txt").write_text(LABELMAP)
    for name in names:
        write_picture(root / f"JPEGImages/{name}.jpg")
        write_labels(root / f"SegmentationClass/{name}.png", COLORS[values])
        write_labels(root / f"SegmentationObject/{name}.png", COLORS[values])


def voc_palette(count: int = 256) -> list[tuple[int, int, int]]:
    """Return VOC's color map as its development kit defines it."""
    colors = []
    for index in range(count):
        color = [0, 0, 0]
        for shift in range(7, -1, -1):
            for channel in range(3):
                color[channel] |= (index >> channel & 1) << shift
            index >>= 3
        colors.append((color[0], color[1], color[2]))
    return colors


def test_cvat_colors_names_with_colons_and_folders(tmp_path: Path) -> None:
    values = blocks(0, 1, 2, 1)
    cvat(tmp_path / "in", ["drive/frame 1", "b"], values)
    lists = tmp_path / "in/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "default.txt").write_text('"drive/frame 1"\nb.jpg\n')
    dataset = imported(tmp_path / "in", tmp_path / "out")
    assert [(c.name, c.color) for c in dataset.classes] == [
        ("background", (0, 0, 0)),
        ("road", (128, 64, 128)),
        ("traffic light:red", (250, 170, 30)),
    ]
    # Void has a color of its own, since black is the background's.
    assert read_unlabeled_colors(tmp_path / "out/classes.txt") == ((128, 0, 0),)
    labels = labels_of(dataset)
    assert labels.keys() == {"frame 1", "b"}
    for each in labels.values():
        np.testing.assert_array_equal(each, values)


def test_cvat_label_images_of_one_channel_and_of_a_palette(tmp_path: Path) -> None:
    values = blocks(2, 1, 0, 0)
    cvat(tmp_path / "in", ["a", "b"], values)
    write_labels(tmp_path / "in/SegmentationClass/a.png", values)
    # An image editor's palette: index 0 is class 2.
    palette = [(250, 170, 30), (128, 64, 128), (0, 0, 0)]
    write_palette(tmp_path / "in/SegmentationClass/b.png", 2 - values, palette)
    labels = labels_of(imported(tmp_path / "in", tmp_path / "out"))
    np.testing.assert_array_equal(labels["a"], values)
    np.testing.assert_array_equal(labels["b"], values)


def test_cvat_splits_and_pictures_elsewhere(tmp_path: Path) -> None:
    cvat(tmp_path / "in", ["a", "b", "c", "d"], blocks(0, 1))
    (tmp_path / "in/JPEGImages").rename(tmp_path / "pictures")
    lists = tmp_path / "in/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    for name, text in (("Train", "a\nb"), ("Validation", "c\nmissing"), ("trainval", "a\nb\nd")):
        (lists / f"{name}.txt").write_text(text)
    with pytest.raises(DatasetError, match=r"no folder .*JPEGImages; export with images, or give"):
        import_export(tmp_path / "in", tmp_path / "out")
    summary = import_export(tmp_path / "in", tmp_path / "out", images=tmp_path / "pictures")
    assert summary.splits == {"train": 2, "val": 1}
    assert summary.notes == ("1 label images are in no list of ImageSets/Segmentation",)
    assert [p.split(" is listed")[0] for p in summary.problems] == ["'missing'"]


@pytest.mark.parametrize(
    "line", ["road", "road:128,64::", "road:1,2,300::", "road:a,b,c::", "road:::"]
)
def test_cvat_malformed_labelmap(tmp_path: Path, line: str) -> None:
    cvat(tmp_path / "in", ["a"], blocks(0, 1))
    (tmp_path / "in/labelmap.txt").write_text(f"background:0,0,0::\n{line}\n")
    with pytest.raises(ClassesError, match=r"labelmap.txt: line 2 is .*, not 'name:r,g,b:parts"):
        import_export(tmp_path / "in", tmp_path / "out")


def test_cvat_color_that_labelmap_does_not_define(tmp_path: Path) -> None:
    cvat(tmp_path / "in", ["a"], blocks(0, 1))
    (tmp_path / "in/labelmap.txt").write_text("background:0,0,0::\ncar:0,0,142::\n")
    text = r"SegmentationClass/a.png has color \(128, 64, 128\) \(96 pixels\).* of .*labelmap.txt"
    with pytest.raises(DatasetError, match=text):
        import_export(tmp_path / "in", tmp_path / "out")


def test_roboflow_splits_and_hashed_names(tmp_path: Path) -> None:
    values = blocks(0, 1, 2, 2)
    for split, count in (("train", 3), ("valid", 2), ("test", 1)):
        for number in range(count):
            name = f"frame_{number}_jpg.rf.{number}a{number}f"
            write_picture(tmp_path / f"in/{split}/{name}.jpg")
            write_labels(tmp_path / f"in/{split}/{name}_mask.png", values)
    for split in ("train", "valid"):  # and none in test
        classes = "Pixel Value, Class\n0, background\n1, car\n2, road wet\n"
        (tmp_path / f"in/{split}/_classes.csv").write_text(classes)
    summary = import_export(tmp_path / "in", tmp_path / "out")
    assert summary.splits == {"train": 3, "val": 2, "test": 1}
    assert [entry.name for entry in summary.classes] == ["background", "car", "road wet"]
    for split in ("train", "val", "test"):
        for labels in labels_of(open_dataset(tmp_path / "out", split=split)).values():
            np.testing.assert_array_equal(labels, values)


def test_roboflow_lists_that_differ_and_values_without_name(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write_picture(tmp_path / f"in/{split}/a.jpg")
        write_labels(tmp_path / f"in/{split}/a_mask.png", blocks(0, 1, 7, 7))
        (tmp_path / f"in/{split}/_classes.csv").write_text("Pixel Value, Class\n0, bg\n1, car\n")
    with pytest.raises(DatasetError, match=r"a_mask.png has label 7 .*the ids of .*csv are 0, 1,"):
        import_export(tmp_path / "in", tmp_path / "out")
    rules = ClassMap(ids={7: "void"})
    assert import_export(tmp_path / "in", tmp_path / "out", rules=rules).pixels[-1] == 2 * 96
    (tmp_path / "in/valid/_classes.csv").write_text("Pixel Value, Class\n0, bg\n1, truck\n")
    with pytest.raises(ClassesError, match=r"valid/_classes.csv and .*train/_classes.csv differ"):
        import_export(tmp_path / "in", tmp_path / "two")


def test_roboflow_pictures_and_masks_without_each_other(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        write_picture(tmp_path / "in" / name)
    write_labels(tmp_path / "in/a_mask.png", blocks(0, 1))
    write_labels(tmp_path / "in/c_mask.png", blocks(0, 1))
    (tmp_path / "in/_classes.csv").write_text("Pixel Value, Class\n0, bg\n1, car\n")
    summary = import_export(tmp_path / "in", tmp_path / "out")
    assert summary.problems == (
        f"{tmp_path}/in/b.jpg has no b_mask.png beside it",
        f"{tmp_path}/in/c_mask.png has no image beside it",
    )


def test_voc_names_and_boundary(tmp_path: Path) -> None:
    values = blocks(0, 15, 255, 7)
    write_picture(tmp_path / "in/JPEGImages/a.jpg")
    write_picture(tmp_path / "in/JPEGImages/b.jpg")
    write_palette(tmp_path / "in/SegmentationClass/a.png", values, voc_palette())
    summary = import_export(tmp_path / "in", tmp_path / "out")
    assert summary.notes[0].startswith("no class names given: they are the 21 of PASCAL VOC")
    assert summary.notes[1] == "1 images have no label image, and are left out"
    dataset = open_dataset(tmp_path / "out")
    assert [entry.name for entry in dataset.classes] == voc.NAMES
    assert [entry.color for entry in dataset.classes] == voc_palette(21)
    np.testing.assert_array_equal(dataset.read_labels(0), values)


def write_boxes(path: Path, *objects: tuple[str, float, float, float, float]) -> None:
    """Write the objects of an image as VOC does: name, left, top, right and bottom, from 1 on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = (
        f"<object><name>{name}</name><part><name>head</name></part><bndbox><xmin>{left}</xmin>"
        f"<ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for name, left, top, right, bottom in objects
    )
    path.write_text(f"<annotation>{''.join(entries)}</annotation>")


def test_voc_objects_with_a_box_only_are_void_and_not_background(tmp_path: Path) -> None:
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[2:6, 2:6] = 255  # the boundary of the car
    values[3:5, 3:5] = 7
    for name in ("a", "b"):
        write_picture(tmp_path / f"in/JPEGImages/{name}.jpg")
        write_palette(tmp_path / f"in/SegmentationClass/{name}.png", values, voc_palette())
    car, other_car = ("car", 3, 3, 6, 6), ("car", 5, 5, 14, 12)
    write_boxes(tmp_path / "in/Annotations/a.xml", car, other_car, ("drone", 16, 1, 99, 1))
    write_boxes(tmp_path / "in/Annotations/b.xml", car)
    summary = import_export(tmp_path / "in", tmp_path / "out")
    labels = labels_of(open_dataset(tmp_path / "out"))
    np.testing.assert_array_equal(labels["b"], values)
    values[4:, 4:14] = np.where(values[4:, 4:14] == 7, 7, 255)
    values[0, 15] = 255
    # From a pixel before each box on: some tools count them from 0.
    np.testing.assert_array_equal(labels["a"], values)
    assert "in 1 images, are void because objects" in str(summary)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>", "is not XML: no element found"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "has a document type"),
        ("<a><object><name>car</name></object></a>", "an object whose bndbox is not four numbers"),
    ],
)
def test_voc_malformed_boxes(tmp_path: Path, text: str, message: str) -> None:
    for name in ("a", "b"):
        write_picture(tmp_path / f"in/JPEGImages/{name}.jpg")
        write_palette(tmp_path / f"in/SegmentationClass/{name}.png", blocks(0, 7), voc_palette())
    (tmp_path / "in/Annotations").mkdir()
    (tmp_path / "in/Annotations/a.xml").write_text(text)
    (problem,) = import_export(tmp_path / "in", tmp_path / "out").problems
    assert "a.jpg" in problem
    assert message in problem


def test_voc_as_labelme_writes_it_has_its_own_names(tmp_path: Path) -> None:
    values = blocks(0, 1, 2, 2)
    write_picture(tmp_path / "in/JPEGImages/a.jpg")
    write_palette(tmp_path / "in/SegmentationClassPNG/a.png", values, voc_palette())
    (tmp_path / "in/SegmentationClass").mkdir()
    (tmp_path / "in/SegmentationClass/a.npy").write_bytes(b"")
    (tmp_path / "in/class_names.txt").write_text("_background_\nroad\ncar\n")
    dataset = imported(tmp_path / "in", tmp_path / "out")
    assert [entry.name for entry in dataset.classes] == ["_background_", "road", "car"]
    np.testing.assert_array_equal(dataset.read_labels(0), values)


def test_voc_palette_of_other_order_counts_by_color(tmp_path: Path) -> None:
    """The indices of an image editor's palette are not ids."""
    write_picture(tmp_path / "in/JPEGImages/a.jpg")
    palette = [voc_palette()[k] for k in (7, 0, 15)]
    write_palette(tmp_path / "in/SegmentationClass/a.png", blocks(0, 1, 2, 2), palette)
    labels = imported(tmp_path / "in", tmp_path / "out").read_labels(0)
    np.testing.assert_array_equal(labels, blocks(7, 0, 15, 15))


def test_masks_of_ids_with_many_to_one_and_ids_to_void(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/images/a.png")
    write_labels(tmp_path / "in/labels/a.png", blocks(0, 1, 2, 3, 4, 255, 4, 0))
    (tmp_path / "in/classes.txt").write_text(
        "1 wall 102 102 156\n2 building 70 70 70\n3 road 128 64 128\n4 sky 70 130 180\n"
    )
    rules = ClassMap(names={"wall": "building"}, ids={0: "void", 4: "road"})
    dataset = imported(tmp_path / "in", tmp_path / "out", format_="masks", rules=rules)
    assert [(c.name, c.color) for c in dataset.classes] == [
        ("building", (70, 70, 70)),
        ("road", (128, 64, 128)),
    ]
    np.testing.assert_array_equal(dataset.read_labels(0), blocks(255, 0, 0, 1, 1, 255, 1, 255))


def test_masks_of_colors_that_only_the_map_names(tmp_path: Path) -> None:
    colors = np.array([(70, 70, 70), (102, 102, 156), (0, 0, 0), (128, 64, 128)], np.uint8)
    write_picture(tmp_path / "pictures/a.png")
    write_labels(tmp_path / "in/a_mask.png", colors[blocks(0, 1, 2, 3)])
    names = ("building", "building", "void", "road")
    rules = ClassMap(
        colors={(int(r), int(g), int(b)): n for (r, g, b), n in zip(colors, names, strict=True)}
    )
    dataset = imported(tmp_path / "in", tmp_path / "out", rules=rules, images=tmp_path / "pictures")
    assert [entry.name for entry in dataset.classes] == ["building", "road"]
    np.testing.assert_array_equal(dataset.read_labels(0), blocks(0, 0, 255, 1))


@pytest.mark.parametrize("layout", ["{kind}/{split}", "{split}/{kind}"])
def test_masks_in_folders_of_splits(tmp_path: Path, layout: str) -> None:
    for split, value in (("train", 0), ("valid", 1)):
        folder = {kind: layout.format(kind=kind, split=split) for kind in ("images", "masks")}
        write_picture(tmp_path / "in" / folder["images"] / "0.jpg")
        write_labels(tmp_path / "in" / folder["masks"] / "0.png", blocks(value, 0))
    (tmp_path / "names.txt").write_text("ground\ncar\n")
    summary = import_export(tmp_path / "in", tmp_path / "out", classes=tmp_path / "names.txt")
    assert summary.splits == {"train": 1, "val": 1}
    for split, value in (("train", 0), ("val", 1)):
        (labels,) = labels_of(open_dataset(tmp_path / "out", split=split)).values()
        np.testing.assert_array_equal(labels, blocks(value, 0))


def test_masks_palette_with_void_at_0_counts_by_color(tmp_path: Path) -> None:
    """Void, road and car have the indices 0, 1 and 2; the ids of road and car are 0 and 1."""
    write_picture(tmp_path / "in/images/a.png")
    palette = [(0, 0, 0), (128, 64, 128), (0, 0, 142)]
    write_palette(
        tmp_path / "in/labels/a.png", blocks(0, 1, 2, 255), [*palette, *[(9, 9, 9)] * 253]
    )
    (tmp_path / "in/classes.txt").write_text("0 road 128 64 128\n1 car 0 0 142\n255 void 0 0 0\n")
    labels = imported(tmp_path / "in", tmp_path / "out").read_labels(0)
    np.testing.assert_array_equal(labels, blocks(255, 0, 1, 255))


def test_masks_palette_that_contradicts_is_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/images/a.png")
    palette = [(1, 2, 3), (128, 64, 128), (0, 0, 142)]
    write_palette(tmp_path / "in/labels/a.png", blocks(0, 1, 2, 2), palette)
    (tmp_path / "in/classes.txt").write_text("0 road 128 64 128\n1 car 0 0 142\n2 sky 9 9 9\n")
    with pytest.raises(DatasetError, match=r"a.png has a palette in which index 1 is \(128, 64, 1"):
        import_export(tmp_path / "in", tmp_path / "out")


def test_masks_palette_of_other_colors_gives_its_indices(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/images/a.png")
    write_palette(tmp_path / "in/labels/a.png", blocks(1, 0), [(200, 0, 0), (0, 200, 0)])
    (tmp_path / "in/classes.txt").write_text("0 road 128 64 128\n1 car 0 0 142\n")
    np.testing.assert_array_equal(
        imported(tmp_path / "in", tmp_path / "out").read_labels(0), blocks(1, 0)
    )


def test_masks_palette_of_renumbered_gray_levels_is_refused(tmp_path: Path) -> None:
    """The ids 0, 3 and 7, of which a program that shrinks files made indices, are not 0, 1, 2."""
    write_picture(tmp_path / "in/images/a.png")
    write_palette(tmp_path / "in/labels/a.png", blocks(0, 1, 2, 2), [(k, k, k) for k in (0, 3, 7)])
    lines = (f"{k} class{k} {10 * k} {200 - k} 9\n" for k in range(9))
    (tmp_path / "in/classes.txt").write_text("".join(lines))
    with pytest.raises(DatasetError, match="index 1 is the gray level 3"):
        import_export(tmp_path / "in", tmp_path / "out")


def test_masks_palette_whose_index_255_has_a_class_color_is_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/images/a.png")
    palette = [(128, 64, 128), (0, 0, 142), *[(9, 9, 9)] * 253, (70, 130, 180)]
    write_palette(tmp_path / "in/labels/a.png", blocks(0, 1, 1, 255), palette)
    (tmp_path / "in/classes.txt").write_text("0 sky 70 130 180\n1 road 128 64 128\n2 car 0 0 142\n")
    with pytest.raises(DatasetError, match=r"index 255, which means no class, is \(70, 1"):
        import_export(tmp_path / "in", tmp_path / "out")


def test_masks_are_paired_by_name_as_in_a_dataset(tmp_path: Path) -> None:
    for name, value in (("frame_1", 0), ("frame_10", 1)):
        write_picture(tmp_path / f"in/images/{name}_leftImg8bit.png")
        write_labels(tmp_path / f"in/labels/{name}_gtFine_labelIds.png", blocks(value))
    (tmp_path / "in/classes.txt").write_text("0 road 128 64 128\n1 car 0 0 142\n")
    labels = labels_of(imported(tmp_path / "in", tmp_path / "out"))
    np.testing.assert_array_equal(labels["frame_1_leftImg8bit"], blocks(0))
    np.testing.assert_array_equal(labels["frame_10_leftImg8bit"], blocks(1))


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (("a_mask.png", "a_label.png"), "a_label.png and .*a_mask.png are labels of .*a.png"),
        (("a.png", "a.bmp"), "a.bmp and a.png have the same name"),
    ],
)
def test_masks_of_which_several_fit_an_image_are_refused(
    tmp_path: Path, labels: tuple[str, ...], problem: str
) -> None:
    write_picture(tmp_path / "in/images/a.png")
    for value, name in enumerate(labels):
        write_labels(tmp_path / "in/labels" / name, blocks(value))
    (tmp_path / "in/classes.txt").write_text("0 road 128 64 128\n1 car 0 0 142\n")
    with pytest.raises(DatasetError, match=problem):
        import_export(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(
    ("image", "mask", "more"),
    [
        ("JPEGImages/a", "SegmentationClass/a.png", {}),
        ("train/a", "train/a_mask.png", {"train/_classes.csv": "Pixel Value, Class\n0, a\n1, b\n"}),
    ],
)
def test_images_that_share_a_mask_by_name_are_refused(
    tmp_path: Path, image: str, mask: str, more: dict[str, str]
) -> None:
    for suffix in (".jpg", ".png"):
        write_picture(tmp_path / "in" / f"{image}{suffix}")
    write_labels(tmp_path / "in" / mask, blocks(0, 1))
    for name, text in more.items():
        (tmp_path / "in" / name).write_text(text)
    with pytest.raises(DatasetError, match=r"a\.jpg and a\.png have the same name"):
        import_export(tmp_path / "in", tmp_path / "out")


def test_import_of_dark_16_bit_images_names_no_argument_of_python(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_picture(tmp_path / "in/images/a.png")
    cv2.imwrite(str(tmp_path / "in/images/a.png"), np.full((HEIGHT, WIDTH), 4095, np.uint16))
    write_labels(tmp_path / "in/labels/a.png", blocks(0, 1))
    (tmp_path / "in/classes.txt").write_text("0 road 128 64 128\n1 car 0 0 142\n")
    import_export(tmp_path / "in", tmp_path / "out")
    assert not caplog.records


def test_masks_without_names_or_partners(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_picture(tmp_path / f"in/images/{name}.png")
    for name in ("a", "c"):
        write_labels(tmp_path / f"in/labels/{name}.png", blocks(0, 1))
    with pytest.raises(
        ClassesError, match=r"does not name its classes; give a file with --classes"
    ):
        import_export(tmp_path / "in", tmp_path / "out")
    rules = ClassMap(ids={0: "road", 1: "car"})
    summary = import_export(tmp_path / "in", tmp_path / "out", rules=rules)
    assert summary.problems == (
        f"{tmp_path}/in/images/b.png has no labels",
        f"{tmp_path}/in/labels/c.png has no image",
    )
    assert summary.pixels.tolist() == [WIDTH * HEIGHT // 2, WIDTH * HEIGHT // 2, 0]


def test_label_images_are_turned_if_they_have_the_size_of_the_stored_picture(
    tmp_path: Path,
) -> None:
    write_picture(tmp_path / "in/images/stored.jpg", orientation=8)
    write_picture(tmp_path / "in/images/turned.jpg", orientation=8)
    values = blocks(0, 1, 1, 1)
    write_labels(tmp_path / "in/labels/stored.png", values)
    write_labels(tmp_path / "in/labels/turned.png", np.rot90(values).copy())
    (tmp_path / "in/classes.txt").write_text("0 road 128 64 128\n1 car 0 0 142\n")
    for labels in labels_of(imported(tmp_path / "in", tmp_path / "out")).values():
        np.testing.assert_array_equal(labels, np.rot90(values))


def test_label_images_of_another_size_and_broken_ones(tmp_path: Path) -> None:
    for name in "abc":
        write_picture(tmp_path / f"in/images/{name}.png")
        write_labels(tmp_path / f"in/labels/{name}.png", blocks(0, 1))
    write_labels(tmp_path / "in/labels/a.png", blocks(0, 1, height=6))
    (tmp_path / "in/labels/b.png").write_bytes(b"no image")
    (tmp_path / "in/classes.txt").write_text("0 road 128 64 128\n1 car 0 0 142\n")
    summary = import_export(tmp_path / "in", tmp_path / "out")
    assert "labels/b.png is not a readable label image" in summary.problems[0]
    assert "a.png is 16x12, but its labels are for 16x6" in summary.problems[1]
    assert summary.splits == {"": 1}


def test_label_images_that_are_jpegs_or_no_files(tmp_path: Path) -> None:
    for name in "abc":
        write_picture(tmp_path / f"in/images/{name}.png")
    write_labels(tmp_path / "in/labels/a.png", blocks(0, 1))
    write_labels(tmp_path / "in/labels/b.jpg", blocks(0, 1))
    os.mkfifo(tmp_path / "in/labels/c.png")
    (tmp_path / "in/classes.txt").write_text("0 road 128 64 128\n1 car 0 0 142\n")
    summary = import_export(tmp_path / "in", tmp_path / "out")
    assert len(summary.problems) == 2
    assert "c.png is not a regular file: remove it" in summary.problems[0]
    assert "b.jpg is a JPEG, which blurs labels: save them as PNG" in summary.problems[1]


def test_images_that_are_no_files(tmp_path: Path) -> None:
    for name in "ab":
        write_picture(tmp_path / f"in/images/{name}.png")
        write_labels(tmp_path / f"in/labels/{name}.png", blocks(0, 1))
    (tmp_path / "in/images/a.png").unlink()
    os.mkfifo(tmp_path / "in/images/a.png")
    (tmp_path / "in/classes.txt").write_text("0 road 128 64 128\n1 car 0 0 142\n")
    summary = import_export(tmp_path / "in", tmp_path / "out")
    assert summary.problems == (f"{tmp_path}/in/images/a.png is not a regular file: remove it",)


def test_folder_of_images_that_is_missing(tmp_path: Path) -> None:
    write_labels(tmp_path / "in/a.png", blocks(0, 1))
    with pytest.raises(DatasetError, match=r"there is no folder .*none; give --images a folder"):
        import_export(tmp_path / "in", tmp_path / "out", images=tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 a 1 2 3\n0 b 4 5 6\n", "id 0 is given twice or is not in 0 to 254"),
        ("0 a 1 2 3\n300 b 4 5 6\n", "id 300 is given twice or is not in 0 to 254"),
        ("0 a 1 2 3\n1 b 4 5 600\n", r"color \(4, 5, 600\) is not three of 0..255"),
        ("0 a 1 2 3\n1 b\n", "line 2 is '1 b', not 'id name r g b'"),
    ],
)
def test_malformed_lists_of_classes(tmp_path: Path, text: str, message: str) -> None:
    write_picture(tmp_path / "in/images/a.png")
    write_labels(tmp_path / "in/labels/a.png", blocks(0, 1))
    (tmp_path / "in/classes.txt").write_text(text)
    with pytest.raises(ClassesError, match=message):
        import_export(tmp_path / "in", tmp_path / "out")


def test_ids_that_label_images_cannot_have(tmp_path: Path) -> None:
    write_labels(tmp_path / "in/labels/a.png", blocks(0, 1))
    write_picture(tmp_path / "in/images/a.png")
    with pytest.raises(ClassesError, match=r"--map names id 255, but .* --background NAME gives"):
        import_export(tmp_path / "in", tmp_path / "out", rules=ClassMap(ids={255: "sky", 0: "x"}))
