"""A tiny INT8 graph with known results, to test whether a device computes INT8 exactly.

Kernels for CPUs without VNNI multiply unsigned by signed bytes and add pairs of products in 16
bits, which saturates if both factors are large (oneDNN, "Nuances of int8 computations"). 7-bit
weights keep every such sum in range. Which kernels run depends on CPU, library and version, so this
runs them instead of looking in a table.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

WEIGHT_BITS = (8, 7)
"""Bit widths of INT8 weights, in the order in which they are tried."""

_CHANNELS, _SIZE = 32, 8
_LARGEST = {8: 127, 7: 64}
"""Largest magnitude of a weight by bit width, as in ONNX Runtime's quantizer."""

RunGraph = Callable[[bytes, NDArray[np.uint8]], Sequence[NDArray[np.float32]]]
"""Compiles an ONNX file and returns its outputs, float32, for its input, uint8."""


def exact_weight_bits(run: RunGraph) -> int | None:
    """Return the largest bit width of INT8 weights that a device computes exactly: 8, 7 or None.

    Args:
        run: compiles and runs a graph on the device, with the library and options of the engine.
    """
    return next((bits for bits in WEIGHT_BITS if _is_exact(run, bits)), None)


def probe_graph(weight_bits: int) -> bytes:
    """Return the probe as ONNX: 3x3, 1x1 and depthwise convolutions of the largest magnitudes.

    Input "image" uint8 [1,32,8,8]; six outputs float32 [1,32,8,8]. Three have signed activations;
    three have activations after a ReLU, which some engines treat as unsigned.

    Args:
        weight_bits: 8 or 7.
    """
    values = [
        numpy_helper.from_array(np.array(1, np.float32), "scale"),
        numpy_helper.from_array(np.array(0, np.int8), "zero"),
        numpy_helper.from_array(np.ones(_CHANNELS, np.float32), "scales"),
        numpy_helper.from_array(np.zeros(_CHANNELS, np.int8), "zeros"),
        numpy_helper.from_array(np.array(128, np.float32), "offset"),
        *(numpy_helper.from_array(w, name) for name, w in _weights(weight_bits).items()),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["pixels", "offset"], ["signed"]),
        helper.make_node("Relu", ["signed"], ["unsigned"]),
        *(
            helper.make_node("DequantizeLinear", [name, "scales", "zeros"], [f"{name}_dq"], axis=0)
            for name in _weights(weight_bits)
        ),
    ]
    outputs = []
    for activation in ("signed", "unsigned"):
        quantized = [activation, "scale", "zero"]
        nodes += [
            helper.make_node("QuantizeLinear", quantized, [f"{activation}_q"]),
            helper.make_node(
                "DequantizeLinear", [f"{activation}_q", *quantized[1:]], [f"{activation}_dq"]
            ),
        ]
        for name in _weights(weight_bits):
            outputs.append(f"{name}_{activation}")
            nodes.append(_convolution(name, f"{activation}_dq", outputs[-1]))
    shape = [1, _CHANNELS, _SIZE, _SIZE]
    graph = helper.make_graph(
        nodes,
        "int8_probe",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs],
        values,
    )
    opset = helper.make_opsetid("", 20)
    content: bytes = helper.make_model(
        graph, opset_imports=[opset], ir_version=9
    ).SerializeToString()
    return content


def _weights(bits: int) -> dict[str, NDArray[np.int8]]:
    """Return int8 weights by name: the largest value in even channels, the smallest in odd."""
    signs = np.where(np.arange(_CHANNELS) % 2, -1, 1)[:, None, None, None]
    shapes = {"dense": (_CHANNELS, 3, 3), "pointwise": (_CHANNELS, 1, 1), "depthwise": (1, 3, 3)}
    return {
        name: (_LARGEST[bits] * signs * np.ones((_CHANNELS, *shape))).astype(np.int8)
        for name, shape in shapes.items()
    }


def _convolution(weights: str, activation: str, output: str) -> NodeProto:
    return helper.make_node(
        "Conv",
        [activation, f"{weights}_dq"],
        [output],
        pads=[0 if weights == "pointwise" else 1] * 4,
        group=_CHANNELS if weights == "depthwise" else 1,
    )


def _is_exact(run: RunGraph, bits: int) -> bool:
    """Return whether sums of products with activations of 127 and of -127 are exact."""
    graph = probe_graph(bits)
    for pixel in (255, 1):
        image = np.full((1, _CHANNELS, _SIZE, _SIZE), pixel, np.uint8)
        outputs = run(graph, image)
        activations = (pixel - 128, max(pixel - 128, 0))
        expected = [
            activation * weights[:, 0, 0, 0].astype(np.int64) * weights[0].size
            for activation in activations
            for weights in _weights(bits).values()
        ]
        for output, sums in zip(outputs, expected, strict=True):
            # Sums at the border have fewer terms. float32 is exact for integers below 2**24.
            if not np.array_equal(output[0, :, _SIZE // 2, _SIZE // 2], sums):
                return False
    return True
