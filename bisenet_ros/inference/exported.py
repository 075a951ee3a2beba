"""Files for other programs, each run once and compared with PyTorch before it counts."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.inference.agreement import check_agreement
from bisenet_ros.inference.onnx_export import build_onnx
from bisenet_ros.model_file import Model
from bisenet_ros.staging import staged


def write_onnx(
    model: Model, path: Path, *, resolution: tuple[int, int], precision: str, confidence: bool
) -> float:
    """Write an ONNX file and run it in ONNX Runtime; see ``build_onnx``.

    Returns:
        The part 0..1 of the labels of a drawn street that PyTorch gives in fp32 as well.

    Raises:
        InferenceError: see ``build_onnx`` and ``check_agreement``; a file that was there stays.
        OSError: the file cannot be written.
    """
    graph = build_onnx(model, resolution=resolution, precision=precision, confidence=confidence)

    def run(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        import onnxruntime

        session = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])
        return np.asarray(session.run(["labels"], {"image": image[None]})[0][0], np.uint8)

    with staged(path) as written:
        written.write_bytes(graph.SerializeToString())
        return check_agreement(run, model, resolution, precision, str(path))


def write_openvino(
    model: Model, path: Path, *, resolution: tuple[int, int], precision: str, confidence: bool
) -> float:
    """Write an OpenVINO file, ``path``.xml, with its weights in .bin beside it, and run it.

    In fp16 the weights are stored in half the space; what the device computes in, OpenVINO asks
    for when it loads the file.

    Returns and raises: as ``write_onnx``.
    """
    import openvino

    core = openvino.Core()
    graph = build_onnx(
        model,
        resolution=resolution,
        precision="fp32" if precision == "fp16" else precision,
        confidence=confidence,
    )

    def run(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        engine = core.compile_model(written, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return np.asarray(engine(image[None])["labels"][0], np.uint8)

    with staged(path) as written:
        ir = core.read_model(graph.SerializeToString())
        openvino.save_model(ir, written, compress_to_fp16=precision == "fp16")
        return check_agreement(run, model, resolution, precision, str(path))
