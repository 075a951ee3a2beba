"""Renaming, merging and dropping of an export's classes."""

from pathlib import Path

import numpy as np
import pytest

from bisenet_ros.datasets.importers.class_map import ClassMap, map_classes, read_class_map
from bisenet_ros.datasets.importers.export import SourceClass
from bisenet_ros.errors import ClassesError

CLASSES = (
    SourceClass(3, "wall", (102, 102, 156)),
    SourceClass(5, "building", (70, 70, 70)),
    SourceClass(8, "road"),
    SourceClass(9, "sky", (70, 130, 180)),
)


def test_the_file(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text("map: {wall: building, 0: void, '64 0 64': road, '1,2,3': sky}\nrest: other\n")
    assert read_class_map(path) == ClassMap(
        {"wall": "building"}, {0: "void"}, {(64, 0, 64): "road", (1, 2, 3): "sky"}, "other"
    )
    path.write_text("map:\n  street   sign: sign\n")
    assert read_class_map(path) == ClassMap({"street sign": "sign"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no mapping 'map:' at the top level"),
        ("[1]", "has no mapping 'map:'"),
        ("map: [wall]", "has no mapping 'map:'"),
        ("wall: building", "has ['wall']; it may have 'map:' and 'rest:'"),
        ("map: {wall: 3}", "'wall' becomes 3, which is not a name; put it in quotes"),
        ("map: {wall: no}", "'wall' becomes False"),
        ("map: {yes: wall}", "True is neither name nor id; quote a name"),
        ("map: {a: b", "it is not YAML"),
        ("map: {a: &x b, c: *x}", "has an alias"),
        ("map: {}\nrest: 5", "rest: 5 is not a name"),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(text)
    with pytest.raises(ClassesError) as caught:
        read_class_map(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ClassesError, match=r"cannot read .*none.yaml: No such file"):
        read_class_map(tmp_path / "none.yaml")


def test_classes_keep_their_names_and_order_unless_mapped() -> None:
    targets = map_classes(CLASSES, ClassMap())
    assert [(c.id, c.name) for c in targets.classes] == [
        (0, "wall"), (1, "building"), (2, "road"), (3, "sky")
    ]  # fmt: skip
    colors = [entry.color for entry in targets.classes]
    assert [colors[k] for k in (0, 1, 3)] == [CLASSES[k].color for k in (0, 1, 3)]
    assert len({*colors, targets.void}) == 5
    assert targets.void == (0, 0, 0)
    assert targets.table.tolist() == [0, 1, 2, 3, 255, 255]


def test_merged_dropped_and_the_rest() -> None:
    rules = ClassMap({"wall": "building"}, {9: "Void"})
    targets = map_classes(CLASSES, rules)
    assert (targets.classes[0].name, targets.classes[0].color) == ("building", (70, 70, 70))
    assert targets.table.tolist() == [0, 0, 1, 255, 255, 255]
    drawing = np.array([[0, 3, -1, 2]], np.int16)
    assert targets.labels(drawing).tolist() == [[0, 255, 255, 1]]
    targets = map_classes(CLASSES, ClassMap({"road": "road"}, rest="other"))
    assert [entry.name for entry in targets.classes] == ["other", "road"]
    assert targets.table.tolist() == [0, 0, 1, 0, 255, 255]


@pytest.mark.parametrize(
    ("background", "names", "table"),
    [
        ("ground", ["ground", "wall", "building", "road", "sky"], [1, 2, 3, 4, 255, 0]),
        ("sky", ["wall", "building", "road", "sky"], [0, 1, 2, 3, 255, 3]),
    ],
)
def test_background(background: str, names: list[str], table: list[int]) -> None:
    targets = map_classes(CLASSES, ClassMap(), background)
    assert [entry.name for entry in targets.classes] == names
    assert targets.table.tolist() == table


def test_void_needs_a_color_of_its_own() -> None:
    targets = map_classes(
        [SourceClass(0, "background", (0, 0, 0)), SourceClass(1, "car", (128, 0, 0))], ClassMap()
    )
    assert targets.void == (0, 128, 0)


def test_classes_of_the_same_color_get_different_ones() -> None:
    classes = [SourceClass(0, "a", (9, 9, 9)), SourceClass(1, "b", (9, 9, 9))]
    colors = [entry.color for entry in map_classes(classes, ClassMap()).classes]
    assert colors[0] == (9, 9, 9) != colors[1]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            ClassMap({"Buildng": "x"}),
            "'Buildng', which the export has not; did you mean 'building'",
        ),
        (
            ClassMap({"zebra": "x"}),
            "'zebra', which the export has not; it has wall, building, road",
        ),
        (ClassMap(ids={4: "x"}), "id 4, which the export has not; it has 3, 5, 8, 9"),
        (ClassMap(colors={(1, 2, 3): "x"}), r"color \(1, 2, 3\), which the export has not"),
        (ClassMap({"wall": "x"}, {3: "y"}), r"gives class 3 'wall' two names: \['y', 'x'\]"),
        (ClassMap(rest="void"), "there is only 0 class .all are void.; .* --background NAME"),
        (ClassMap({"wall": "a#b"}), "'a#b' has a '#', which starts a comment"),
        (ClassMap({"wall": ""}), "a class has no name; give it another name with --map"),
        (ClassMap({"wall": "x" * 101}), "is longer than 100 characters or not printable"),
        (ClassMap({"wall": "x\x1b[1m"}), r"'x\\x1b\[1m' is longer than 100 .* or not printable"),
    ],
)
def test_refusals(rules: ClassMap, message: str) -> None:
    with pytest.raises(ClassesError, match=message):
        map_classes(CLASSES, rules)


def test_ids_of_a_format_without_ids() -> None:
    classes = [SourceClass(None, "car"), SourceClass(None, "road")]
    with pytest.raises(ClassesError, match=r"id 0, .*; its classes have no ids; it has car, road"):
        map_classes(classes, ClassMap(ids={0: "void"}))


def test_more_classes_than_labels_can_hold() -> None:
    classes = [SourceClass(k, f"class {k}") for k in range(300)]
    with pytest.raises(ClassesError, match=r"there are 300 classes, .* 255 can be trained; merge"):
        map_classes(classes, ClassMap())
    rules = ClassMap(ids={k: "other" for k in range(100)})
    targets = map_classes(classes, rules)
    assert len(targets.classes) == 201
    assert targets.table.max() == 255
    assert targets.table[299] == 200


def test_background_is_not_void() -> None:
    with pytest.raises(ClassesError, match="unlabeled pixels are void without the option"):
        map_classes(CLASSES, ClassMap(), "Void")
