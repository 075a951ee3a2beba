"""Arguments that say which model runs on what, and the model and segmenter that they name."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bisenet_ros.cli.argument_types import (
    MAX_THREADS,
    engine_device,
    network_resolution,
    whole_number,
)
from bisenet_ros.deploy.precision import PRECISIONS
from bisenet_ros.inference.backend import BACKENDS, EngineOptions
from bisenet_ros.resources import SHIPPED_MODEL

if TYPE_CHECKING:
    from bisenet_ros.inference.segmenter import Segmenter
    from bisenet_ros.model.file import Model


def add_engine_arguments(parser: argparse._ActionsContainer) -> None:
    """Declare model, classes, backend, device, precision, threads, resolution and engine cache."""
    add_model_argument(parser)
    parser.add_argument(
        "--classes",
        default="",
        metavar="FILE",
        help="class file, or camvid, cityscapes or cocostuff, whose names and colors replace the "
        "model's",
    )
    parser.add_argument(
        "--backend",
        choices=("auto", *BACKENDS),
        default="auto",
        help="inference engine (default: the fastest that is accurate)",
    )
    parser.add_argument(
        "--device",
        type=engine_device,
        default="auto",
        metavar="NAME",
        help="cpu, cuda or cuda:N (NVIDIA), gpu or gpu.N (Intel) (default: the NVIDIA GPU if there "
        "is one, else the CPU)",
    )
    parser.add_argument(
        "--precision",
        choices=("auto", *PRECISIONS),
        default="auto",
        help="arithmetic of the network (default: the fastest that is accurate)",
    )
    add_threads_argument(parser)
    add_resolution_argument(parser)
    add_engine_cache_argument(parser)


def add_model_argument(parser: argparse._ActionsContainer) -> None:
    """Declare ``--model``, by default the shipped one."""
    parser.add_argument(
        "--model",
        default="",
        metavar="FILE",
        help=f"model file, or name of a shipped model (default: {SHIPPED_MODEL})",
    )


def add_resolution_argument(parser: argparse._ActionsContainer) -> None:
    """Declare ``--resolution``, None for the model's."""
    parser.add_argument(
        "--resolution",
        type=network_resolution,
        metavar="WxH",
        help="network input size in pixels (default: the model's)",
    )


def add_threads_argument(parser: argparse._ActionsContainer) -> None:
    """Declare ``--threads``, 0 for those that this process may use."""
    parser.add_argument(
        "--threads",
        type=whole_number(0, MAX_THREADS),
        default=0,
        metavar="N",
        help="CPU threads (default: one per core that CPU affinity and quota allow)",
    )


def add_engine_cache_argument(parser: argparse._ActionsContainer) -> None:
    """Declare ``--engine-cache``, None for the user's cache folder."""
    parser.add_argument(
        "--engine-cache",
        type=Path,
        metavar="DIR",
        help="folder for compiled engines, the node's parameter engine_cache (default: "
        "~/.cache/bisenet_ros)",
    )


def open_model(args: argparse.Namespace) -> "Model":
    """Return the model that the arguments name.

    Raises:
        ModelFileError, ClassesError: the model or class file cannot be used.
    """
    from bisenet_ros.model.file import load_model

    return load_model(args.model, args.classes)


def open_segmenter(
    args: argparse.Namespace,
    model: "Model",
    *,
    backend: str | None = None,
    confidence: bool = False,
) -> "Segmenter":
    """Return the segmenter that the arguments name, on ``backend`` instead of theirs if given.

    Raises:
        InferenceError: this machine has no such engine, or it cannot run the model.
    """
    from bisenet_ros.inference.segmenter import Segmenter

    return Segmenter(
        model,
        EngineOptions(
            backend=backend or args.backend,
            device=args.device,
            precision=args.precision,
            resolution=args.resolution,
            threads=args.threads,
            engine_cache=args.engine_cache,
            confidence=confidence,
        ),
    )
