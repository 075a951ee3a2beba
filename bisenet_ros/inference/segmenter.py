"""The ROS-free class between a user and the network: any image in, its labels out."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.images.resize import resize_image, resize_labels
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.resolution import LabelSize
from bisenet_ros.inference.selection import load_backend
from bisenet_ros.model.file import Model

DEFAULTS = EngineOptions()


@dataclass(frozen=True)
class StageTimes:
    """Where the time of one image went, in milliseconds.

    The stages are named here alone: tables, JSON and messages take the names of the fields.
    """

    resize_ms: float
    inference_ms: float
    postprocess_ms: float


@dataclass(frozen=True)
class Segmentation:
    """The labels of one image.

    - ``image``: uint8 [H,W,3] RGB, the input or its resized copy, whose pixels ``labels`` names.
    - ``labels``: uint8 [H,W], class ids.
    - ``confidence``: uint8 [H,W], 0..255 for probability 0..1; None unless asked for.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    confidence: NDArray[np.uint8] | None
    times: StageTimes


class Segmenter:
    """A model on a backend, for images of any size.

    Args:
        model: from ``model_file.load``.
        options: of the engine.

    Raises:
        InferenceError: naming what this machine or model cannot serve, and what it can.
    """

    def __init__(self, model: Model, options: EngineOptions = DEFAULTS) -> None:
        self.model = model
        self.resolution = options.resolution_for(model)
        self.backend = load_backend(model, options)
        width, height = self.resolution
        self._resized = np.zeros((height, width, 3), np.uint8)

    def segment(self, image: NDArray[np.uint8], size: LabelSize = "input") -> Segmentation:
        """Label ``image``, uint8 [H,W,3] RGB, at its own size or at the network's.

        The image is resized to ``resolution``, and the labels back, see ``resizing``.

        Raises:
            ValueError: ``image`` is none.
            InferenceError: the device failed, mostly for want of memory.
        """
        started = time.perf_counter()
        # What is resized for the network alone needs no memory of its own.
        buffer = self._resized if size == "input" else None
        resized = resize_image(image, self.resolution, buffer)
        ready = time.perf_counter()
        outputs = self.backend.run(resized)
        done = time.perf_counter()
        if size == "input":
            target = image.shape[1], image.shape[0]
            outputs = tuple(resize_labels(output, target) for output in outputs)
            resized = image
        finished = time.perf_counter()
        times = StageTimes(1e3 * (ready - started), 1e3 * (done - ready), 1e3 * (finished - done))
        return Segmentation(resized, outputs[0], outputs[1] if outputs[1:] else None, times)

    def close(self) -> None:
        """Give back the engine's memory."""
        self.backend.close()
