"""Multi-scale inference: scale 1 equals the segmenter, others average probabilities."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from bisenet_ros.errors import InferenceError
from bisenet_ros.evaluation.multi_scale import MultiScale
from bisenet_ros.images.resize import resize_image
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.segmenter import Segmenter
from bisenet_ros.model import file as model_file

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 200, 120
"""(width, height) of the image; differs from the resolution of ``tiny_model``, 128x64."""


@pytest.fixture(scope="module")
def segmenter(tiny_model: Path) -> Segmenter:
    return make_segmenter(model_file.load(tiny_model))


def make_segmenter(model: model_file.Model) -> Segmenter:
    return Segmenter(model, EngineOptions(backend="torch", device="cpu", precision="fp32"))


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    blocks = np.random.default_rng(3).integers(0, 256, (15, 25, 3), np.uint8)
    return blocks.repeat(8, axis=0).repeat(8, axis=1)


def agreement(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    assert a.shape == b.shape
    return float((a == b).mean())


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_scale_one_labels_as_the_segmenter(
    tiny_model: Path, image: NDArray[np.uint8], order: str
) -> None:
    model = model_file.load(tiny_model)
    model = replace(model, metadata=replace(model.metadata, channel_order=order))
    segmenter = make_segmenter(model)
    labels = MultiScale(segmenter, (1.0,), flip=False).labels(image)
    assert labels.dtype == np.uint8
    # Not bit by bit: another order of summation may change labels of undecided pixels.
    assert agreement(labels, segmenter.segment(image).labels) > 0.999
    assert len(np.unique(labels)) >= 3


def test_flipping_makes_labels_of_mirror_images_mirror_images(
    segmenter: Segmenter, image: NDArray[np.uint8]
) -> None:
    mirrored = np.ascontiguousarray(image[:, ::-1])
    plain = MultiScale(segmenter, (1.0,), flip=False)
    assert agreement(plain.labels(image), plain.labels(mirrored)[:, ::-1]) < 0.99
    flipped = MultiScale(segmenter, (1.0,), flip=True)
    assert agreement(flipped.labels(image), flipped.labels(mirrored)[:, ::-1]) > 0.995


def test_probabilities_are_averaged(segmenter: Segmenter, image: NDArray[np.uint8]) -> None:
    """Sum the probabilities of both sizes at 128x64 by hand, and return the labels."""
    both = MultiScale(segmenter, (0.5, 1.5), flip=False)
    assert both.sizes == [(64, 32), (192, 96)]
    network, metadata = segmenter.model.network, segmenter.model.metadata
    total = torch.zeros(1, 5, 64, 128)
    for size in both.sizes:
        x = torch.from_numpy(resize_image(image, size)).permute(2, 0, 1)[None] / 255
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (metadata.mean, metadata.std))
        with torch.inference_mode():
            logits = network.heads((x - mean) / std)[0]
            total += functional.interpolate(logits, (64, 128), mode="bilinear").softmax(1)
    expected = total.argmax(1)[0].to(torch.uint8).numpy()
    expected = cv2.resize(expected, SIZE, interpolation=cv2.INTER_NEAREST_EXACT)
    labels = both.labels(image)
    assert agreement(labels, np.asarray(expected)) > 0.999
    for scale in (0.5, 1.5):
        assert agreement(labels, MultiScale(segmenter, (scale,), False).labels(image)) < 0.99


def test_sizes_are_multiples_of_8_and_not_too_small(segmenter: Segmenter) -> None:
    assert MultiScale(segmenter, (0.8, 0.1), False).sizes == [(104, 48), (32, 32)]


def test_refusals(segmenter: Segmenter) -> None:
    for scales in ((), (0.0,), (-1.0,), (float("nan"),), (float("inf"),)):
        with pytest.raises(InferenceError, match="give one or more positive numbers"):
            MultiScale(segmenter, scales, flip=False)
