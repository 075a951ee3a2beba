"""COCO's JSON: every kind of outline gives the pixels that an independent rasterisation gives."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from exports import (
    HEIGHT,
    WIDTH,
    coco_document,
    compressed,
    import_export,
    imported,
    labels_of,
    rectangle,
    run_lengths,
    shape,
    write_json,
    write_labels,
    write_picture,
)
from PIL import Image

from bisenet_ros.datasets import open_dataset
from bisenet_ros.datasets.importers.class_map import ClassMap
from bisenet_ros.errors import ClassesError, DatasetError, OutputError, UsageError

CATEGORIES = {3: "road", 7: "car"}
VOID = np.full((HEIGHT, WIDTH), 255, np.uint8)


def test_polygons_of_whole_pixels_and_gaps_in_the_ids(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/images/a.png")
    annotations = [shape(10, 7, [rectangle(2, 3, 8, 5), rectangle(12, 0, 2, 2)])]
    document = coco_document([(10, "a.png")], annotations, CATEGORIES)
    write_json(tmp_path / "in/annotations.json", document)
    dataset = imported(tmp_path / "in", tmp_path / "out")
    expected = VOID.copy()
    expected[3:8, 2:10] = expected[:2, 12:14] = 1
    np.testing.assert_array_equal(dataset.read_labels(0), expected)
    assert [(entry.id, entry.name) for entry in dataset.classes] == [(0, "road"), (1, "car")]


def test_slanted_polygon_covers_the_pixels_whose_centers_it_contains(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.png", 200, 150)
    corners = np.array([(20.4, 10.2), (180.7, 60.1), (90.5, 140.9), (30.0, 100.0)])
    outline = corners.ravel().tolist()
    document = coco_document([(1, "a.png")], [shape(1, 3, [outline])], CATEGORIES, (200, 150))
    write_json(tmp_path / "in/a.json", document)
    labels = imported(tmp_path / "in", tmp_path / "out").read_labels(0)
    x, y = np.meshgrid(np.arange(200) + 0.5, np.arange(150) + 0.5)
    inside = np.ones((150, 200), bool)  # convex: on the same side of all edges
    near = np.zeros((150, 200), bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        distance = ((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) / np.hypot(x1 - x0, y1 - y0)
        inside &= distance > 0
        near |= np.abs(distance) < 0.5
    different = (labels == 0) != inside
    assert not (different & ~near).any()
    assert different.sum() < 0.01 * inside.sum()


@pytest.mark.parametrize("kind", ["uncompressed", "compressed"])
def test_run_lengths(tmp_path: Path, kind: str) -> None:
    write_picture(tmp_path / "in/a.png")
    mask = np.random.default_rng(3).random((HEIGHT, WIDTH)) < 0.4
    runs = run_lengths(mask)
    counts = runs if kind == "uncompressed" else compressed(runs)
    outline = {"size": [HEIGHT, WIDTH], "counts": counts}
    document = coco_document([(1, "a.png")], [shape(1, 3, outline, iscrowd=1)], CATEGORIES)
    write_json(tmp_path / "in/a.json", document)
    labels = imported(tmp_path / "in", tmp_path / "out").read_labels(0)
    np.testing.assert_array_equal(labels, np.where(mask, 0, 255))


@pytest.mark.parametrize("reverse", [False, True])
def test_small_shapes_lie_on_top_of_large_ones_in_either_order(
    tmp_path: Path, reverse: bool
) -> None:
    write_picture(tmp_path / "in/a.png")
    annotations = [
        shape(1, 3, [rectangle(0, 0, 16, 12)], area=1),
        shape(1, 7, [rectangle(4, 4, 3, 3)], area=999),
    ]
    document = coco_document([(1, "a.png")], annotations[:: -1 if reverse else 1], CATEGORIES)
    write_json(tmp_path / "in/a.json", document)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[4:7, 4:7] = 1
    labels = imported(tmp_path / "in", tmp_path / "out").read_labels(0)
    np.testing.assert_array_equal(labels, expected)


def test_panoptic_segments(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/val2017/a.png")
    ids = np.zeros((HEIGHT, WIDTH), np.int64)
    ids[2:5, 3:9], ids[6:, :] = 70000, 5
    colors = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    write_labels(tmp_path / "in/panoptic_val2017/a.png", colors)
    segments = [{"id": 70000, "category_id": 7}, {"id": 5, "category_id": 3}]
    annotation = {"image_id": 1, "file_name": "a.png", "segments_info": segments}
    document = coco_document([(1, "a.png")], [annotation], CATEGORIES)
    write_json(tmp_path / "in/panoptic_val2017.json", document)
    import_export(tmp_path / "in", tmp_path / "out")
    labels = open_dataset(tmp_path / "out", split="val").read_labels(0)
    np.testing.assert_array_equal(labels, np.select([ids == 5, ids == 70000], [0, 1], 255))


@pytest.mark.parametrize(
    ("segments", "image", "text"),
    [
        ([{"id": 5, "category_id": 3}], "none.png", "its image of segments is not in"),
        ([{"id": 6, "category_id": 3}], "a.png", "has a segment 5 that the .json does not list"),
        ([{"id": "5", "category_id": 3}], "a.png", "has a segment without a number as id"),
        ([{"id": 5, "category_id": 4}], "a.png", "has category 4, which is not listed"),
    ],
)
def test_malformed_panoptic_segments(tmp_path: Path, segments: list, image: str, text: str) -> None:
    write_picture(tmp_path / "in/a.png")
    colors = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colors[:2, :, 0] = 5
    write_labels(tmp_path / "in/segments/a.png", colors)
    annotation = {"image_id": 1, "file_name": image, "segments_info": segments}
    document = coco_document([(1, "a.png")], [annotation], CATEGORIES)
    write_json(tmp_path / "in/segments.json", document)
    with pytest.raises(DatasetError) as caught:
        import_export(tmp_path / "in/segments.json", tmp_path / "out")
    assert text in str(caught.value)


def test_polygons_as_points_and_without_their_list(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.png")
    flat = rectangle(0, 0, 4, 2)
    points = [[8, 0], [12, 0], [12, 2], [8, 2]]
    annotations = [shape(1, 3, flat), shape(1, 7, [points]), shape(1, 7, [[[1, 1], [5, 5]]])]
    write_json(tmp_path / "in/a.json", coco_document([(1, "a.png")], annotations, CATEGORIES))
    summary = import_export(tmp_path / "in", tmp_path / "out")
    expected = VOID.copy()
    expected[:2, :4], expected[:2, 8:12] = 0, 1
    np.testing.assert_array_equal(open_dataset(tmp_path / "out").read_labels(0), expected)
    assert summary.notes[0].startswith("1 polygons have fewer than 3 points; void where no outline")


def test_official_folders_are_two_splits(tmp_path: Path) -> None:
    for split, category in (("train", 3), ("val", 7)):
        write_picture(tmp_path / f"in/{split}2017/000000000009.jpg")
        annotations = [shape(9, category, [rectangle(0, 0, 16, 12)])]
        document = coco_document([(9, "000000000009.jpg")], annotations, CATEGORIES)
        write_json(tmp_path / f"in/annotations/instances_{split}2017.json", document)
        write_json(tmp_path / f"in/annotations/captions_{split}2017.json", {"images": []})
    summary = import_export(tmp_path / "in", tmp_path / "out")
    assert summary.splits == {"train": 1, "val": 1}
    for split, value in (("train", 0), ("val", 1)):
        dataset = open_dataset(tmp_path / "out", split=split)
        assert (dataset.read_labels(0) == value).all()
        read = dataset.pairs[0][0].read_bytes()
        assert read == (tmp_path / f"in/{split}2017/000000000009.jpg").read_bytes()


def test_roboflow_category_that_groups_the_others_is_no_class(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/valid/a.jpg")
    document = coco_document([(0, "a.jpg")], [shape(0, 1, [rectangle(0, 0, 4, 4)])], {})
    document["categories"] = [
        {"id": 0, "name": "car", "supercategory": "none"},
        {"id": 1, "name": "car", "supercategory": "car"},
        {"id": 2, "name": "road", "supercategory": "car"},
    ]
    write_json(tmp_path / "in/valid/_annotations.coco.json", document)
    summary = import_export(tmp_path / "in", tmp_path / "out")
    assert [entry.name for entry in summary.classes] == ["car", "road"]
    assert summary.splits == {"val": 1}
    assert summary.pixels.tolist() == [16, 0, WIDTH * HEIGHT - 16]


def test_pictures_without_annotations_are_void_or_background(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / "in" / name)
    document = coco_document(
        [(1, "a.png"), (2, "b.png")], [shape(1, 7, [rectangle(0, 0, 2, 2)])], CATEGORIES
    )
    write_json(tmp_path / "in/a.json", document)
    summary = import_export(tmp_path / "in", tmp_path / "void")
    assert summary.without_shapes == 1
    assert "1 images have no labels: all void" in str(summary)
    assert "--background NAME" in str(summary)
    assert (labels_of(open_dataset(tmp_path / "void"))["b"] == 255).all()
    summary = import_export(tmp_path / "in", tmp_path / "filled", background="ground")
    dataset = open_dataset(tmp_path / "filled")
    assert [entry.name for entry in dataset.classes] == ["ground", "road", "car"]
    assert (labels_of(dataset)["b"] == 0).all()
    assert labels_of(dataset)["a"][:3, :3].tolist() == [[2, 2, 0], [2, 2, 0], [0, 0, 0]]
    assert "1 images have no labels: all background" in str(summary)


@pytest.mark.parametrize(
    ("entry", "void"),
    [
        (shape(1, 3, [], bbox=[6, 6, 5, 4]), np.s_[6:10, 6:11]),
        (shape(1, 3, None, bbox=["6", "6", "5", "4"]), np.s_[6:10, 6:11]),
        (shape(1, 3, [], bbox=[6.9, 6.9, 4.1, 2.2]), np.s_[6:10, 6:11]),
        (shape(1, 3, [[]], bbox=[6, 6, 5, 4]), np.s_[6:10, 6:11]),
        (shape(1, 3, [], bbox=[6, 6, 99, 99]), np.s_[6:, 6:]),
        (shape(1, 3, [], bbox=[-9, -9, 10, 10]), np.s_[:1, :1]),
        # pycocotools would draw these 4 numbers as a box.
        (shape(1, 3, [[6, 6, 11, 10]], bbox=[6, 6, 9, 6]), np.s_[6:10, 6:11]),
        (shape(1, 3, [[6, 6, 6.4, 6, 6.4, 6.4]], bbox=[6, 6, 1, 1]), np.s_[6:7, 6:7]),
        (
            shape(1, 3, {"size": [HEIGHT, WIDTH], "counts": [192]}, bbox=[6, 6, 5, 4], iscrowd=1),
            np.s_[6:10, 6:11],
        ),
        # Nothing tells where these are.
        (shape(1, 3, [], bbox=[]), np.s_[:]),
        (shape(1, 3, [], bbox=[6, 6, 0, 0]), np.s_[:]),
        (shape(1, 3, [], bbox=[6, 6, float("nan"), 4]), np.s_[:]),
        ({"image_id": 1, "category_id": 3, "keypoints": [6, 6, 2]}, np.s_[:]),
    ],
)
def test_objects_without_an_outline_are_void_and_not_background(
    tmp_path: Path, entry: dict, void: tuple[slice, ...]
) -> None:
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / "in" / name)
    car = shape(1, 7, [rectangle(8, 8, 8, 4)])
    images = [(1, "a.png"), (2, "b.png")]
    write_json(tmp_path / "in/a.json", coco_document(images, [car, entry], CATEGORIES))
    summary = import_export(tmp_path / "in", tmp_path / "out", background="ground")
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[void] = 255
    expected[8:, 8:] = 2
    labels = labels_of(open_dataset(tmp_path / "out"))
    np.testing.assert_array_equal(labels["a"], expected)
    assert (labels["b"] == 0).all()
    share = (expected == 255).sum() / (2 * expected.size)
    assert f"{share:.2%} of all pixels, in 1 images, are void because objects" in str(summary)


def test_objects_without_an_outline_are_counted(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.png")
    annotations = [
        shape(1, 7, [rectangle(0, 0, 2, 2)]),
        shape(1, 3, [], bbox=[4, 4, 5, 5]),
        shape(1, 3, [[4, 4, 5, 5]]),
        shape(1, 3, []),
        shape(99, 3, [rectangle(0, 0, 2, 2)]),
    ]
    write_json(tmp_path / "in/a.json", coco_document([(1, "a.png")], annotations, CATEGORIES))
    summary = import_export(tmp_path / "in", tmp_path / "out")
    assert summary.pixels.tolist() == [0, 4, WIDTH * HEIGHT - 4]
    assert summary.notes[:4] == (
        "1 annotations have a box but no outline; void where no outline covers their box",
        "1 annotations have neither outline nor box; their images are void where no outline covers "
        "them",
        "1 polygons have fewer than 3 points; void where no outline covers the box around them",
        "1 annotations are of images that the file does not list",
    )
    write_json(tmp_path / "in/a.json", coco_document([(1, "a.png")], annotations[1:2], CATEGORIES))
    with pytest.raises(
        DatasetError, match=r"a.json has boxes or points only, no outlines; export it as"
    ):
        import_export(tmp_path / "in", tmp_path / "boxes")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("../secret.png", r"'../secret.png' leads out of the export"),
        ("sub/../../secret.png", "leads out of the export"),
        ("/etc/passwd.png", "leads out of the export"),
        ("C:\\data\\secret.png", "leads out of the export"),
        ("missing.png", "'missing.png' is not in"),
        ("other/a.png", "'other/a.png' is not in"),
        ("../a.png", "'../a.png' leads out of the export"),  # not the a.png inside
        ("a\0.png", "leads out"),
    ],
)
def test_pictures_are_looked_up_inside_the_export(tmp_path: Path, name: str, text: str) -> None:
    write_picture(tmp_path / "secret.png")
    for picture in ("a.png", "sub/b.png"):
        write_picture(tmp_path / "in" / picture)
    annotations = [shape(k, 3, [rectangle(0, 0, 2, 2)]) for k in (1, 2)]
    document = coco_document([(1, "a.png"), (2, name)], annotations, CATEGORIES)
    write_json(tmp_path / "in/a.json", document)
    summary = import_export(tmp_path / "in", tmp_path / "out")
    assert summary.splits == {"": 1}
    (problem,) = summary.problems
    assert text.replace(r"\.", ".") in problem
    assert "--images" in problem
    assert [path.name for path in (tmp_path / "out/images").iterdir()] == ["a.png"]


def test_paths_may_be_relative_to_the_file(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/cam/a.png")
    document = coco_document(
        [(1, "../cam/a.png")], [shape(1, 3, [rectangle(0, 0, 2, 2)])], CATEGORIES
    )
    write_json(tmp_path / "in/json/a.json", document)
    assert len(imported(tmp_path / "in", tmp_path / "out")) == 1


def test_paths_of_another_machine_and_windows_are_found_by_their_end(tmp_path: Path) -> None:
    for name in ("cam1/0.png", "cam2/0.png"):
        write_picture(tmp_path / "in" / name)
    annotations = [shape(1, 3, [rectangle(0, 0, 2, 2)]), shape(2, 7, [rectangle(0, 0, 2, 2)])]
    names = [(1, "D:\\labels\\cam1\\0.png"), (2, "cam2\\0.png")]
    write_json(tmp_path / "in/a.json", coco_document(names, annotations, CATEGORIES))
    labels = labels_of(imported(tmp_path / "in", tmp_path / "out"))
    assert {name: int(each[0, 0]) for name, each in labels.items()} == {"cam1_0": 0, "cam2_0": 1}


def test_pictures_elsewhere(tmp_path: Path) -> None:
    write_picture(tmp_path / "pictures/deep/a.png")
    document = coco_document([(1, "a.png")], [shape(1, 3, [rectangle(0, 0, 2, 2)])], CATEGORIES)
    path = write_json(tmp_path / "in/a.json", document)
    with pytest.raises(DatasetError, match=r"no image can be used: .*'a.png' is not in .*--ima"):
        import_export(path, tmp_path / "out")
    assert len(imported(path, tmp_path / "out", images=tmp_path / "pictures")) == 1


@pytest.mark.parametrize(
    ("outline", "text"),
    [
        ({"size": [HEIGHT, WIDTH], "counts": [5, 9]}, "do not add up to the 16x12 pixels"),
        ({"size": [HEIGHT, WIDTH], "counts": [200, -8]}, "do not add up"),
        ({"size": [HEIGHT, WIDTH], "counts": "52"}, "do not add up"),
        ({"size": [HEIGHT, WIDTH], "counts": "oooooooooo"}, "do not add up"),
        ({"size": [HEIGHT, WIDTH], "counts": "\u00e9"}, "do not add up"),
        ({"size": [WIDTH, HEIGHT], "counts": [192]}, "for size [16, 12] (height, width)"),
        ({"size": [HEIGHT, WIDTH]}, "neither polygons nor run lengths"),
        ([[0, 0, 1e300, 0, 5, 5]], "farther than 160 pixels"),
        ([[0, 0, float("nan"), 0, 5, 5]], "farther than 160 pixels"),
        ([[0, 0, "x", 0, 5, 5]], "not 3 or more x, y"),
        ([[0, 0, 1, 0, 5, 5, 7]], "not 3 or more x, y"),
    ],
)
def test_malformed_outlines_are_named(tmp_path: Path, outline: object, text: str) -> None:
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / "in" / name)
    annotations = [shape(1, 3, outline), shape(2, 3, [rectangle(0, 0, 2, 2)])]
    document = coco_document([(1, "a.png"), (2, "b.png")], annotations, CATEGORIES)
    write_json(tmp_path / "in/a.json", document)
    summary = import_export(tmp_path / "in", tmp_path / "out")
    (problem,) = summary.problems
    assert "a.png" in problem
    assert text in problem
    assert sorted(path.name for path in (tmp_path / "out").rglob("?.png")) == ["b.png", "b.png"]


def test_shapes_beyond_the_edge_are_cut(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.png")
    annotations = [shape(1, 7, [rectangle(-5, 9, 100, 50)])]
    write_json(tmp_path / "in/a.json", coco_document([(1, "a.png")], annotations, CATEGORIES))
    expected = VOID.copy()
    expected[9:] = 1
    labels = imported(tmp_path / "in", tmp_path / "out").read_labels(0)
    np.testing.assert_array_equal(labels, expected)


def test_labels_for_another_size_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.png", 8, 6)
    document = coco_document([(1, "a.png")], [shape(1, 3, [rectangle(0, 0, 2, 2)])], CATEGORIES)
    write_json(tmp_path / "in/a.json", document)
    with pytest.raises(DatasetError, match=r"in/a.png is 8x6, but its labels are for 16x12"):
        import_export(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("width", ["8", 8.0, 8])
def test_sizes_of_other_json_types_count(tmp_path: Path, width: object) -> None:
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / "in" / name)
    annotations = [shape(k, 3, [rectangle(0, 0, 2, 2)]) for k in (1, 2)]
    document = coco_document([(1, "a.png"), (2, "b.png")], annotations, CATEGORIES)
    document["images"][0]["width"] = width
    document["images"][1]["width"] = type(width)(16)
    write_json(tmp_path / "in/a.json", document)
    summary = import_export(tmp_path / "in", tmp_path / "out")
    (problem,) = summary.problems
    assert "a.png is 16x12, but its labels are for 8x12" in problem


@pytest.mark.parametrize("width", [None, 0, -16, "wide", 15.5, True])
def test_sizes_that_are_none_are_refused(tmp_path: Path, width: object) -> None:
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / "in" / name)
    annotations = [shape(k, 3, [rectangle(0, 0, 2, 2)]) for k in (1, 2)]
    document = coco_document([(1, "a.png"), (2, "b.png")], annotations, CATEGORIES)
    document["images"][0]["width"] = width
    document["images"][1] |= {"width": None, "height": 0}  # unknown
    write_json(tmp_path / "in/a.json", document)
    summary = import_export(tmp_path / "in", tmp_path / "out")
    (problem,) = summary.problems
    assert problem == (
        f"{tmp_path}/in/a.png: its labels are for an image of width {width!r} and height 12; "
        "correct or remove these"
    )


def test_shares_of_the_image_as_coordinates_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.png")
    annotations = [shape(1, 3, [[0, 0, 0.5, 0, 0.5, 0.5]]), shape(1, 7, [[0, 0, 1, 0, 1, 1]])]
    path = write_json(
        tmp_path / "in/a.json", coco_document([(1, "a.png")], annotations, CATEGORIES)
    )
    with pytest.raises(DatasetError, match=rf"{path} has no polygon that reaches beyond 1: COCO"):
        import_export(tmp_path / "in", tmp_path / "out", background="ground")


def test_a_list_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.png")
    document = coco_document([(1, "a.png")], [shape(1, 3, [rectangle(0, 0, 2, 2)])], CATEGORIES)
    path = write_json(tmp_path / "in/a.json", document)
    path.write_text(path.read_text()[:-1] + ', "annotations": []}')
    with pytest.raises(DatasetError, match="has 'annotations' twice in one object"):
        import_export(tmp_path / "in", tmp_path / "out", background="ground")


def test_categories_of_the_same_name_need_a_map(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.png")
    annotations = [shape(1, 1, [rectangle(0, 0, 4, 2)]), shape(1, 5, [rectangle(4, 0, 4, 2)])]
    categories = {1: "car", 2: "road", 5: "car"}
    write_json(tmp_path / "in/a.json", coco_document([(1, "a.png")], annotations, categories))
    with pytest.raises(ClassesError, match=r"classes \[1, 5\] all have the name 'car'; name each"):
        import_export(tmp_path / "in", tmp_path / "out")
    rules = ClassMap(ids={1: "car", 5: "truck"})
    labels = imported(tmp_path / "in", tmp_path / "out", rules=rules).read_labels(0)
    assert labels[0, :9].tolist() == [0] * 4 + [2] * 4 + [255]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"images": {}}, "has no list of 'images'"),
        ({"categories": [{"id": "x1", "name": "x"}]}, "category 'x1' 'x'; the id must be a whole"),
        ({"categories": [{"id": 1, "name": 5}]}, "category 1 5"),
        (
            {"categories": [{"id": 1, "name": "x"}, {"id": 1, "name": "y"}]},
            "category 1 is 'y', and also 'x'",
        ),
        ({"images": [{"id": 1}, {"id": 1}]}, "image id 1 is no number or name, or given twice"),
    ],
)
def test_malformed_documents_are_named(tmp_path: Path, change: dict, text: str) -> None:
    document = coco_document([(1, "a.png")], [shape(1, 3, [])], CATEGORIES) | change
    path = write_json(tmp_path / "in/a.json", document)
    with pytest.raises(DatasetError) as caught:
        import_export(path, tmp_path / "out", "coco")
    assert str(path) in str(caught.value)
    assert text in str(caught.value)


def test_unknown_category_of_an_annotation(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.png")
    document = coco_document([(1, "a.png")], [shape(1, 4, [rectangle(0, 0, 2, 2)])], CATEGORIES)
    write_json(tmp_path / "in/a.json", document)
    with pytest.raises(DatasetError, match=r"a.png: an annotation has category 4, which is not l"):
        import_export(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("labeled", ["shown", "stored"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_labels_are_turned_with_the_picture(
    tmp_path: Path, suffix: str, orientation: int, labeled: str
) -> None:
    """The stored picture has its left half labeled, as the tool stores or shows it."""
    names = f"a{suffix}", f"b{suffix}"
    picture = write_picture(tmp_path / "in" / names[0], orientation=orientation)
    write_picture(tmp_path / "in" / names[1], orientation=6)  # tells which way the tool works
    stored = np.full(picture.shape[:2], 255, np.uint8)
    stored[:4, :8] = 1
    turned = (
        np.asarray(Image.fromarray(stored).transpose(TURNS[orientation]))
        if (orientation > 1)
        else stored
    )
    drawn = turned if labeled == "shown" else stored
    height, width = drawn.shape
    runs = {"size": [height, width], "counts": run_lengths(drawn == 1)}
    document = coco_document([(1, names[0]), (2, names[1])], [shape(1, 7, runs)], CATEGORIES)
    document["images"][0] |= {"width": width, "height": height}
    if labeled == "shown":
        document["images"][1] |= {"width": HEIGHT, "height": WIDTH}
    write_json(tmp_path / "in/a.json", document)
    dataset = imported(tmp_path / "in", tmp_path / "out")
    image, labels = dataset[0]
    np.testing.assert_array_equal(labels, turned)
    # The labeled corner is that of the picture, too.
    seen = sorted(map(tuple, image[labels == 1].tolist()))
    assert seen == sorted(map(tuple, picture[:4, :8].reshape(-1, 3).tolist()))


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def test_an_orientation_that_sizes_do_not_tell_is_said(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.png", orientation=3)
    document = coco_document([(1, "a.png")], [shape(1, 3, [rectangle(0, 0, 2, 2)])], CATEGORIES)
    write_json(tmp_path / "in/a.json", document)
    summary = import_export(tmp_path / "in", tmp_path / "out")
    assert "1 images are turned by EXIF" in summary.notes[-1]
    assert "as shown" in summary.notes[-1]
    assert (open_dataset(tmp_path / "out").read_labels(0)[:2, :2] == 0).all()


def test_a_file_in_the_folder_annotations_finds_the_pictures_beside_it(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/images/default/a.png")
    document = coco_document([(1, "a.png")], [shape(1, 3, [rectangle(0, 0, 2, 2)])], CATEGORIES)
    path = write_json(tmp_path / "in/annotations/instances_default.json", document)
    summary = import_export(path, tmp_path / "out")
    assert summary.splits == {"": 1}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.json", "train"),
        ("coco_val.json", "val"),
        ("annotations-validation.json", "val"),
        ("test/_annotations.coco.json", "test"),
        ("test_drive.json", ""),
        ("result.json", ""),
    ],
)
def test_splits_by_the_names_of_files(tmp_path: Path, name: str, split: str) -> None:
    write_picture((tmp_path / "in" / name).parent / "a.png")
    document = coco_document([(1, "a.png")], [shape(1, 3, [rectangle(0, 0, 2, 2)])], CATEGORIES)
    write_json(tmp_path / "in" / name, document)
    assert import_export(tmp_path / "in", tmp_path / "out").splits == {split: 1}


def test_options_that_the_format_does_not_use_are_refused(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", coco_document([], [], CATEGORIES))
    with pytest.raises(UsageError, match="--classes: format coco has its own classes; omit the op"):
        import_export(path, tmp_path / "out", classes=tmp_path / "names.txt")


def test_classes_that_a_split_lacks_and_names_that_differ_in_case(tmp_path: Path) -> None:
    names = [f"frame_{number}.png" for number in range(4)]
    for name in names:
        write_picture(tmp_path / "in" / name)
    annotations = [shape(k, 1 + (k == 0), [rectangle(0, 0, 2, 2)]) for k in range(4)]
    document = coco_document(list(enumerate(names)), annotations, {1: "car", 2: "Car"})
    write_json(tmp_path / "in/a.json", document)
    summary = import_export(tmp_path / "in", tmp_path / "out", val=0.5)
    assert summary.splits == {"train": 2, "val": 2}
    assert summary.notes[-2:] == (
        "no image of val has: Car",
        "'car' and 'Car' are two classes; --map can merge them",
    )


def test_pictures_that_cannot_be_read_and_clashing_names(tmp_path: Path) -> None:
    names = ["a.png", "b.gif", "c/x.png", "d/x.png", "d/x.jpg", "e.png"]
    for name in names:
        write_picture(tmp_path / "in" / name)
    (tmp_path / "in/e.png").write_bytes(b"no image")
    annotations = [shape(k, 3, [rectangle(0, 0, 2, 2)]) for k in range(6)]
    document = coco_document(list(enumerate(names)), annotations, CATEGORIES)
    write_json(tmp_path / "in/a.json", document)
    summary = import_export(tmp_path / "in", tmp_path / "out")
    assert [path.name for path, _ in open_dataset(tmp_path / "out").pairs] == [
        "a_png.png",
        "c_x_png.png",
        "d_x_jpg.jpg",
        "d_x_png.png",
    ]
    assert summary.problems == (
        "b.gif is of a type that cannot be read; convert it to PNG",
        f"{tmp_path}/in/e.png is not an image that OpenCV can read: repair or remove it",
    )


def test_images_that_are_listed_twice_are_refused(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / "in" / name)
    annotations = [shape(k, 3, [rectangle(0, 0, 2, 2)]) for k in range(3)]
    images = [(0, "a.png"), (1, "./a.png"), (2, "b.png")]
    write_json(tmp_path / "in/a.json", coco_document(images, annotations, CATEGORIES))
    summary = import_export(tmp_path / "in", tmp_path / "out")
    assert {*summary.problems} == {"a.png is in the export several times; rename or remove one"}
    assert summary.splits == {"": 1}
    with pytest.raises(OutputError, match=r"out exists; give --output a folder that does not"):
        import_export(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("convert", [str, float])
def test_ids_of_other_json_types_are_the_same_ids(
    tmp_path: Path, convert: Callable[[int], object]
) -> None:
    write_picture(tmp_path / "in/a.png")
    outline = [rectangle(0, 0, 4, HEIGHT)]
    document = coco_document([(7, "a.png")], [shape(7, 3, outline)], {3: "car"})
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:, :4] = 1
    for name in ("image_id", "category_id"):
        document["annotations"][0][name] = convert(document["annotations"][0][name])
    write_json(tmp_path / "in/a.json", document)
    dataset = imported(tmp_path / "in", tmp_path / "out", background="ground")
    np.testing.assert_array_equal(dataset.read_labels(0), expected)
    document["images"][0]["id"] = document["annotations"][0]["image_id"] = "drive/a"
    document["categories"][0]["id"] = convert(3)
    write_json(tmp_path / "in/a.json", document)
    dataset = imported(tmp_path / "in", tmp_path / "named", background="ground")
    np.testing.assert_array_equal(dataset.read_labels(0), expected)
