"""labelme's JSON: shapes are drawn as labelme's own converter draws them."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from exports import (
    HEIGHT,
    WIDTH,
    drawn,
    import_export,
    imported,
    labelme_document,
    labels_of,
    write_json,
    write_picture,
)
from PIL import Image

from bisenet_ros.datasets import open_dataset
from bisenet_ros.errors import DatasetError

ROAD = drawn("road", "polygon", (0, 8), (15, 8), (15, 11), (0, 11))
CAR = drawn("car", "rectangle", (9, 7), (4, 4))  # from its lower right corner
EXPECTED = np.full((HEIGHT, WIDTH), 255, np.uint8)
EXPECTED[8:12] = 1
EXPECTED[4:8, 4:10] = 0
"""Labels of ROAD and CAR: labelme's shapes include their edges."""


def encoded_mask(mask: np.ndarray) -> str:
    """Return a mask as labelme embeds it."""
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


MASK_OF_9X9 = encoded_mask(np.ones((9, 9), bool))


def test_polygons_and_rectangles_include_their_edges(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.jpg")
    write_json(tmp_path / "in/a.json", labelme_document("a.jpg", [ROAD, CAR]))
    dataset = imported(tmp_path / "in", tmp_path / "out")
    assert [entry.name for entry in dataset.classes] == ["car", "road"]
    np.testing.assert_array_equal(dataset.read_labels(0), EXPECTED)


@pytest.mark.parametrize(("order", "on_top"), [(1, "car"), (-1, "road")])
def test_later_shapes_lie_on_top(tmp_path: Path, order: int, on_top: str) -> None:
    write_picture(tmp_path / "in/a.png")
    everything = drawn("road", "rectangle", (0, 0), (15, 11))
    write_json(tmp_path / "in/a.json", labelme_document("a.png", [everything, CAR, CAR][::order]))
    # One instance of two parts, as labelme's groups are, is of one class.
    dataset = imported(tmp_path / "in", tmp_path / "out", background="ground")
    names = {entry.id: entry.name for entry in dataset.classes}
    labels = dataset.read_labels(0)
    assert names[int(labels[5, 5])] == on_top
    assert np.count_nonzero(labels == labels[5, 5]) == (24 if on_top == "car" else HEIGHT * WIDTH)


def test_circles_and_masks(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.png", 64, 48)
    mask = np.zeros((3, 5), bool)
    mask[1, 2:] = True
    shapes = [
        drawn("disc", "circle", (30, 20), (30, 28)),
        drawn("stain", "mask", (2, 40), (6, 42), mask=encoded_mask(mask)),
    ]
    write_json(tmp_path / "in/a.json", labelme_document("a.png", shapes, (64, 48)))
    labels = imported(tmp_path / "in", tmp_path / "out").read_labels(0)
    x, y = np.meshgrid(np.arange(64), np.arange(48))
    distance = np.hypot(x - 30, y - 20)
    assert (labels[distance <= 7.9] == 0).all()
    assert (labels[(distance > 9) & (y < 40)] == 255).all()
    assert labels[40:43, 2:7].tolist() == [[255] * 5, [255, 255, 1, 1, 1], [255] * 5]
    assert np.count_nonzero(labels == 1) == 3


def test_shapes_without_an_area_make_void_what_no_shape_covers(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / "in" / name)
    shapes = [
        ROAD,
        CAR,
        drawn("wire", "linestrip", (0, 0), (5, 5)),
        drawn("wire", "linestrip", (0, 0), (5, 5)),
        drawn("spot", "point", (1, 1)),
        drawn("spot", "polygon", (1, 1), (2, 2)),
        drawn("spot", "helix", (1, 1), (2, 2)),
    ]
    write_json(tmp_path / "in/a.json", labelme_document("a.png", shapes))
    write_json(tmp_path / "in/b.json", labelme_document("b.png", [ROAD, CAR]))
    summary = import_export(tmp_path / "in", tmp_path / "out", background="ground")
    what = "have no area; their images are void where no shape covers them"
    assert summary.notes[:4] == (
        f"2 shapes of type linestrip {what}",
        f"1 shapes of type point {what}",
        f"1 shapes of type polygon with 2 points {what}",
        f"1 shapes of type 'helix' (unknown) {what}",
    )
    expected = np.where(EXPECTED == 255, 255, EXPECTED + 1)
    labels = labels_of(open_dataset(tmp_path / "out"))
    np.testing.assert_array_equal(labels["a"], expected)
    np.testing.assert_array_equal(labels["b"], np.where(expected == 255, 0, expected))
    share = (expected == 255).sum() / (2 * expected.size)
    assert f"{share:.2%} of all pixels, in 1 images, are void because objects" in str(summary)


def test_a_mask_without_pixels_makes_its_box_void(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.png")
    stain = drawn("stain", "mask", (2, 7), (6, 9), mask=encoded_mask(np.zeros((3, 5), bool)))
    write_json(tmp_path / "in/a.json", labelme_document("a.png", [ROAD, stain]))
    labels = imported(tmp_path / "in", tmp_path / "out", background="ground").read_labels(0)
    expected = np.where(EXPECTED == 1, 1, 0)  # only the road
    expected[7, 2:7] = 255
    np.testing.assert_array_equal(labels, expected)


def test_ignored_shapes_are_void_also_on_background(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.png")
    shapes = [
        ROAD,
        drawn("__ignore__", "rectangle", (0, 0), (3, 3)),
        drawn("Void", "rectangle", (15, 0), (15, 0)),
        drawn("void ", "rectangle", (14, 0), (14, 0)),
    ]
    write_json(tmp_path / "in/a.json", labelme_document("a.png", shapes))
    labels = imported(tmp_path / "in", tmp_path / "out", background="ground").read_labels(0)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[8:] = 1
    expected[:4, :4] = 255
    expected[0, 14:] = 255
    np.testing.assert_array_equal(labels, expected)


def test_shapes_beyond_the_picture_are_cut(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.png")
    shapes = [ROAD, drawn("car", "rectangle", (-20, -20), (2.5, 1.5))]
    write_json(tmp_path / "in/a.json", labelme_document("a.png", shapes))
    labels = imported(tmp_path / "in", tmp_path / "out").read_labels(0)
    assert np.argwhere(labels == 0).max(axis=0).tolist() == [1, 2]


def test_embedded_pictures_are_written(tmp_path: Path) -> None:
    write_picture(tmp_path / "gone.jpg")
    data = (tmp_path / "gone.jpg").read_bytes()
    document = labelme_document("C:\\Users\\me\\gone.jpg", [ROAD, CAR], data=data)
    write_json(tmp_path / "in/drive/a.json", document)
    dataset = imported(tmp_path / "in", tmp_path / "out")
    assert dataset.pairs[0][0] == tmp_path / "out/images/a.jpg"
    assert dataset.pairs[0][0].read_bytes() == data
    np.testing.assert_array_equal(dataset.read_labels(0), EXPECTED)


@pytest.mark.parametrize("data", ["####", base64.b64encode(b"GIF89a" * 20).decode()])
def test_embedded_data_that_is_no_picture(tmp_path: Path, data: str) -> None:
    document = labelme_document("a.jpg", [ROAD, CAR]) | {"imageData": data}
    write_json(tmp_path / "in/a.json", document)
    with pytest.raises(
        DatasetError, match=r"a.json: (imageData is not|it has data that is not base64)"
    ):
        import_export(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(
    ("folder", "path"),
    [
        ("", "a.png"),
        ("", "drive\\a.png"),
        ("json", "..\\images\\a.png"),
        ("json", "../images/a.png"),
        ("", "C:\\Users\\me\\a.png"),
        ("", "/home/me/a.png"),
    ],
)
def test_picture_paths(tmp_path: Path, folder: str, path: str) -> None:
    parts = [part for part in path.replace("C:", "").replace("\\", "/").split("/") if part]
    target = "a.png" if "me" in parts else "/".join(part for part in parts if part != "..")
    write_picture(tmp_path / "in" / target)
    write_json(tmp_path / "in" / folder / "a.json", labelme_document(path, [ROAD, CAR]))
    np.testing.assert_array_equal(
        imported(tmp_path / "in", tmp_path / "out").read_labels(0), EXPECTED
    )


@pytest.mark.parametrize("path", ["../a.png", "../../b.png", "x/../../a.png", "/etc/a.png"])
def test_pictures_outside_of_the_export_are_not_read(tmp_path: Path, path: str) -> None:
    write_picture(tmp_path / "a.png")
    write_json(tmp_path / "in/a.json", labelme_document(path, [ROAD, CAR]))
    with pytest.raises(DatasetError, match=r"leads out of the export.*--images"):
        import_export(tmp_path / "in", tmp_path / "out")


def test_a_picture_of_the_same_name_in_another_folder_is_not_taken(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/cam2/0.png")
    write_json(tmp_path / "in/cam1/0.json", labelme_document("0.png", [ROAD, CAR]))
    with pytest.raises(DatasetError, match=r"'0.png' is not in .*cam1"):
        import_export(tmp_path / "in", tmp_path / "out")


def test_pictures_elsewhere_keep_their_folders(tmp_path: Path) -> None:
    for camera, label in (("cam1", "road"), ("cam2", "car")):
        write_picture(tmp_path / f"pictures/{camera}/0.png")
        shapes = [drawn(label, "rectangle", (0, 0), (15, 11))]
        write_json(tmp_path / f"in/{camera}/0.json", labelme_document("0.png", shapes))
    dataset = imported(tmp_path / "in", tmp_path / "out", images=tmp_path / "pictures")
    labels = labels_of(dataset)
    assert {name: int(each[0, 0]) for name, each in labels.items()} == {"cam1_0": 1, "cam2_0": 0}


def test_pictures_without_json_are_not_background(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        write_picture(tmp_path / "in" / name)
    write_json(tmp_path / "in/a.json", labelme_document("a.png", [ROAD, CAR]))
    write_json(tmp_path / "in/b.json", labelme_document("b.png", []))
    summary = import_export(tmp_path / "in", tmp_path / "out", background="ground")
    assert summary.splits == {"": 2}
    assert summary.notes[0].startswith("1 images have no .json: they are not labeled yet")
    assert summary.without_shapes == 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"imageHeight": 24, "imageWidth": 32}, "is 16x12, but its labels are for 32x24"),
        ({"imageHeight": "24", "imageWidth": 32.0}, "is 16x12, but its labels are for 32x24"),
        ({"imageHeight": "tall"}, "for an image of width 16 and height 'tall'"),
        ({"shapes": 5}, "has no list of shapes"),
        ({"shapes": [{"label": 3, "points": []}]}, "a shape without label or points"),
        ({"shapes": [drawn("x", "polygon", (0, 0), (1e9, 0), (3, 3))]}, "farther than 160 pixels"),
        ({"shapes": [drawn("x", "circle", (0, 0), (float("inf"), 0))]}, "farther than"),
        ({"shapes": [drawn("x", "circle") | {"points": [0, 5]}]}, "not 2 or more x, y"),
        ({"shapes": [drawn("x", "mask", (0, 0), (3, 3), mask="AAAA")]}, "a mask is not an image"),
        (
            {"shapes": [drawn("x", "mask", (0, 0), (3, 3), mask=MASK_OF_9X9)]},
            "a mask of 9x9 has the corners of 4x4",
        ),
    ],
)
def test_malformed_files_are_named_and_left_out(tmp_path: Path, change: dict, text: str) -> None:
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / "in" / name)
    write_json(tmp_path / "in/a.json", labelme_document("a.png", [ROAD, CAR]) | change)
    write_json(tmp_path / "in/b.json", labelme_document("b.png", [ROAD, CAR]))
    summary = import_export(tmp_path / "in", tmp_path / "out", "labelme")
    (problem,) = summary.problems
    assert "in/a." in problem
    assert text in problem
    assert summary.splits == {"": 1}


def test_files_that_end_early_are_named(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/b.png")
    path = write_json(tmp_path / "in/a.json", labelme_document("a.png", [ROAD]))
    path.write_text(path.read_text()[:120])
    write_json(tmp_path / "in/b.json", labelme_document("b.png", [ROAD, CAR]))
    (problem,) = import_export(tmp_path / "in", tmp_path / "out").problems
    assert problem.startswith(f"{path}: it is not JSON")


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (HEIGHT, WIDTH), None])
def test_labels_are_turned_if_their_size_is_that_of_the_stored_picture(
    tmp_path: Path, size: tuple[int, int] | None
) -> None:
    write_picture(tmp_path / "in/a.jpg", orientation=6)  # a quarter turn clockwise
    shapes = [drawn("car", "rectangle", (0, 0), (4, 1)), drawn("x", "rectangle", (9, 9), (9, 9))]
    write_json(tmp_path / "in/a.json", labelme_document("a.jpg", shapes, size))
    image, labels = imported(tmp_path / "in", tmp_path / "out")[0]
    assert image.shape == (WIDTH, HEIGHT, 3)
    car = np.zeros((HEIGHT, WIDTH), bool) if size == (WIDTH, HEIGHT) else np.zeros((16, 12), bool)
    car[:2, :5] = True
    if size == (WIDTH, HEIGHT):
        car = np.rot90(car, -1)
    np.testing.assert_array_equal(labels == 0, car)


def test_names_that_differ_in_spaces_are_one_class(tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.png")
    shapes = [ROAD, CAR, CAR | {"label": " car "}]
    write_json(tmp_path / "in/a.json", labelme_document("a.png", shapes))
    dataset = imported(tmp_path / "in", tmp_path / "out")
    assert [entry.name for entry in dataset.classes] == ["car", "road"]


def test_two_files_of_one_image_are_refused(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / "in" / name)
    for name, picture in (("a", "a.png"), ("copy", "a.png"), ("b", "b.png")):
        write_json(tmp_path / f"in/{name}.json", labelme_document(picture, [ROAD, CAR]))
    summary = import_export(tmp_path / "in", tmp_path / "out")
    assert summary.problems == (f"{tmp_path}/in/a.png has labels 2 times; keep one of them",)
    assert summary.splits == {"": 1}


def test_an_export_without_areas_is_refused_with_the_causes(tmp_path: Path) -> None:
    line = {"label": "wire", "points": [[1, 1], [9, 9]], "shape_type": "line"}
    write_picture(tmp_path / "in/a.png")
    write_json(tmp_path / "in/a.json", labelme_document("a.png", [line]))
    write_json(tmp_path / "in/b.json", labelme_document("b.png", [{"label": 3, "points": []}]))
    text = (
        r"in has no labels of areas: .*b\.json has a shape without label.*; 1 shapes of type line"
    )
    with pytest.raises(DatasetError, match=text):
        import_export(tmp_path / "in", tmp_path / "out", background="ground")
