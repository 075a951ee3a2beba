"""Data augmentation of training samples."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import IGNORE_ID
from bisenet_ros.images.resize import resize_image, resize_labels
from bisenet_ros.training.settings import Settings

Sample = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def augment(sample: Sample, settings: Settings, rng: np.random.Generator) -> Sample:
    """Scale, crop, flip and jitter a sample as ``settings`` say.

    Scales are relative to ``settings.resolution``, to which whole images are resized at
    inference, so objects have the same size and aspect ratio in training and at inference.

    Args:
        sample: Image uint8 [H,W,3] RGB and labels uint8 [H,W].
        settings: Augmentation settings.
        rng: Source of all random choices.

    Returns:
        Image and labels of size ``settings.crop``, both contiguous.
    """
    scale = float(rng.choice(settings.scales))
    width, height = (max(1, round(side * scale)) for side in settings.resolution)
    image, labels = sample
    resized = resize_image(image, (width, height)), resize_labels(labels, (width, height))
    image, labels = _crop(resized, settings.crop, rng)
    if settings.flip and rng.random() < 0.5:
        image, labels = image[:, ::-1], labels[:, ::-1]
    if settings.color_jitter:
        image = _relight(image, settings.color_jitter, rng)
    if settings.channel_jitter:
        image = _tint(image, settings.channel_jitter, rng)
    if settings.jpeg and rng.random() < settings.jpeg:
        image = _compress(image, rng)
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)


def cut_mix(sample: Sample, other: Sample, rng: np.random.Generator) -> None:
    """Replace a random rectangle of ``sample`` with the same rectangle of ``other``, in place.

    CutMix (arXiv 1905.04899) with the rectangles of arXiv 1906.01916, which applies it to
    segmentation: any aspect ratio, here covering 10 to 50 % of the area.

    Args:
        sample: Image uint8 [H,W,3] and labels uint8 [H,W]; modified.
        other: Sample of the same size.
        rng: Source of all random choices.
    """
    area = rng.uniform(0.1, 0.5)
    shape = rng.uniform()
    rectangle = []
    for side, share in zip(sample[1].shape, (area**shape, area ** (1 - shape)), strict=True):
        length = round(side * share)
        start = int(rng.integers(side - length + 1))
        rectangle.append(slice(start, start + length))
    for below, above in zip(sample, other, strict=True):
        below[tuple(rectangle)] = above[tuple(rectangle)]


def paste(sample: Sample, other: Sample, ids: Sequence[int], rng: np.random.Generator) -> None:
    """Copy the pixels of the classes ``ids`` from ``other`` onto ``sample``, in place.

    Each class is copied with probability 0.5. Like Copy-Paste (arXiv 2012.07177), but with whole
    classes instead of instances: it shows rare classes on more backgrounds.

    Args:
        sample: Image uint8 [H,W,3] and labels uint8 [H,W]; modified.
        other: Sample of the same size.
        ids: Class ids to copy.
        rng: Source of all random choices.
    """
    drawn = [one for one in ids if rng.random() < 0.5]
    above = np.isin(other[1], drawn)
    for target, source in zip(sample, other, strict=True):
        target[above] = source[above]


def _crop(sample: Sample, crop: tuple[int, int], rng: np.random.Generator) -> Sample:
    image, labels = sample
    height, width = labels.shape
    # Pad an image smaller than the crop at a random offset; crop a larger one at a random offset.
    out_image = np.full((crop[1], crop[0], 3), 127, np.uint8)
    out_labels = np.full((crop[1], crop[0]), IGNORE_ID, np.uint8)
    source, target = [], []
    for have, want in ((height, crop[1]), (width, crop[0])):
        size = min(have, want)
        cut = int(rng.integers(have - size + 1))
        place = int(rng.integers(want - size + 1))
        source.append(slice(cut, cut + size))
        target.append(slice(place, place + size))
    out_image[tuple(target)] = image[tuple(source)]
    out_labels[tuple(target)] = labels[tuple(source)]
    return out_image, out_labels


def _relight(
    image: NDArray[np.uint8], strength: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    pixels = image.astype(np.float32)
    gray = pixels.mean(axis=2, keepdims=True)
    pixels = gray + (pixels - gray) * np.float32(saturation)
    middle = np.float32(gray.mean())
    pixels = middle + (pixels - middle) * np.float32(contrast)
    relit: NDArray[np.uint8] = np.clip(pixels * np.float32(brightness), 0, 255).astype(np.uint8)
    return relit


def _tint(image: NDArray[np.uint8], strength: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    factors = rng.uniform(1 - strength, 1 + strength, 3).astype(np.float32)
    tinted: NDArray[np.uint8] = np.clip(image * factors, 0, 255).astype(np.uint8)
    return tinted


def _compress(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    # Imitate USB cameras and compressed topics, from barely to clearly visible artifacts.
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 101))]
    _, file = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    decoded: Any = cv2.imdecode(file, cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)
