"""INT8: an exported graph with Q/DQ nodes, from the calibration that the model file carries.

No data is needed here, and the result depends on nothing but the weights and the calibration.
"""

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData

from bisenet_ros.errors import InferenceError, quoted
from bisenet_ros.model.file import Model

FLOAT_LAYERS = ("semantic.stem.fuse.0", "head.2")
"""Convolutions that stay in float, each for a reason that was measured; see docs/engines.md."""

_PREFIX, _SUFFIX = "network.", ".weight"
"""Around a convolution's name in the name of its weights, in ``DeployModule`` and so in the
graph."""


def quantize(graph: ModelProto, model: Model, weight_bits: int) -> ModelProto:
    """``graph`` with the inputs and weights of its convolutions in INT8.

    What TensorRT and OpenVINO both take: signed, zero points 0, a scale for each output channel
    of the weights and one for each activation, biases in float. Scales have the type of the
    weights, so that a graph in fp16 stays one; there, grouped convolutions (0.4 % of the
    multiply-adds) stay in fp16, since TensorRT wants groups of a multiple of 4 channels in INT8
    (NvInfer.h, setNbGroups). What is between convolutions is computed in float, of values some
    of which were rounded for a convolution; engines fuse what they can and keep it in INT8.

    Args:
        graph: of ``DeployModule`` with ``model``, fp32 or fp16, from ``onnx_export``; it is
        changed.
        model: whose ``metadata.calibration`` is used.
        weight_bits: 8, or 7 for kernels that saturate with 8 (``int8_probe``): the same type, with
            values from -64 to 64.

    Raises:
        InferenceError: the model has no calibration, or it is one of other layers.
    """
    ranges = model.metadata.calibration
    if not ranges:
        raise InferenceError(
            f"model {quoted(model.name)} has no calibration, which int8 needs: run 'bisenet "
            "calibrate --model FILE --data DIR' with its training images, or use another precision"
        )
    convolutions = {_layer(node): node for node in graph.graph.node if node.op_type == "Conv"}
    unmatched = sorted(convolutions.keys() ^ ranges.keys())
    if unmatched:
        raise InferenceError(
            f"the calibration of model {quoted(model.name)} does not fit its layers "
            f"({quoted(unmatched[0])} is in only one of the two; {len(unmatched)} such names): "
            "run 'bisenet calibrate --model FILE --data DIR' again"
        )
    weights = {each.name: each for each in graph.graph.initializer}
    magnitudes: dict[str, float] = {}
    dtype = numpy_helper.to_array(weights[next(iter(convolutions.values())).input[1]]).dtype
    quantized = {
        name: node
        for name, node in convolutions.items()
        if name not in FLOAT_LAYERS and not (dtype == np.float16 and _groups(node) > 1)
    }
    for name, node in quantized.items():
        tensor = node.input[0]
        magnitudes[tensor] = max(ranges[name], magnitudes.get(tensor, 0.0))
    quantizer = QDQQuantizer(
        graph,
        per_channel=True,
        reduce_range=weight_bits == 7,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=TensorsData(
            CalibrationMethod.MinMax,
            {
                tensor: TensorData(lowest=np.array(-m, dtype), highest=np.array(m, dtype))
                for tensor, m in magnitudes.items()
            },
        ),
        nodes_to_quantize=[node.name for node in quantized.values()],
        nodes_to_exclude=[],
        op_types_to_quantize=["Conv"],
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            # Of 255 steps. Up to onnxruntime 1.31 a scale below the smallest normal number, as one
            # in fp16 of a channel of small weights can be, became 1, and all its weights 0.
            "MinimumRealRange": 256 * float(np.finfo(dtype).tiny),
            # Q belongs before the next convolution: an engine fuses ReLU and addition with this.
            "OpTypesToExcludeOutputQuantization": ["Conv"],
        },
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    result: ModelProto = quantizer.model.model
    return result


def _groups(convolution: NodeProto) -> int:
    return next((a.i for a in convolution.attribute if a.name == "group"), 1)


def _layer(convolution: NodeProto) -> str:
    """The name in ``model.network`` of the module that this node came from."""
    weights: str = convolution.input[1]
    return weights.removeprefix(_PREFIX).removesuffix(_SUFFIX)
