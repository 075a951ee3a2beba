"""Export of ``DeployModule`` to ONNX, and exact evaluation of the exported graph."""

import io
import warnings
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from bisenet_ros.deploy.deploy_module import DeployModule
from bisenet_ros.deploy.precision import ONNX_PRECISIONS
from bisenet_ros.errors import InferenceError, engine_errors, quoted
from bisenet_ros.model.file import Model

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

OPSET = 20
"""The newest opset that TensorRT 10.3 supports."""


def build_onnx(
    model: Model,
    *,
    resolution: tuple[int, int],
    precision: str,
    batch_size: int = 1,
    confidence: bool = False,
    fp16_rest: bool = False,
    weight_bits: int = 8,
) -> ModelProto:
    """Export ``DeployModule`` of ``model`` to an ONNX graph with fixed sizes.

    Input "image" uint8 [N,H,W,3]; outputs "labels" and optionally "confidence", uint8 [N,H,W].

    Args:
        model: what to export.
        resolution: (width, height) in pixels, divisible by 8.
        precision: of the network: fp32, fp16, or int8, which requires a calibration in the model.
            Normalization, upsampling and argmax are always in fp32.
        batch_size: N, number of images.
        confidence: also export the confidence.
        fp16_rest: with int8, compute in fp16 instead of fp32 what is not in INT8, for GPUs.
        weight_bits: with int8, see ``quantize``.

    Raises:
        InferenceError: the precision is unknown, the model has no calibration, or memory ran out
            (the exporter runs the network once).
    """
    if precision not in ONNX_PRECISIONS:
        raise InferenceError(
            f"precision {quoted(precision)} is not supported by ONNX files; use "
            f"{', '.join(ONNX_PRECISIONS)}"
        )
    in_fp16 = precision == "fp16" or (precision == "int8" and fp16_rest)
    dtype = torch.float16 if in_fp16 else torch.float32
    deployed = DeployModule(model, confidence=confidence, dtype=dtype).eval()
    width, height = resolution
    images = torch.zeros(batch_size, height, width, 3, dtype=torch.uint8)
    graph = _trace(deployed, images, ["labels", "confidence"] if confidence else ["labels"])
    if precision == "int8":
        from bisenet_ros.deploy.quantization import quantize

        graph = quantize(graph, model, weight_bits)
    onnx.checker.check_model(graph, full_check=True)
    return graph


def _trace(deployed: DeployModule, images: torch.Tensor, outputs: list[str]) -> ModelProto:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), engine_errors("torch", "cpu"):
        # The newer exporter needs onnxscript, and its node names do not identify layers.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            deployed,
            (images,),
            buffer,  # type: ignore[arg-type]  # only the newer exporter wants a path
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=outputs,
        )
    model = onnx.load_from_string(buffer.getvalue())
    del model.graph.value_info[:]  # inferred below, since the exporter's is incomplete
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    _simplify(model.graph)
    return model


def _simplify(graph: GraphProto) -> None:
    """Fold constants that the exporter leaves to be computed, and drop nodes without effect."""
    known = (*graph.value_info, *graph.input, *graph.output)
    tensors = {info.name: info.type.tensor_type for info in known}
    types = {name: tensor.elem_type for name, tensor in tensors.items()}
    nodes: list[NodeProto] = []
    same: dict[str, str] = {}
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        output = node.output[0]
        if node.op_type == "Constant":
            graph.initializer.append(node.attribute[0].t)
            graph.initializer[-1].name = output
        elif node.op_type == "Identity" or (
            node.op_type == "Cast" and types[node.input[0]] == types[output]
        ):
            same[output] = node.input[0]
        else:
            nodes.append(node)
        if node.op_type == "Resize":
            shape = [dimension.dim_value for dimension in tensors[output].shape.dim]
            sizes = helper.make_tensor(f"{node.name}/sizes", TensorProto.INT64, [4], shape)
            graph.initializer.append(sizes)
            node.input[:] = [node.input[0], "", "", sizes.name]
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    values = [each for each in graph.initializer if each.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(values)


class ExactRunner:
    """Run a graph of ``build_onnx`` in ONNX Runtime without optimizations.

    The optimizations would fuse INT8 into kernels that saturate on CPUs without VNNI. The session
    is created at the first image.

    Args:
        graph: content of the ONNX file.
    """

    def __init__(self, graph: bytes) -> None:
        self._graph = graph

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return labels uint8 [N,H,W] of images uint8 [N,H,W,3] RGB."""
        return np.asarray(self._session.run(["labels"], {"image": images})[0], np.uint8)

    @cached_property
    def _session(self) -> "InferenceSession":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(
            self._graph, options, providers=["CPUExecutionProvider"]
        )
