"""Export to ONNX and OpenVINO files, each compared with PyTorch before it is written."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.atomic import atomic_write
from bisenet_ros.deploy.onnx import ExactRunner, build_onnx
from bisenet_ros.deploy.parity import Parity, ParityCheck
from bisenet_ros.errors import cause
from bisenet_ros.model.file import Model

WEIGHT_BITS = 7
"""Bits of INT8 weights. The file may run on a CPU without VNNI, where kernels of ONNX Runtime and
OpenVINO saturate with 8 bits."""


def write_onnx(
    model: Model,
    path: str | Path,
    *,
    resolution: tuple[int, int],
    precision: str,
    batch_size: int = 1,
    confidence: bool,
    check: ParityCheck | None = None,
) -> Parity:
    """Write an ONNX file atomically, after its labels agree with PyTorch's in ONNX Runtime.

    Args:
        model: what to export.
        path: file to create or replace.
        resolution: (width, height) of the input, divisible by 8.
        precision: one of ``ONNX_PRECISIONS``, see ``build_onnx``.
        batch_size: number of images that the file labels at once.
        confidence: also export the confidence.
        check: what the labels are compared with; None for a ``ParityCheck`` of ``model``.

    Returns:
        The agreement of its labels of the reference images with PyTorch's in fp32.

    Raises:
        InferenceError: see ``build_onnx`` and ``ParityCheck``; an existing file is kept.
        OSError: the file cannot be written.
    """
    check = check or ParityCheck(model, resolution, batch_size)
    graph = build_onnx(
        model,
        resolution=resolution,
        precision=precision,
        batch_size=batch_size,
        confidence=confidence,
        weight_bits=WEIGHT_BITS,
    ).SerializeToString()
    with atomic_write(path) as written:
        written.write_bytes(graph)
        return check(ExactRunner(graph), precision, str(path))


def write_openvino(
    model: Model,
    path: str | Path,
    *,
    resolution: tuple[int, int],
    precision: str,
    batch_size: int = 1,
    confidence: bool,
    check: ParityCheck | None = None,
) -> Parity:
    """Write an OpenVINO .xml file, and its weights to a .bin file beside it, atomically.

    fp16 halves the size of the weights; the precision of the computation is an option of loading
    the file. Arguments, result and errors are those of ``write_onnx``.
    """
    import openvino

    from bisenet_ros.deploy.openvino_core import openvino_core

    check = check or ParityCheck(model, resolution, batch_size)
    core = openvino_core()
    graph = build_onnx(
        model,
        resolution=resolution,
        precision="fp32" if precision == "fp16" else precision,
        batch_size=batch_size,
        confidence=confidence,
        weight_bits=WEIGHT_BITS,
    ).SerializeToString()
    network = core.read_model(graph)

    with atomic_write(path) as written:
        try:
            openvino.save_model(network, written, compress_to_fp16=precision == "fp16")
        except RuntimeError as error:  # how OpenVINO tells of a full disk
            raise OSError(f"cannot write {path}: {cause(error)}; is the disk full?") from error
        engine = core.compile_model(written, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

        def run(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
            return np.asarray(engine(images)["labels"], np.uint8)

        exact = ExactRunner(graph) if precision == "int8" else None
        return check(run, precision, str(path), exact)
