"""``bisenet calibrate``: choice of images, stored calibration, and errors."""

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from refusal import refusal

from bisenet_ros.cli.calibrate import evenly_spread
from bisenet_ros.cli.main import main
from bisenet_ros.deploy.calibration import calibrate
from bisenet_ros.model import file as model_file
from bisenet_ros.model.metadata import Score

torch.set_num_threads(1)


@pytest.fixture
def path(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(tiny_model, tmp_path / "model.safetensors"))


def command(path: Path, data: Path) -> list[str]:
    return ["calibrate", "--model", str(path), "--data", str(data)]


def test_bits_of_the_images_count(path: Path, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 2)
    for index, image in enumerate(images):
        deep = np.rint(image[..., ::-1] * (1023 / 255)).astype(np.uint16)
        assert cv2.imwrite(str(tmp_path / "images" / f"{index:02}.png"), deep)
    expected = calibrate(model_file.load(path), images)
    assert main([*command(path, tmp_path / "images"), "--bit-depth", "10"]) == 0
    assert model_file.load(path).metadata.calibration == expected


def write_images(folder: Path, count: int) -> list[np.ndarray]:
    """Write 00.png and so on, and return their pixels, uint8 [64,128,3] RGB."""
    folder.mkdir(parents=True)
    images = [
        np.random.default_rng(seed).integers(0, 256, (64, 128, 3), np.uint8)
        for seed in range(count)
    ]
    for index, image in enumerate(images):
        cv2.imwrite(str(folder / f"{index:02}.png"), image[..., ::-1])
    return images


def test_calibration_is_stored_and_nothing_else_changes(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = write_images(tmp_path / "data" / "images", 3)
    write_images(tmp_path / "data" / "labels", 1)  # must not be used for calibration
    before = model_file.load(path)
    assert main(command(path, tmp_path / "data")) == 0
    printed = capsys.readouterr().out
    assert printed == f"calibrated {path} for int8 on 3 images of {tmp_path / 'data'}\n"
    after = model_file.load(path)
    assert after.metadata.calibration == calibrate(before, images)
    # A dataset with splits: only its training images are used.
    (tmp_path / "data").rename(tmp_path / "train")
    for number in range(3):
        ids = np.zeros((64, 128), np.uint8)
        cv2.imwrite(str(tmp_path / "train" / "labels" / f"{number:02}.png"), ids)
    write_images(tmp_path / "val" / "images", 1)
    (tmp_path / "classes.txt").write_text("0 one 1 2 3\n1 other 4 5 6\n")
    assert main(command(path, tmp_path)) == 0
    assert model_file.load(path).metadata.calibration == after.metadata.calibration
    assert replace(after.metadata, calibration={}) == before.metadata
    for name, tensor in before.network.state_dict().items():
        torch.testing.assert_close(after.network.state_dict()[name], tensor, rtol=0, atol=0)


def test_int8_scores_of_the_previous_calibration_are_removed(path: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", 1)
    model = model_file.load(path)
    scores = Score("val", "miou", "fp32", 0.5), Score("val", "miou", "int8", 0.4)
    model_file.save(path, model.network, replace(model.metadata, scores=scores))
    assert main(command(path, tmp_path / "data")) == 0
    assert model_file.load(path).metadata.scores == scores[:1]


def test_images_are_evenly_spaced(tmp_path: Path) -> None:
    for city in ("aachen", "zurich"):
        write_images(tmp_path / city, 5)
    (tmp_path / "aachen" / "notes.txt").touch()
    names = [f"{p.parent.name}/{p.stem}" for p in evenly_spread(tmp_path, 4)]
    assert names == ["aachen/00", "aachen/02", "zurich/00", "zurich/02"]
    assert len(evenly_spread(tmp_path, 100)) == 10


def test_errors_name_the_input(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no image")
    for model, data, status, text in (
        (path, tmp_path / "nowhere", 1, f"no folder {tmp_path / 'nowhere'}; give the folder"),
        (path, tmp_path / "empty", 1, "empty contains no images"),
        (path, tmp_path / "broken", 1, "a.png is not an image"),
        (tmp_path / "none.safetensors", tmp_path, 1, "no model file at"),
        (Path("model.pth"), tmp_path, 2, "--model model.pth is not a .safetensors"),
    ):
        refused = refusal(command(model, data), capsys)
        assert refused.status == status
        assert text in refused.message
    assert model_file.load(path).metadata.calibration == {}


def test_model_is_required(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = refusal(["calibrate", "--data", str(tmp_path)], capsys)
    assert refused == (2, "the following arguments are required: --model")


@pytest.mark.parametrize(
    ("folders", "taken"),
    [
        (("train/images", "train/labels", "val/images", "val/labels"), "train/images"),
        (("train/images", "val/images", "val/labels"), "train/images"),
        (("images", "labels"), "images"),
    ],
)
def test_labels_and_val_images_of_a_dataset_are_skipped(
    tmp_path: Path, folders: tuple[str, ...], taken: str
) -> None:
    for folder in folders:
        write_images(tmp_path / folder, 2)
    assert {path.parent for path in evenly_spread(tmp_path, 100)} == {tmp_path / taken}


def test_folder_with_labels_but_no_images_is_rejected(tmp_path: Path) -> None:
    write_images(tmp_path / "labels", 1)
    with pytest.raises(ValueError, match=r"has labels but no images/"):
        evenly_spread(tmp_path, 1)
