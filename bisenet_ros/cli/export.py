"""``bisenet export``: a model as a file for other programs, and the cache of engines."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bisenet_ros.errors import UsageError

if TYPE_CHECKING:
    from bisenet_ros.model.file import Model

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}

_NETWORK = ("model", "precision", "resolution", "confidence")
USES = {
    "onnx": (*_NETWORK, "output"),
    "openvino": (*_NETWORK, "output"),
    "tensorrt": (*_NETWORK, "device", "gpu", "cache"),
    "calibrate": ("model",),
    "list_cache": ("cache",),
    "clear_cache": ("cache",),
}
"""The options that each action heeds: who gives another one expects what does not happen."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument(
        "--format",
        choices=(*SUFFIXES, "tensorrt"),
        help="file to write; tensorrt: build the engine, and leave it in the cache for the node",
    )
    action.add_argument(
        "--calibrate",
        type=Path,
        metavar="DIR",
        help="measure on these training images what int8 needs, and store it in --model FILE",
    )
    action.add_argument("--list-cache", action="store_true", help="say what engines are stored")
    action.add_argument("--clear-cache", action="store_true", help="delete all stored engines")
    parser.add_argument(
        "--model", metavar="FILE", help="model file or name; default: the shipped one"
    )
    parser.add_argument(
        "--precision",
        help="fp32, fp16 or int8; default: the fastest one that the model's scores allow",
    )
    parser.add_argument(
        "--resolution", metavar="WxH", help="size the network works at; default: the model's"
    )
    parser.add_argument(
        "--confidence",
        action="store_const",
        const=True,
        help="with the confidence as a second output",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="default: MODEL_WxH_PRECISION with the format's suffix, here",
    )
    parser.add_argument("--device", help="GPU that a TensorRT engine is for: cuda or cuda:N")
    parser.add_argument(
        "--gpu",
        nargs="+",
        metavar="SM",
        help="GPUs elsewhere that engines of TensorRT for RTX are for, by compute capability, such "
        "as sm86 sm89",
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="of engines; default: the user's cache folder"
    )


def run(args: argparse.Namespace) -> int:
    """Do the one thing that is asked for."""
    from bisenet_ros.cli import cached_engines
    from bisenet_ros.resources import model_path

    _refuse_unused(args)
    path = model_path(args.model or "")
    if args.list_cache:
        cached_engines.list_engines(args.cache)
    elif args.clear_cache:
        cached_engines.clear_engines(args.cache)
    elif args.calibrate is not None:
        from bisenet_ros.cli.calibration import calibrate_file

        if not args.model:
            raise UsageError("--calibrate changes the model file: name it by --model FILE")
        calibrate_file(path, args.calibrate)
    else:
        from bisenet_ros.inference.backend import EngineOptions
        from bisenet_ros.inference.resolution import parse_resolution
        from bisenet_ros.model import file as model_file

        model = model_file.load(path)
        resolution = model.metadata.resolution
        if args.resolution:
            resolution = parse_resolution(args.resolution)
        if args.format in SUFFIXES:
            _write(args, model, resolution)
        else:
            options = EngineOptions(
                resolution=resolution,
                device=args.device or "auto",
                precision=args.precision or "auto",
                confidence=bool(args.confidence),
                engine_cache=args.cache,
            )
            if args.gpu:
                cached_engines.prebuild_for(args.gpu, model, options)
            else:
                cached_engines.prebuild(args.format, model, options)
    return 0


def _refuse_unused(args: argparse.Namespace) -> None:
    action = args.format or next(each for each in USES if getattr(args, each, None))
    shown = f"--format {action}" if args.format else f"--{action.replace('_', '-')}"
    for name in sorted({option for options in USES.values() for option in options}):
        if name not in USES[action] and getattr(args, name) is not None:
            raise UsageError(f"--{name} is of no use with {shown}; leave it out")
    if args.gpu and args.device:
        raise UsageError("--device is of no use with --gpu; leave it out")


def _write(args: argparse.Namespace, model: "Model", resolution: tuple[int, int]) -> None:
    """Write the file and compare its labels with PyTorch's.

    Raises:
        InferenceError: they differ by more than the precision explains; nothing is written.
    """
    from bisenet_ros.deploy import export as exported

    # Unless named: which precision is fast, and exact, depends on where the file will run.
    precision = "fp32" if args.precision in (None, "auto") else args.precision
    width, height = resolution
    name = f"{model.name}_{width}x{height}_{precision}{SUFFIXES[args.format]}"
    path = args.output or Path(name)
    if path.suffix != SUFFIXES[args.format]:
        raise UsageError(f"--output {path} must end in {SUFFIXES[args.format]}")
    write = exported.write_onnx if args.format == "onnx" else exported.write_openvino
    parity = write(
        model, path, resolution=resolution, precision=precision, confidence=bool(args.confidence)
    )
    print(
        f"wrote {path}: {args.format} in {precision} at {width}x{height}; {parity.equal:.3%} of "
        "the labels of the reference images are PyTorch's"
    )
