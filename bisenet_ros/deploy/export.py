"""Files for other programs, each run once and compared with PyTorch before it counts."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.atomic import atomic_write
from bisenet_ros.deploy.onnx import ExactRunner, build_onnx
from bisenet_ros.deploy.parity import Parity, ParityCheck
from bisenet_ros.model.file import Model

WEIGHT_BITS = 7
"""Of INT8 weights: nobody knows the CPU that a file will run on, and with 8 bits the kernels of
ONNX Runtime and OpenVINO for CPUs without VNNI saturate."""


def write_onnx(
    model: Model, path: str | Path, *, resolution: tuple[int, int], precision: str, confidence: bool
) -> Parity:
    """Write an ONNX file and run it in ONNX Runtime; see ``build_onnx``.

    Returns:
        How its labels of the reference images compare with PyTorch's in fp32.

    Raises:
        InferenceError: see ``build_onnx`` and ``ParityCheck``; a file that was there stays.
        OSError: the file cannot be written.
    """
    graph = build_onnx(
        model,
        resolution=resolution,
        precision=precision,
        confidence=confidence,
        weight_bits=WEIGHT_BITS,
    ).SerializeToString()
    with atomic_write(path) as written:
        written.write_bytes(graph)
        return ParityCheck(model, resolution)(ExactRunner(graph), precision, str(path))


def write_openvino(
    model: Model, path: str | Path, *, resolution: tuple[int, int], precision: str, confidence: bool
) -> Parity:
    """Write an OpenVINO file, ``path``.xml, with its weights in .bin beside it, and run it.

    In fp16 the weights are stored in half the space; what the device computes in, OpenVINO asks
    for when it loads the file.

    Returns and raises: as ``write_onnx``.
    """
    import openvino

    from bisenet_ros.deploy.openvino_core import openvino_core

    core = openvino_core()
    graph = build_onnx(
        model,
        resolution=resolution,
        precision="fp32" if precision == "fp16" else precision,
        confidence=confidence,
        weight_bits=WEIGHT_BITS,
    ).SerializeToString()

    with atomic_write(path) as written:
        openvino.save_model(core.read_model(graph), written, compress_to_fp16=precision == "fp16")
        engine = core.compile_model(written, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

        def run(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
            return np.asarray(engine(image[None])["labels"][0], np.uint8)

        exact = ExactRunner(graph) if precision == "int8" else None
        return ParityCheck(model, resolution)(run, precision, str(path), exact)
