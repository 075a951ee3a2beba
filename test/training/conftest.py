"""A small dataset, and one thread for all tests."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bisenet_ros.synthetic import CLASS_NAMES

Sample = tuple[NDArray[np.uint8], NDArray[np.uint8]]
Write = Callable[[list[Sample]], Path]


@pytest.fixture(autouse=True, scope="module")
def on_one_thread(one_thread: None) -> None:
    """All of these tests are."""


@pytest.fixture
def write_folder(tmp_path: Path) -> Write:
    """Writes samples as a dataset of two classes, losslessly; returns its root."""

    def write(samples: list[Sample]) -> Path:
        root = tmp_path / "data"
        for name in ("images", "labels"):
            (root / name).mkdir(parents=True)
        (root / "classes.txt").write_text("0 dark 10 20 30\n1 bright 200 210 220\n")
        for number, (image, labels) in enumerate(samples):
            assert cv2.imwrite(str(root / "images" / f"{number:03}.png"), image[..., ::-1])
            assert cv2.imwrite(str(root / "labels" / f"{number:03}.png"), labels)
        return root

    return write


@pytest.fixture
def two_tone(write_folder: Write) -> Path:
    """Five noisy 64x64 images, dark and bright in blocks of 16 pixels; labels say which."""
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(5):
        labels = rng.integers(0, 2, (4, 4), np.uint8).repeat(16, axis=0).repeat(16, axis=1)
        noise = rng.integers(0, 40, (64, 64, 3), np.uint8)
        samples.append((np.uint8(40) + np.uint8(150) * labels[..., None] + noise, labels))
    return write_folder(samples)


@pytest.fixture
def street_like(two_tone: Path) -> Path:
    """``two_tone`` with the class list of the synthetic street, so that they can be mixed."""
    lines = [f"{id_} {name} {id_} 0 0\n" for id_, name in enumerate(CLASS_NAMES)]
    (two_tone / "classes.txt").write_text("".join(lines))
    return two_tone
