"""The ROS-free interface to a model: an image of any size in, its labels out."""

import time
from dataclasses import dataclass

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


class Segmenter:
    """A model on a backend, for images of any size.

    Args:
        model: from ``load_model``.
        options: of the engine.

    Raises:
        InferenceError: this machine or model does not support the options.
    """

    def __init__(self, model: Model, options: EngineOptions = DEFAULTS) -> None:
        self.model = model
        self.resolution = options.resolution_for(model)
        self.backend = load_backend(model, options)
        width, height = self.resolution
        self._resized = np.zeros((height, width, 3), np.uint8)
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
        started = time.perf_counter()
        if fit == "letterbox":
            if size == "network":
                raise ValueError("labels of a letterbox have the size of the input")
            resized, seen = self._letterbox(image)
        else:
            # The resized image is returned only for size "network"; else its memory is reused.
            buffer = self._resized if size == "input" else None
            resized, seen = resize_image(image, self.resolution, buffer), EVERYTHING
        ready = time.perf_counter()
        outputs = tuple(output[seen] for output in self.backend.run(resized))
        done = time.perf_counter()
        if size == "input":
            target = image.shape[1], image.shape[0]
            outputs = tuple(resize_labels(output, target) for output in outputs)
            resized = image
        finished = time.perf_counter()
        times = StageTimes(1e3 * (ready - started), 1e3 * (done - ready), 1e3 * (finished - done))
        return Segmentation(resized, outputs[0], outputs[1] if outputs[1:] else None, times)

    def _letterbox(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], tuple[slice, slice]]:
        """Return the network's input, uint8 [h,w,3], and where in it the image is."""
        check_image(image)
        x, y, width, height = letterbox((image.shape[1], image.shape[0]), self.resolution)
        seen = slice(y, y + height), slice(x, x + width)
        self._resized[:] = self._mean_color
        self._resized[seen] = resize_image(image, (width, height))
        return self._resized, seen

    def close(self) -> None:
        """Free the engine's memory."""
        self.backend.close()
