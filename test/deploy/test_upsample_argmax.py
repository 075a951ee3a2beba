"""The fast upsampling and argmax against upsampling every class."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from bisenet_ros.deploy.deploy_module import DeployModule
from bisenet_ros.deploy.upsample_argmax import CANDIDATES, upsample_argmax
from bisenet_ros.model import file as model_file
from bisenet_ros.network import upsample
from bisenet_ros.resources import model_path

torch.set_num_threads(1)


def by_definition(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Compute label and probability of each pixel from all classes."""
    height, width = logits.shape[2:]
    probability, label = upsample(logits, (8 * height, 8 * width)).softmax(1).max(1)
    return label, probability


def blobs(classes: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Logits as smooth as a real image's, with regions of each class."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, classes, height // 8 + 2, width // 8 + 2, generator=generator)
    return 5 * functional.interpolate(noise, (height, width), mode="bicubic")


@pytest.mark.parametrize(
    ("classes", "height", "width"), [(2, 4, 4), (5, 9, 17), (CANDIDATES, 45, 60), (3, 12, 4)]
)
def test_few_classes_are_labeled_exactly(classes: int, height: int, width: int) -> None:
    logits = torch.randn(1, classes, height, width)
    label, probability = upsample_argmax(logits, confidence=True)
    expected, expected_probability = by_definition(logits)
    assert label.shape == probability.shape == (1, 8 * height, 8 * width)
    assert set(label.unique().tolist()) == set(range(classes))
    assert (label == expected).double().mean() >= 0.9999  # equal logits may round to either
    torch.testing.assert_close(probability, expected_probability, rtol=0, atol=1e-5)


@pytest.mark.parametrize("classes", [11, 19])
def test_many_classes_are_labeled_as_if_all_were_compared(classes: int) -> None:
    logits = blobs(classes, 64, 96)
    label, probability = upsample_argmax(logits, confidence=True)
    expected, expected_probability = by_definition(logits)
    assert len(label.unique()) == classes
    assert (label == expected).double().mean() >= 0.9999
    error = probability - expected_probability
    assert error.max() <= 1e-4  # other classes can only reduce it
    assert error.abs().mean() <= 0.5 / 255
    torch.testing.assert_close(label, upsample_argmax(logits)[0], rtol=0, atol=0)


@pytest.mark.parametrize(("classes", "images"), [(5, 2), (19, 4)])
def test_images_of_a_batch_do_not_touch(classes: int, images: int) -> None:
    logits = torch.cat([blobs(classes, 9, 17, seed) for seed in range(images)])
    together = upsample_argmax(logits, confidence=True)
    for image in range(images):
        alone = upsample_argmax(logits[image : image + 1], confidence=True)
        for found, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(found[image : image + 1], expected, rtol=0, atol=1e-6)


def test_a_class_can_win_between_logits_that_others_win() -> None:
    logits = torch.full((1, 19, 2, 2), -20.0)
    for corner, (y, x) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        logits[0, 3 * corner, y, x] = 10
    logits[0, 17] = 9
    (label,) = upsample_argmax(logits)
    assert label[0, 7:9, 7:9].unique().tolist() == [17]
    assert label[0, [0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [0, 3, 6, 9]
    torch.testing.assert_close(label, by_definition(logits)[0].float(), rtol=0, atol=0)


def test_labels_of_the_shipped_model_on_every_20th_image() -> None:
    if "BISENET_DATA" not in os.environ:
        pytest.skip("BISENET_DATA is not set: no CamVid on this machine")
    deployed = DeployModule(model_file.load(model_path("")))
    images = sorted((Path(os.environ["BISENET_DATA"]) / "camvid/val/images").iterdir())[::20]
    equal = []
    for path in images:
        image = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
        with torch.inference_mode():
            x = torch.from_numpy(image)[None].float().permute(0, 3, 1, 2)
            logits = deployed.network.heads((x - deployed.mean) / deployed.std)[0]
            equal.append((upsample_argmax(logits)[0] == by_definition(logits)[0]).double().mean())
    assert min(equal) >= 0.9999
