"""``bisenet export``: export a model for other programs or machines."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bisenet_ros.cli.engine_arguments import (
    add_batch_size_argument,
    add_model_argument,
    add_resolution_argument,
)
from bisenet_ros.cli.output_files import check_output_files
from bisenet_ros.deploy.precision import ONNX_PRECISIONS
from bisenet_ros.errors import OutputError, UsageError

if TYPE_CHECKING:
    from bisenet_ros.model.file import Model

TENSORRT = "tensorrt"
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument(
        "--format",
        choices=(*SUFFIXES, TENSORRT),
        required=True,
        help="format to write; tensorrt: TensorRT for RTX engines for the GPUs of --gpu",
    )
    add_model_argument(parser)
    parser.add_argument(
        "--precision",
        choices=ONNX_PRECISIONS,
        help="arithmetic of the network (default: fp32; for tensorrt fp16, and also int8 if the "
        "model is calibrated)",
    )
    add_resolution_argument(parser)
    parser.add_argument(
        "--confidence", action="store_true", help="add confidence as a second output"
    )
    add_batch_size_argument(parser)
    parser.add_argument(
        "--gpu",
        nargs="+",
        metavar="SM",
        help="compute capabilities to build TensorRT engines for, e.g. sm86 sm89; no GPU is "
        "needed to build them",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="file to write (default: MODEL_WxH_PRECISION with the format's suffix); for tensorrt "
        "a folder to use as the node's parameter engine_cache (default: MODEL_WxH_engines)",
    )


def run(args: argparse.Namespace) -> int:
    """Export the model.

    Raises:
        UsageError: Options do not match the format.
        OutputError: A file cannot be written.
        EngineCacheError: The folder of engines is writable by other users.
        ModelFileError: The model file cannot be used.
        InferenceError: The export is not supported, or its labels differ from PyTorch's beyond the
            tolerance of the precision.
    """
    from bisenet_ros.model import file as model_file
    from bisenet_ros.resources import model_path

    if args.format == TENSORRT and not args.gpu:
        raise UsageError(
            "--format tensorrt needs --gpu with the GPUs of other machines; for the GPU of this "
            "machine run 'bisenet engines build --backend tensorrt'"
        )
    if args.format != TENSORRT and args.gpu:
        raise UsageError(f"--gpu does not apply to --format {args.format}; omit it")
    model = model_file.load(model_path(args.model))
    resolution = args.resolution or model.metadata.resolution
    if args.format == TENSORRT:
        _write_engines(args, model, resolution)
    else:
        _write_file(args, model, resolution)
    return 0


def _write_file(args: argparse.Namespace, model: "Model", resolution: tuple[int, int]) -> None:
    """Write an ONNX or OpenVINO file, after checking its labels against PyTorch."""
    from bisenet_ros.deploy.export import write_onnx, write_openvino

    # Which lower precision is fast and accurate depends on the target machine.
    precision = args.precision or "fp32"
    width, height = resolution
    suffix = SUFFIXES[args.format]
    path = args.output or Path(f"{model.name}_{width}x{height}_{precision}{suffix}")
    if path.suffix != suffix:
        raise UsageError(f"--output {path} must end in {suffix}")
    write = write_onnx if args.format == "onnx" else write_openvino
    parity = write(
        model,
        path,
        resolution=resolution,
        precision=precision,
        batch_size=args.batch_size,
        confidence=args.confidence,
    )
    print(
        f"wrote {path}: {args.format} in {precision} at {width}x{height}; {parity.equal:.3%} of "
        "the labels of the reference images equal PyTorch's"
    )


def _write_engines(args: argparse.Namespace, model: "Model", resolution: tuple[int, int]) -> None:
    """Write TensorRT engines into a folder that can be used as engine cache.

    By default all precisions from which "auto" chooses on the GPU.
    """
    from bisenet_ros.inference.backend import EngineOptions
    from bisenet_ros.inference.engine_cache import EngineCache, cache_folder
    from bisenet_ros.inference.tensorrt_backend import build_for

    width, height = resolution
    folder = args.output or Path(f"{model.name}_{width}x{height}_engines")
    check_output_files(folders=[folder])
    precisions = ["int8", "fp16"] if model.metadata.calibration else ["fp16"]
    if args.precision:
        precisions = [args.precision]
    for precision in precisions:
        options = EngineOptions(
            precision=precision,
            resolution=resolution,
            engine_cache=folder,
            confidence=args.confidence,
            batch_size=args.batch_size,
        )
        keys = build_for(model, options, args.gpu)
        stored = [entry.key for entry in EngineCache(cache_folder(folder)).entries()]
        if not all(key in stored for key in keys):
            raise OutputError(f"cannot write into {folder}; see the warnings above")
        print(
            f"wrote {folder}: tensorrt_rtx for {', '.join(args.gpu)} in {precision} at "
            f"{width}x{height}{' with confidence' if args.confidence else ''}"
        )
    print(
        f"Start the node with engine_cache:={folder.absolute()}, or the path of your copy of it. "
        "The node checks an engine against PyTorch when it first loads it."
    )
