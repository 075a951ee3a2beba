"""``bisenet export``: write a model as files for other programs or other machines."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bisenet_ros.cli.engine_arguments import add_model_argument, add_resolution_argument
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
        help="format to write; tensorrt: engines of TensorRT for RTX for the GPUs of --gpu",
    )
    add_model_argument(parser)
    parser.add_argument(
        "--precision",
        choices=ONNX_PRECISIONS,
        help="arithmetic of the network (default: fp32; for tensorrt fp16, and int8 too if the "
        "model is calibrated)",
    )
    add_resolution_argument(parser)
    parser.add_argument(
        "--confidence", action="store_true", help="add the confidence as a second output"
    )
    parser.add_argument(
        "--gpu",
        nargs="+",
        metavar="SM",
        help="GPUs to build TensorRT engines for, by compute capability, such as sm86 sm89; this "
        "machine needs none",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="file to write (default: MODEL_WxH_PRECISION with the format's suffix); for tensorrt "
        "a folder, which the node takes as its parameter engine_cache (default: MODEL_WxH_engines)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the files.

    Raises:
        UsageError: options that do not fit the format.
        OutputError: a file cannot be written.
        EngineCacheError: others could write in the folder of engines.
        ModelFileError: the model file cannot be used.
        InferenceError: the model cannot be exported so, or its labels differ from PyTorch's by more
            than the precision explains.
    """
    from bisenet_ros.model import file as model_file
    from bisenet_ros.resources import model_path

    if args.format == TENSORRT and not args.gpu:
        raise UsageError(
            "--format tensorrt needs --gpu, the GPUs elsewhere to build for; for the GPU of this "
            "machine run 'bisenet engines build --backend tensorrt'"
        )
    if args.format != TENSORRT and args.gpu:
        raise UsageError(f"--gpu is of no use with --format {args.format}; leave it out")
    model = model_file.load(model_path(args.model))
    resolution = args.resolution or model.metadata.resolution
    if args.format == TENSORRT:
        _write_engines(args, model, resolution)
    else:
        _write_file(args, model, resolution)
    return 0


def _write_file(args: argparse.Namespace, model: "Model", resolution: tuple[int, int]) -> None:
    """Write an ONNX or OpenVINO file after comparing its labels with PyTorch's."""
    from bisenet_ros.deploy.export import write_onnx, write_openvino

    # Unless named: which precision is fast, and exact, depends on where the file will run.
    precision = args.precision or "fp32"
    width, height = resolution
    suffix = SUFFIXES[args.format]
    path = args.output or Path(f"{model.name}_{width}x{height}_{precision}{suffix}")
    if path.suffix != suffix:
        raise UsageError(f"--output {path} must end in {suffix}")
    write = write_onnx if args.format == "onnx" else write_openvino
    parity = write(
        model, path, resolution=resolution, precision=precision, confidence=args.confidence
    )
    print(
        f"wrote {path}: {args.format} in {precision} at {width}x{height}; {parity.equal:.3%} of "
        "the labels of the reference images are PyTorch's"
    )


def _write_engines(args: argparse.Namespace, model: "Model", resolution: tuple[int, int]) -> None:
    """Write TensorRT engines into a folder that is an engine cache.

    Without a precision, those between which "auto" chooses on the GPU.
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
        )
        keys = build_for(model, options, args.gpu)
        stored = [entry.key for entry in EngineCache(cache_folder(folder)).entries()]
        if not all(key in stored for key in keys):
            raise OutputError(f"cannot write into {folder}; the warnings above say why")
        print(
            f"wrote {folder}: tensorrt_rtx for {', '.join(args.gpu)} in {precision} at "
            f"{width}x{height}{' with confidence' if args.confidence else ''}"
        )
    print(
        f"Start the node with engine_cache:={folder.absolute()}, or where you copy it to; the GPU "
        "compares an engine with PyTorch when it first loads it."
    )
