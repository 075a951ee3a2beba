"""Import rules of the package, and names of test modules."""

import ast
from collections import Counter
from pathlib import Path

import pytest

TEST = Path(__file__).parent
PACKAGE = TEST.parent / "bisenet_ros"

BOTTOM = {
    "atomic",
    "check",
    "classes",
    "documents",
    "errors",
    "geometry",
    "images",
    "network",
    "resources",
    "synthetic",
}
ROOMS = {
    "model": BOTTOM,
    "datasets": BOTTOM,
    "deploy": BOTTOM | {"model"},
    "inference": BOTTOM | {"model", "deploy"},
    "evaluation": BOTTOM | {"model", "deploy", "inference", "datasets"},
    "training": BOTTOM | {"model", "deploy", "inference", "datasets", "evaluation"},
    "benchmark": BOTTOM | {"model", "deploy", "inference"},
    "ros": BOTTOM | {"model", "deploy", "inference", "msg"},
    "cli": {*BOTTOM, "model", "deploy", "inference", "datasets", "evaluation", "training"}
    | {"benchmark", "ros", "msg"},
}
"""Modules that each folder of the package may import, besides its own."""


def imports(path: Path) -> set[str]:
    """Return the absolute names of all modules imported anywhere in ``path``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_folder_has_import_rules() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders - BOTTOM == ROOMS.keys()


@pytest.mark.parametrize("room", ROOMS)
def test_folders_import_only_allowed_modules(room: str) -> None:
    wrong = [
        (path.name, name)
        for path in (PACKAGE / room).rglob("*.py")
        for name in imports(path)
        if name.startswith("bisenet_ros.") and name.split(".")[1] not in {*ROOMS[room], room}
    ]
    assert wrong == []


@pytest.mark.parametrize("place", sorted(BOTTOM))
def test_bottom_modules_import_only_each_other(place: str) -> None:
    paths = [*(PACKAGE / place).rglob("*.py"), *PACKAGE.glob(f"{place}.py")]
    assert paths
    wrong = [
        (path.name, name)
        for path in paths
        for name in imports(path)
        if name.startswith("bisenet_ros.") and name.split(".")[1] not in BOTTOM
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("rclpy", {"ros", "cli"}),
        (
            "torch",
            {"network", "model", "deploy", "inference", "evaluation", "training"} | {"benchmark"},
        ),
        ("openvino", {"deploy", "inference"}),
        ("tensorrt", {"inference"}),
    ],
)
def test_heavy_libraries_are_imported_only_in_their_folders(library: str, rooms: set[str]) -> None:
    users = {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert users
    assert users <= rooms


def test_test_modules_have_unique_names() -> None:
    """pytest imports them by base name, since the test folders are not packages."""
    names = Counter(path.name for path in TEST.rglob("*.py"))
    del names["conftest.py"]  # pytest distinguishes these itself
    assert [name for name, count in names.items() if count > 1] == []
    assert names["test_layout.py"] == names["busy.py"] == 1
