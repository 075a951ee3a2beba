"""Resolution of model and class file arguments to paths."""

from pathlib import Path

import pytest

from bisenet_ros.resources import classes_path, model_path


@pytest.fixture(autouse=True)
def empty_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_bare_names_are_shipped_files_even_beside_a_folder_of_that_name() -> None:
    Path("cityscapes").mkdir()
    Path("bisenetv2_camvid").mkdir()
    cityscapes = classes_path("cityscapes")
    assert cityscapes is not None
    assert cityscapes.name == "cityscapes.yaml"
    assert cityscapes.is_file()
    assert model_path("") == model_path("bisenetv2_camvid")
    assert model_path("").is_file()


def test_other_names_are_paths() -> None:
    Path("my_run").mkdir()
    assert model_path("my_run") == Path("my_run")
    assert model_path("a/b.pth") == Path("a/b.pth")
    assert classes_path("") is None
