"""User's augmentation: import, result, and refusals that name the function."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bisenet_ros.datasets import open_dataset
from bisenet_ros.errors import SettingsError, TrainingError
from bisenet_ros.training.custom_augment import CustomAugment
from bisenet_ros.training.loop import Progress, train
from bisenet_ros.training.settings import Settings
from bisenet_ros.training.train_dataset import TrainDataset

SOURCE = """
import numpy as np

def darken(image, labels, rng):
    return (image * rng.uniform(0.2, 1.0)).astype(np.uint8), labels

def mirror(image, labels, rng):
    return image[:, ::-1], labels[:, ::-1]

def read_only(image, labels, rng):
    return np.broadcast_to(np.uint8(7), image.shape), np.broadcast_to(np.uint8(255), labels.shape)

def unseeded(image, labels, rng):
    return np.random.randint(0, 256, image.shape, np.uint8), labels

def floats(image, labels, rng):
    return image / 255, labels

def smaller(image, labels, rng):
    return image[:8], labels[:8]

def only_image(image, labels, rng):
    return image

def tensors(image, labels, rng):
    return image, labels.tolist()

def interpolated(image, labels, rng):
    labels[3, 4] = 2
    return image, labels

def fails(image, labels, rng):
    raise KeyError("shade")

number = 3
"""
SETTINGS = Settings(
    resolution=(64, 64),
    crop=(64, 32),
    scales=(1.0,),
    head_channels=16,
    batch_size=2,
    iterations=2,
    precision="fp32",
    workers=0,
)


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the module ``of_a_user.transforms`` on the path."""
    package = tmp_path / "path" / "of_a_user"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "transforms.py").write_text(SOURCE)
    (package / "broken.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    for name in [name for name in sys.modules if name.startswith("of_a_user")]:
        monkeypatch.delitem(sys.modules, name)


def settings(function: str) -> Settings:
    return replace(SETTINGS, augment=f"of_a_user.transforms:{function}")


def test_function_is_applied_to_the_augmented_sample(two_tone: Path) -> None:
    dataset = open_dataset(two_tone)
    plain, own = TrainDataset(dataset, SETTINGS), TrainDataset(dataset, settings("mirror"))
    for k in range(3):
        for before, after in zip(plain[k], own[k], strict=True):
            assert torch.equal(after, before.flip(-1))


def test_samples_are_reproducible(two_tone: Path) -> None:
    dataset = open_dataset(two_tone)
    one, other = (TrainDataset(dataset, settings("darken")) for _ in range(2))
    means = [float(one[k][0].float().mean()) for k in range(4)]
    assert [float(other[k][0].float().mean()) for k in (3, 2, 1, 0)] == means[::-1]
    plain = [float(TrainDataset(dataset, SETTINGS)[k][0].float().mean()) for k in range(4)]
    shares = np.array(means) / plain
    assert shares.min() > 0.15 and shares.max() < 1 and shares.std() > 0.05


def test_read_only_results_can_be_mixed(two_tone: Path) -> None:
    mixed = replace(settings("read_only"), cutmix=1.0, copy_paste=("dark",))
    image, labels = TrainDataset(open_dataset(two_tone), mixed)[0]
    assert (image == 7).all() and (labels == 255).all()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("of_a_user.transforms", "must be of the form package.module:function"),
        (":darken", "must be of the form package.module:function"),
        ("of_nobody:f", r"importing of_nobody raises ModuleNotFoundError .*set PYTHONPATH=\$PWD"),
        ("of_a_user.broken:f", r"raises ModuleNotFoundError \(No module named 'no_such_package'\)"),
        ("of_a_user.transforms:lighten", r"transforms\.py has no function lighten"),
        ("of_a_user.transforms:number", r"transforms\.py has no function number"),
    ],
)
def test_functions_that_do_not_exist(path: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as raised:
        CustomAugment(path, 2)
    assert str(raised.value).startswith(f"setting 'augment' is '{path}'")


REFUSALS = [
    ("floats", r"returned image of float64 \[32, 64, 3\]; it must return uint8 \[32, 64, 3\]"),
    ("smaller", r"returned image of uint8 \[8, 64, 3\]; it must return uint8 \[32, 64, 3\]"),
    ("only_image", r"returned a ndarray; it must return a tuple \(image, labels\)"),
    ("tensors", "returned labels of type list; it must return a NumPy array"),
    ("interpolated", "returned the label 2; it must return 0 to 1, or 255 for no class"),
    ("fails", r"raised KeyError \('shade'\) in .*transforms\.py, line 33: correct the function"),
]


@pytest.mark.parametrize(("function", "message"), REFUSALS)
def test_wrong_results_name_the_function(
    two_tone: Path, tmp_path: Path, function: str, message: str
) -> None:
    samples = TrainDataset(open_dataset(two_tone), settings(function))
    for attempt in (
        lambda: samples[0],
        lambda: train(samples.dataset, samples.settings, tmp_path / "c.pt", lambda p, _: None),
    ):
        with pytest.raises(TrainingError) as raised:
            attempt()
        assert str(raised.value).startswith(f"augment of_a_user.transforms:{function} r")
        assert raised.match(message)
    assert not (tmp_path / "c.pt").exists()


def test_workers_give_the_same_run_and_name_the_function(two_tone: Path, tmp_path: Path) -> None:
    dataset = open_dataset(two_tone)

    def losses(function: str, workers: int) -> list[float]:
        found: list[float] = []

        def keep(progress: Progress, network: object) -> None:
            found.append(progress.loss)

        train(dataset, replace(settings(function), workers=workers), tmp_path / "c.pt", keep)
        (tmp_path / "c.pt").unlink()
        return found

    assert losses("darken", 2) == losses("darken", 0) != losses("mirror", 0)


def test_a_function_that_fails_in_a_worker_is_named(
    two_tone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bisenet_ros.training.loop._try", lambda samples: None)
    late = replace(settings("interpolated"), workers=1)
    with pytest.raises(TrainingError) as raised:
        train(open_dataset(two_tone), late, tmp_path / "c.pt", lambda p, _: None)
    assert str(raised.value).startswith("augment of_a_user.transforms:interpolated returned the")
    assert "Traceback" not in str(raised.value)


def test_a_function_with_its_own_random_numbers_is_warned_of(
    two_tone: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for function in ("darken", "unseeded"):
        once = replace(settings(function), iterations=1)
        train(open_dataset(two_tone), once, tmp_path / f"{function}.pt", lambda p, _: None)
    (message,) = [text for text in caplog.messages if "augment" in text]
    assert message.startswith("augment of_a_user.transforms:unseeded gives other results for the")
    assert "Draw all random numbers from its third argument" in message
