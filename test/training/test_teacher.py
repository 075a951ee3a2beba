"""Learning from a trained model: what it says of a sample, and that a network learns it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from bisenet_ros import model_file
from bisenet_ros.inference.multi_scale import MultiScale
from bisenet_ros.inference.segmenter import Segmenter
from bisenet_ros.metadata import ModelFileError
from bisenet_ros.training.datasets import open_dataset
from bisenet_ros.training.loop import TrainingError, train
from bisenet_ros.training.settings import Settings
from bisenet_ros.training.teacher import Teacher

SETTINGS = Settings(
    head_channels=16,
    resolution=(128, 64),
    crop=(128, 64),
    scales=(1.0,),
    flip=False,
    optimizer="adamw",
    learning_rate=3e-3,
    ohem=0.0,
    batch_size=2,
    iterations=30,
    precision="fp32",
    workers=0,
    checkpoint_every=100,
)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> model_file.Model:
    return model_file.load(tiny_model)


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    blocks = np.random.default_rng(4).integers(0, 256, (2, 8, 16, 3), np.uint8)
    return blocks.repeat(8, axis=1).repeat(8, axis=2)


def teach(model: model_file.Model, images: NDArray[np.uint8], scales: tuple[float, ...]) -> Tensor:
    settings = replace(SETTINGS, teacher_scales=scales)
    teacher = Teacher(model, settings, model.metadata.classes, "cpu")
    return teacher.probabilities(torch.from_numpy(images).permute(0, 3, 1, 2))


# 1.25 is no power of two, so its cells do not lie on those of the sample.
@pytest.mark.parametrize("scales", [(1.0,), (1.25,), (0.75, 1.5)])
def test_it_says_what_the_model_does_at_these_sizes(
    model: model_file.Model, images: NDArray[np.uint8], scales: tuple[float, ...]
) -> None:
    probabilities = teach(model, images, scales)
    assert probabilities.shape == (2, 5, 64, 128)
    assert torch.allclose(probabilities.sum(1), torch.ones(2, 64, 128), atol=1e-5)
    labels = probabilities.argmax(1).numpy()
    segmenter = Segmenter(model, backend="torch", device="cpu", precision="fp32")
    several = MultiScale(segmenter, scales, flip=True)
    expected = np.stack([several.labels(image) for image in images])
    assert len(np.unique(labels)) >= 3
    # Not all: OpenCV rounds enlarged images to whole numbers.
    assert float((labels == expected).mean()) > 0.99


def test_a_model_for_bgr_images_is_shown_them(
    model: model_file.Model, images: NDArray[np.uint8]
) -> None:
    bgr = replace(model, metadata=replace(model.metadata, channel_order="bgr"))
    answers = teach(model, images, (1.0,))
    assert not torch.allclose(teach(bgr, images, (1.0,)), answers, atol=0.01)
    swapped = np.ascontiguousarray(images[..., ::-1])
    assert torch.allclose(teach(bgr, swapped, (1.0,)), answers, atol=1e-4)


@pytest.fixture
def unlabelled(two_tone: Path, model: model_file.Model) -> Path:
    """``two_tone`` with the classes of ``model``, of which the labels never show but the first."""
    lines = [f"{c.id} {c.name} {c.color[0]} 0 0\n" for c in model.metadata.classes]
    (two_tone / "classes.txt").write_text("".join(lines))
    return two_tone


def test_a_network_learns_what_no_label_says(
    unlabelled: Path, model: model_file.Model, tmp_path: Path
) -> None:
    data = open_dataset(unlabelled)
    small = replace(SETTINGS, resolution=(64, 64), crop=(64, 64))
    taught = train(
        data,
        replace(small, distill=20.0),
        tmp_path / "taught.pt",
        lambda *_: None,
        teacher=model,
    )
    alone = train(data, small, tmp_path / "alone.pt", lambda *_: None)
    image = data[0][0]
    x = torch.from_numpy(image).permute(2, 0, 1)[None]
    expected = Teacher(model, small, data.classes, "cpu").probabilities(x)
    normalised = (x / 255 - torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)) / torch.tensor(
        (0.229, 0.224, 0.225)
    ).view(3, 1, 1)
    with torch.inference_mode():
        differences = [
            float(torch.nn.functional.cross_entropy(network.eval()(normalised), expected))
            for network in (taught, alone)
        ]
    assert differences[0] < 0.8 * differences[1]


def test_refusals(
    unlabelled: Path, two_tone: Path, model: model_file.Model, tmp_path: Path
) -> None:
    data = open_dataset(unlabelled)
    path = tmp_path / "c.pt"
    with pytest.raises(TrainingError, match=r"'distill' is 1\.0 and there is no teacher"):
        train(data, replace(SETTINGS, distill=1.0), path, lambda *_: None)
    with pytest.raises(TrainingError, match=r"'distill' is 0\.0 and there is a teacher"):
        train(data, SETTINGS, path, lambda *_: None, teacher=model)
    others = replace(model, metadata=replace(model.metadata, classes=data.classes[::-1]))
    with pytest.raises(ModelFileError, match="cannot teach: its classes are car, tree"):
        train(data, replace(SETTINGS, distill=1.0), path, lambda *_: None, teacher=others)
    assert not path.exists()
