"""The shipped model reaches the scores of its model card on CamVid and synthetic streets."""

import os
from pathlib import Path

import pytest

from bisenet_ros.datasets import Dataset, open_dataset
from bisenet_ros.evaluation.metrics import evaluate
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.segmenter import Segmenter
from bisenet_ros.model import file as model_file
from bisenet_ros.resources import model_path
from bisenet_ros.synthetic import CLASS_NAMES, DEMO_SEEDS, Street


def camvid(split: str) -> Dataset:
    data = os.environ.get("BISENET_DATA")
    if not data:
        pytest.skip("BISENET_DATA is not set: no CamVid on this machine")
    return open_dataset(Path(data) / "camvid", split=split)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    path = model_path("")
    if not path.is_file():
        pytest.skip(f"no shipped model models/{path.name}")
    return Segmenter(model_file.load(path), EngineOptions(device="cpu"))


@pytest.mark.parametrize(("split", "pairs"), [("train", 367), ("val", 101)])
def test_camvid_opens(split: str, pairs: int) -> None:
    folder = camvid(split)
    assert len(folder) == pairs
    assert tuple(entry.name for entry in folder.classes) == CLASS_NAMES
    image, labels = folder[0]
    assert image.shape == (360, 480, 3)
    assert labels.shape == (360, 480)
    assert all(image.stem == label.stem for image, label in folder.pairs)


def test_shipped_model_has_the_camvid_classes(segmenter: Segmenter) -> None:
    names = tuple(entry.name for entry in segmenter.model.metadata.classes)
    assert names == CLASS_NAMES


def test_shipped_model_scores_on_camvid(segmenter: Segmenter) -> None:
    folder = camvid("val")
    samples = (folder[index] for index in range(0, len(folder), 5))
    scores = evaluate(samples, lambda image: segmenter.segment(image).labels, 11)
    assert scores.miou >= 0.77


def test_shipped_model_scores_on_unseen_synthetic_streets(segmenter: Segmenter) -> None:
    samples = (Street(seed).frame(0) for seed in DEMO_SEEDS[:20])
    scores = evaluate(samples, lambda image: segmenter.segment(image).labels, 11)
    assert scores.miou >= 0.84
