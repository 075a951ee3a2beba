"""Label images as other tools save them: palettes, and gray saved as RGB."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from encoded_images import label_png
from PIL import Image

from bisenet_ros.classes import read_classes
from bisenet_ros.datasets.label_files import UndefinedValues, class_file_reader
from bisenet_ros.errors import DatasetError, UndefinedValuesError

Color = tuple[int, int, int]
Indexed = Callable[[list[int], list[Color]], Path]

ROAD, CAR, SKY, BLACK = (128, 64, 128), (0, 0, 142), (70, 130, 180), (0, 0, 0)
CLASSES = "0 road 128 64 128\n1 car 0 0 142\n2 sky 70 130 180\n"
VOID = "255 void 0 0 0\n"
RAMP = [(i, i, i) for i in range(256)]
BORDER = (224, 224, 192)
"""Color of index 255 in the labels of PASCAL VOC."""


def voc_colors() -> list[Color]:
    """Return the color map of PASCAL VOC: every third bit of an index goes to the same channel."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, ::-1]
    weights = 2 ** np.arange(7, -1, -1)
    channels = [[*range(channel, 8, 3)] for channel in range(3)]
    colors = np.stack([bits[:, c] @ weights[: len(c)] for c in channels], axis=1)
    assert colors[[1, 2, 3, 7]].tolist() == [[128, 0, 0], [0, 128, 0], [128, 128, 0], [128] * 3]
    return [tuple(map(int, color)) for color in colors]


VOC = voc_colors()


@pytest.fixture
def indexed(tmp_path: Path) -> Indexed:
    """Return a function that writes a row of indices as a PNG with a palette."""

    def write(indices: list[int], palette: list[Color]) -> Path:
        path = tmp_path / "label.png"
        image = Image.fromarray(np.uint8([indices]), mode="P")
        image.putpalette([value for color in palette for value in color])
        image.save(path)
        return path

    return write


def read(path: Path, classes: str) -> list[int]:
    """Read a label image of one row with these lines of classes.txt."""
    class_file = path.with_name("classes.txt")
    class_file.write_text(classes)
    return class_file_reader(class_file, read_classes(class_file))(path)[0].tolist()


def refusal(path: Path, classes: str) -> str:
    with pytest.raises(DatasetError) as error:
        read(path, classes)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("palette", "classes"),
    [
        (VOC, CLASSES),  # the ids are right, the colors are those of another tool
        ([BLACK] * 256, CLASSES),
        ([ROAD, CAR, SKY], CLASSES + VOID),
        ([ROAD, CAR, SKY, *[BLACK] * 253], CLASSES + VOID),  # 255 is black because none is given
        ([ROAD, (1, 2, 3), SKY, *[CAR] * 253], CLASSES),  # 255 is no class whatever its color
        (RAMP, CLASSES + VOID),  # as gray images, and those are read by id
        (RAMP, "0 a 1 1 1\n1 b 2 2 2\n2 c 0 0 0\n"),
        ([BLACK, (255, 255, 255), (9, 8, 7)], CLASSES),
        ([ROAD, ROAD, SKY], "0 road 128 64 128\n1 car 128 64 128\n2 sky 0 0 9\n"),
    ],
)
def test_indices_are_ids_unless_a_color_contradicts(
    indexed: Indexed, palette: list[Color], classes: str
) -> None:
    assert read(indexed([0, 1, 2, 2], palette), classes) == [0, 1, 2, 2]
    if len(palette) == 256:
        assert read(indexed([0, 1, 2, 255], palette), classes) == [0, 1, 2, 255]


@pytest.mark.parametrize("border", [[], [255]])
def test_black_at_index_0_is_no_class_if_the_class_file_says_so(
    indexed: Indexed, border: list[int]
) -> None:
    """Tools that follow PASCAL VOC number the classes from 1."""
    palette = [BLACK, ROAD, CAR, SKY, *VOC[4:255], BORDER]
    path = indexed([0, 1, 2, 3, *border], palette)
    assert read(path, CLASSES + VOID) == [255, 0, 1, 2, *border]
    assert read(indexed([0, 0, *border], palette), CLASSES + VOID) == [255, 255, *border]
    assert read(indexed([3, 3, *border], palette), CLASSES + VOID) == [2, 2, *border]
    text = refusal(indexed([0, 1, 2, *border], palette), CLASSES)
    assert "index 1 is (128, 64, 128), but " in text
    assert "gives that color to class 0, and index 0 is (0, 0, 0), which is no class's: " in text
    assert text.endswith(
        "/classes.txt; else save class ids in one channel without a palette, and class colors as "
        "RGB"
    )


def test_a_palette_of_the_voc_colors_that_are_the_classes_own(indexed: Indexed) -> None:
    classes = "".join(f"{i} class_{i} {r} {g} {b}\n" for i, (r, g, b) in enumerate(VOC[1:4]))
    assert read(indexed([0, 1, 2, 3, 255], VOC), classes + VOID) == [255, 0, 1, 2, 255]
    assert "which is no class's" in refusal(indexed([0, 1, 2, 3], VOC), classes)


