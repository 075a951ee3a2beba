"""``Deployed`` as an ONNX file, for engines that read one."""

import io
import os
import tempfile
import warnings
from pathlib import Path

import onnx
import torch
from onnx import ModelProto, TensorProto, helper

from bisenet_ros.inference.deploy import Deployed
from bisenet_ros.inference.errors import InferenceError, torch_memory_errors
from bisenet_ros.model_file import Model

OPSET = 20
"""The highest of TensorRT 10.3."""

ONNX_PRECISIONS = ("fp32", "fp16", "int8")


def export_onnx(
    model: Model,
    path: Path,
    *,
    resolution: tuple[int, int],
    precision: str,
    confidence: bool = False,
) -> None:
    """Write ``build_onnx``'s graph to ``path``, atomically.

    Raises:
        InferenceError: see ``build_onnx``.
        OSError: the file cannot be written.
    """
    graph = build_onnx(model, resolution=resolution, precision=precision, confidence=confidence)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(graph.SerializeToString())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def build_onnx(
    model: Model, *, resolution: tuple[int, int], precision: str, confidence: bool = False
) -> ModelProto:
    """``Deployed`` of ``model`` as an ONNX graph with all sizes fixed.

    Input "image" uint8 [1,H,W,3]; outputs "labels" and, if asked for, "confidence", uint8 [1,H,W].

    Args:
        model: what to export.
        resolution: (W, H), divisible by 8.
        precision: of the network inside: fp32, fp16, or int8, which needs a calibration in the
            model. Normalisation and the last step are in fp32 always.
        confidence: also give the confidence.

    Raises:
        InferenceError: there is no such precision, no calibration, or too little memory: the
            network runs once.
    """
    if precision not in ONNX_PRECISIONS:
        raise InferenceError(
            f"precision '{precision}' is not for ONNX files; use {', '.join(ONNX_PRECISIONS)}"
        )
    dtype = torch.float16 if precision == "fp16" else torch.float32
    deployed = Deployed(model, confidence=confidence, dtype=dtype).eval()
    graph = _trace(deployed, resolution, ["labels", "confidence"] if confidence else ["labels"])
    if precision == "int8":
        from bisenet_ros.inference.quantization import quantize

        graph = quantize(graph, model)
    onnx.checker.check_model(graph, full_check=True)
    return graph


def _trace(deployed: Deployed, resolution: tuple[int, int], outputs: list[str]) -> ModelProto:
    width, height = resolution
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch_memory_errors("cpu"):
        # The newer exporter needs onnxscript, and gives nodes no names to tell layers by.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            deployed,
            (torch.zeros(1, height, width, 3, dtype=torch.uint8),),
            buffer,  # type: ignore[arg-type]  # only the newer exporter wants a path
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=outputs,
        )
    model = onnx.load_from_string(buffer.getvalue())
    del model.graph.value_info[:]  # has sizes that the exporter could not follow
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    _fix_sizes(model)
    return model


def _fix_sizes(model: ModelProto) -> None:
    """Put the sizes that ``Resize`` reaches into the file, instead of nodes that compute them."""
    graph = model.graph
    shapes = {
        info.name: [d.dim_value for d in info.type.tensor_type.shape.dim]
        for info in (*graph.value_info, *graph.output)
    }
    for node in graph.node:
        if node.op_type == "Resize":
            sizes = helper.make_tensor(
                f"{node.name}/sizes", TensorProto.INT64, [4], shapes[node.output[0]]
            )
            graph.initializer.append(sizes)
            del node.input[1:]
            node.input.extend(["", "", sizes.name])
    used = {name for node in graph.node for name in node.input} | {o.name for o in graph.output}
    while dead := [node for node in graph.node if not used.intersection(node.output)]:
        for node in dead:
            graph.node.remove(node)
        used = {name for node in graph.node for name in node.input} | {o.name for o in graph.output}
