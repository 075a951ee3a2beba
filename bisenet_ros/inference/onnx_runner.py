"""ONNX files as they are defined, by ONNX Runtime."""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class ExactRunner:
    """Labels uint8 [H,W] that an ONNX file of ``onnx_export`` gives for an image uint8 [H,W,3].

    Without any graph optimization: with them ONNX Runtime, too, fuses INT8 into kernels that
    saturate on CPUs without VNNI. The session is made at the first image.
    """

    def __init__(self, graph: bytes) -> None:
        self._graph = graph

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(self._session.run(["labels"], {"image": image[None]})[0][0], np.uint8)

    @cached_property
    def _session(self) -> "InferenceSession":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(
            self._graph, options, providers=["CPUExecutionProvider"]
        )
