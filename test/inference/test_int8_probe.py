"""The probe for the bit width of INT8 weights."""

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from bisenet_ros.inference.int8_probe import RunGraph, exact_weight_bits, probe_graph


def exactly(graph: bytes, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(None, {"image": image})]


TERMS = (32 * 9, 32, 9) * 2
"""Number of products that each output of the graph sums."""


def saturating(limit: int, index: int) -> RunGraph:
    """Return a device that saturates pairs of products at ``limit`` in one output."""

    def run(graph: bytes, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        found = exactly(graph, image)
        most = np.float32(TERMS[index] / 2 * limit)
        found[index] = found[index].clip(-most, most)
        return found

    return run


def test_what_is_exact_takes_8_bits() -> None:
    assert exact_weight_bits(exactly) == 8


@pytest.mark.parametrize("output", range(6))
def test_one_kernel_that_saturates_is_enough(output: int) -> None:
    assert exact_weight_bits(saturating(2 * 127 * 127 - 1, output)) == 7
    assert exact_weight_bits(saturating(2 * 127 * 64 - 1, output)) is None


def test_sums_of_the_graph_are_those_of_integers() -> None:
    image = np.full((1, 32, 8, 8), 255, np.uint8)
    middle = [output[0, :2, 4, 4].tolist() for output in exactly(probe_graph(8), image)]
    one = 127 * 127
    assert middle == 2 * [
        [32 * 9 * one, -32 * 9 * one],
        [32 * one, -32 * one],
        [9 * one, -9 * one],
    ]
