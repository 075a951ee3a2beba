"""The arguments that say which model runs on what, and the model and segmenter that they mean."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bisenet_ros.inference.backend import EngineOptions

if TYPE_CHECKING:
    from bisenet_ros.inference.segmenter import Segmenter
    from bisenet_ros.model.file import Model


def add_engine_arguments(parser: argparse._ActionsContainer) -> None:
    """Declare model, classes, backend, device, precision, threads, resolution and cache."""
    parser.add_argument(
        "--model", default="", metavar="FILE", help="model file or name; default: the shipped one"
    )
    parser.add_argument(
        "--classes",
        default="",
        metavar="FILE",
        help="class file, camvid, cityscapes or cocostuff: names and colors, not the model's",
    )
    parser.add_argument(
        "--backend", default="auto", help="what runs the network: tensorrt, openvino or torch"
    )
    parser.add_argument("--device", default="auto", help="such as cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="auto", help="such as fp32, bf16, fp16 or int8")
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        metavar="N",
        help="of the CPU; default: one for each core that this process may use (affinity, quota)",
    )
    parser.add_argument(
        "--resolution", metavar="WxH", help="size the network works at; default: the model's"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="folder for compiled engines, as the node's engine_cache; default: the user's",
    )


def open_model(args: argparse.Namespace) -> "Model":
    """The model that the arguments mean; raises ValueError where it cannot be used."""
    from bisenet_ros.model.file import load_model

    return load_model(args.model, args.classes)


def open_segmenter(
    args: argparse.Namespace, model: "Model", backend: str | None = None
) -> "Segmenter":
    """Return the segmenter that the arguments mean, on ``backend`` instead of theirs if given.

    Raises:
        InferenceError: this machine has no such engine, or it cannot run the model.
    """
    from bisenet_ros.inference.resolution import parse_resolution
    from bisenet_ros.inference.segmenter import Segmenter

    return Segmenter(
        model,
        EngineOptions(
            backend=backend or args.backend,
            device=args.device,
            precision=args.precision,
            resolution=parse_resolution(args.resolution) if args.resolution else None,
            threads=args.threads,
            engine_cache=args.cache,
        ),
    )
