"""The ROS-free interface to a model: an image of any size in, its labels out."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.images.resize import check_image, letterbox, resize_image, resize_labels
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.resolution import Fit, LabelSize
from bisenet_ros.inference.selection import load_backend
from bisenet_ros.model.file import Model

DEFAULTS = EngineOptions()

EVERYTHING = (slice(None), slice(None))


@dataclass(frozen=True)
class StageTimes:
    """Times of the stages of one image, in milliseconds.

    The fields define the names of the stages in tables, JSON and messages.
    """

    resize_ms: float
    inference_ms: float
    postprocess_ms: float


@dataclass(frozen=True)
class Segmentation:
    """The labels of one image.

    - ``image``: uint8 [H,W,3] RGB, the input or its resized copy, of the size of ``labels``.
    - ``labels``: uint8 [H,W], class ids.
    - ``confidence``: uint8 [H,W], 0..255 for probability 0..1; None unless requested.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    confidence: NDArray[np.uint8] | None
    times: StageTimes


class _Input(NamedTuple):
    """The network's input, uint8 [h,w,3], and the part of it that the image covers."""

    pixels: NDArray[np.uint8]
    seen: tuple[slice, slice]
    resize_ms: float


class Segmenter:
    """A model on a backend, for images of any size.

    - ``batch_size``: number of images that ``segment_batch`` takes at most.
    - ``resolution``: (width, height) of the network's input in pixels.

    Args:
        model: from ``load_model``.
        options: of the engine.

    Raises:
        InferenceError: this machine or model does not support the options.
    """

    def __init__(self, model: Model, options: EngineOptions = DEFAULTS) -> None:
        self.model = model
        self.batch_size = options.batch_size
        self.resolution = options.resolution_for(model)
        self.backend = load_backend(model, options)
        self._batch = np.zeros(options.input_shape(model), np.uint8)
        mean = model.metadata.mean
        rgb = mean if model.metadata.channel_order == "rgb" else mean[::-1]
        self._mean_color = np.array([round(255 * value) for value in rgb], np.uint8)

    def segment(
        self, image: NDArray[np.uint8], size: LabelSize = "input", fit: Fit = "stretch"
    ) -> Segmentation:
        """Label an image.

        The image is resized to ``resolution``. For size "input" the labels are resized back, see
        ``images.resize``.

        Args:
            image: uint8 [H,W,3] RGB.
            size: size of the labels: that of "input" or of "network".
            fit: whether the image is stretched to ``resolution``, or keeps its aspect between bars
                of the model's mean color, as a "letterbox".

        Raises:
            ValueError: ``image`` is not uint8 [H,W,3], or a letterbox is to have the size of the
                network, where no label belongs to the bars.
            InferenceError: the device failed, usually because memory ran out.
        """
        return self.segment_batch([image], size, fit)[0]

    def segment_batch(
        self,
        images: Sequence[NDArray[np.uint8]],
        size: LabelSize = "input",
        fit: Fit = "stretch",
    ) -> list[Segmentation]:
        """Label images in one run of the engine, whose time does not depend on their number.

        Args:
            images: 1 to ``batch_size`` images; they may differ in size. See ``segment``, also for
                the others.

        Returns:
            Their labels in the same order; ``inference_ms`` is the time of the run.

        Raises:
            ValueError: see ``segment``, or the number of images is out of range.
            InferenceError: see ``segment``.
        """
        if not 1 <= len(images) <= self.batch_size:
            raise ValueError(f"there are {len(images)} images; give 1 to {self.batch_size}")
        if fit == "letterbox" and size == "network":
            raise ValueError("labels of a letterbox have the size of the input")
        inputs = [self._fit(image, place, size, fit) for place, image in enumerate(images)]
        started = time.perf_counter()
        outputs = self.backend.run(self._batch_of(inputs))
        inference_ms = 1e3 * (time.perf_counter() - started)
        return [
            self._segmentation(
                image, inputs[place], [o[place] for o in outputs], size, inference_ms
            )
            for place, image in enumerate(images)
        ]

    def _fit(self, image: NDArray[np.uint8], place: int, size: LabelSize, fit: Fit) -> _Input:
        started = time.perf_counter()
        buffer, seen = self._batch[place], EVERYTHING
        if fit == "letterbox":
            check_image(image)
            x, y, width, height = letterbox((image.shape[1], image.shape[0]), self.resolution)
            seen = slice(y, y + height), slice(x, x + width)
            pixels = buffer
            pixels[:] = self._mean_color
            pixels[seen] = resize_image(image, (width, height))
        else:
            # For size "network" the pixels are returned, so they cannot be the buffer.
            pixels = resize_image(image, self.resolution, buffer if size == "input" else None)
        return _Input(pixels, seen, 1e3 * (time.perf_counter() - started))

    def _batch_of(self, inputs: Sequence[_Input]) -> NDArray[np.uint8]:
        """Return the engine's input; places without an image have what they had before."""
        if self.batch_size == 1:
            return inputs[0].pixels[None]  # without a copy
        for buffer, each in zip(self._batch, inputs, strict=False):
            if not np.may_share_memory(each.pixels, buffer):
                buffer[:] = each.pixels
        return self._batch

    def _segmentation(
        self,
        image: NDArray[np.uint8],
        network_input: _Input,
        outputs: Sequence[NDArray[np.uint8]],
        size: LabelSize,
        inference_ms: float,
    ) -> Segmentation:
        started = time.perf_counter()
        outputs = [output[network_input.seen] for output in outputs]
        if size == "input":
            target = image.shape[1], image.shape[0]
            outputs = [resize_labels(output, target) for output in outputs]
        postprocess_ms = 1e3 * (time.perf_counter() - started)
        return Segmentation(
            image if size == "input" else network_input.pixels,
            outputs[0],
            outputs[1] if outputs[1:] else None,
            StageTimes(network_input.resize_ms, inference_ms, postprocess_ms),
        )

    def close(self) -> None:
        """Free the engine's memory."""
        self.backend.close()