def test_a_palette_in_order_of_appearance_is_read_by_color(indexed: Indexed) -> None:
    """As image editors, and programs that make PNG files smaller, number colors."""
    assert read(indexed([0, 1, 2, 1], [SKY, ROAD, CAR]), CLASSES) == [2, 0, 1, 0]
    assert read(indexed([0, 0], [SKY]), CLASSES) == [2, 2]
    assert read(indexed([7, 3], [*[BLACK] * 3, CAR, *[BLACK] * 4]), CLASSES + VOID) == [255, 1]


@pytest.mark.parametrize(
    ("indices", "palette", "reason"),
    [
        # One unknown color among those of classes leaves both readings open.
        ([0, 1, 2], [SKY, ROAD, (1, 2, 3)], "index 2 is (1, 2, 3), which is no class's"),
        ([0, 1, 2], [SKY, ROAD], "index 2 is without a color, which is no class's"),
        (
            [0, 1, 255],
            [CAR, ROAD, *[SKY] * 254],
            "index 255, which means no class, is (70, 130, 18",
        ),
    ],
)
def test_contradictions_that_colors_do_not_settle_are_refused(
    indexed: Indexed, tmp_path: Path, indices: list[int], palette: list[Color], reason: str
) -> None:
    path = indexed(indices, palette)
    if max(indices) >= len(palette):
        path.write_bytes(label_png(np.uint8([indices]), 3, PLTE=bytes(sum(palette, ()))))
    assert reason in refusal(path, CLASSES + VOID)


def test_indices_beyond_the_palette_are_ids(tmp_path: Path) -> None:
    path = tmp_path / "label.png"
    path.write_bytes(label_png(np.uint8([[0, 1, 2, 255]]), 3, PLTE=bytes([*ROAD, *CAR])))
    assert read(path, CLASSES + VOID) == [0, 1, 2, 255]
    path.write_bytes(label_png(np.uint8([[0, 1, 3]]), 3, PLTE=bytes([*ROAD, *CAR])))
    assert "has label 3 (1 pixels); labels are 0 to 2" in refusal(path, CLASSES + VOID)


def test_two_classes_of_the_color_that_contradicts_are_refused(indexed: Indexed) -> None:
    classes = "0 road 1 1 9\n1 car 128 64 128\n2 sky 128 64 128\n"
    with pytest.raises(DatasetError, match="classes 1 and 2 have the same color"):
        read(indexed([0], [ROAD]), classes)


def test_gray_levels_that_a_palette_renumbers_are_refused(indexed: Indexed) -> None:
    """Compressing the gray ids 2 and 1 to a palette makes them the indices 0 and 1."""
    levels = [(2, 2, 2), (1, 1, 1)]
    text = refusal(indexed([0, 1], levels), CLASSES)
    assert "index 0 is the gray level 2, and both may be class ids" in text
    assert read(indexed([0, 1], [BLACK, (1, 1, 1)]), CLASSES) == [0, 1]
    assert read(indexed([0, 1], [BLACK, (90, 90, 90)]), CLASSES) == [0, 1]
    assert read(indexed([0, 1], [BLACK, (255, 255, 255)]), CLASSES) == [0, 1]


def test_ids_saved_as_rgb_are_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "label.png"
    assert cv2.imwrite(str(path), np.uint8([[[0] * 3, [1] * 3, [255] * 3]]))
    text = refusal(path, CLASSES)
    assert "has colors (0, 0, 0) (1 pixels), (1, 1, 1) (1 pixels), (255, 255, 255) (1 pix" in text
    assert text.endswith("; if the gray values are class ids, save them as PNG with one channel")
    assert cv2.imwrite(str(path), np.uint8([[[0] * 3, [3] * 3]]))  # 3 is no id
    assert "gray values" not in refusal(path, CLASSES)
    assert cv2.imwrite(str(path), np.uint8([[[1, 1, 0]]]))
    assert "gray values" not in refusal(path, CLASSES)


@pytest.mark.parametrize("kind", ["label", "color"])
def test_undefined_values_are_counted(tmp_path: Path, kind: str) -> None:
    values = np.uint8([*range(3, 203), 3])[None]
    if kind == "color":
        values = np.dstack([values, values, values * 0])
    path = tmp_path / "label.png"
    assert cv2.imwrite(str(path), values)
    with pytest.raises(UndefinedValuesError, match=f"{kind}s .* and 195 more; ") as error:
        read(path, CLASSES)
    found = error.value.values
    assert isinstance(found, UndefinedValues)
    assert (found.kind, found.number, found.pixels, len(found.counts)) == (kind, 200, 201, 100)
    assert found.counts["3" if kind == "label" else "(0, 3, 3)"] == 2
