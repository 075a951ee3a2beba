"""INT8 quantization of an exported graph with Q/DQ nodes.

It uses the calibration in the model file and no data: the result depends only on weights and
calibration.
"""

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData

from bisenet_ros.errors import InferenceError, quoted
from bisenet_ros.model.file import Model

FLOAT_LAYERS = ("semantic.stem.fuse.0", "head.2")
"""Convolutions that stay in float; docs/engines.md has the measurements behind each."""

_PREFIX, _SUFFIX = "network.", ".weight"
"""Parts of the names of weights in ``DeployModule`` around the name of the convolution."""


def quantize(graph: ModelProto, model: Model, weight_bits: int) -> ModelProto:
    """Quantize the inputs and weights of convolutions to INT8, and return the graph.

    The form that both TensorRT and OpenVINO accept: signed with zero point 0, weights scaled per
    output channel, activations per tensor, biases in float. Scales have the dtype of the weights,
    so an fp16 graph stays in fp16. In such a graph grouped convolutions (0.4 % of the
    multiply-adds) stay in fp16, since TensorRT requires a multiple of 4 channels per group in INT8
    (NvInfer.h, setNbGroups). Operations between convolutions are in float; engines fuse them into
    INT8 kernels where they can.

    Args:
        graph: ``DeployModule`` of ``model`` in fp32 or fp16, exported by ``build_onnx``; it is
            modified.
        model: has the ``metadata.calibration`` to use.
        weight_bits: 8; or 7, with values in -64..64, for kernels that saturate with 8
            (``int8_probe``).

    Raises:
        InferenceError: the model has no calibration, or it does not match the layers.
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
            # Range of 255 steps. Up to onnxruntime 1.31, a scale below the smallest normal number,
            # possible in fp16 with small weights, became 1 and the channel's weights all 0.
            "MinimumRealRange": 256 * float(np.finfo(dtype).tiny),
            # Q belongs before the next convolution, so that engines fuse ReLU and addition here.
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
    """Return the name of the node's module in ``model.network``."""
    weights: str = convolution.input[1]
    return weights.removeprefix(_PREFIX).removesuffix(_SUFFIX)
