"""Arguments that select model and engine, and functions that open them."""

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
from bisenet_ros.inference.backend import BACKENDS, MAX_BATCH_SIZE, EngineOptions
from bisenet_ros.resources import SHIPPED_MODEL

if TYPE_CHECKING:
    from bisenet_ros.inference.segmenter import Segmenter
    from bisenet_ros.model.file import Model


def add_engine_arguments(parser: argparse._ActionsContainer) -> None:
    """Declare the arguments that select model, classes and engine."""
    add_model_argument(parser)
    parser.add_argument(
        "--classes",
        default="",
        metavar="FILE",
        help="class file, or camvid, cityscapes or cocostuff: names and colors that replace the "
        "model's",
    )
    parser.add_argument(
        "--backend",
        choices=("auto", *BACKENDS),
        default="auto",
        help="inference engine (default: the fastest accurate one)",
    )
    parser.add_argument(
        "--device",
        type=engine_device,
        default="auto",
        metavar="NAME",
        help="cpu, cuda or cuda:N (NVIDIA), gpu or gpu.N (Intel) (default: the NVIDIA GPU if "
        "present, else the CPU)",
    )
    parser.add_argument(
        "--precision",
        choices=("auto", *PRECISIONS),
        default="auto",
        help="arithmetic of the network (default: the fastest accurate one)",
    )
    add_threads_argument(parser)
    add_resolution_argument(parser)
    add_engine_cache_argument(parser)


def add_model_argument(parser: argparse._ActionsContainer) -> None:
    """Declare ``--model``, whose default is the shipped model."""
    parser.add_argument(
        "--model",
        default="",
        metavar="FILE",
        help=f"model file or name of a shipped model (default: {SHIPPED_MODEL})",
    )


def add_resolution_argument(parser: argparse._ActionsContainer) -> None:
    """Declare ``--resolution``, whose default is None for the model's."""
    parser.add_argument(
        "--resolution",
        type=network_resolution,
        metavar="WxH",
        help="network input size in pixels (default: the model's)",
    )


def add_threads_argument(parser: argparse._ActionsContainer) -> None:
    """Declare ``--threads``, whose default is 0 for all that this process may use."""
    parser.add_argument(
        "--threads",
        type=whole_number(0, MAX_THREADS),
        default=0,
        metavar="N",
        help="CPU threads (default: one per core within CPU affinity and quota)",
    )


def add_batch_size_argument(parser: argparse._ActionsContainer) -> None:
    """Declare ``--batch-size``, whose default is 1."""
    parser.add_argument(
        "--batch-size",
        type=whole_number(1, MAX_BATCH_SIZE),
        default=1,
        metavar="N",
        help="images that the engine labels at once, as for a node with batch_cameras and N "
        "cameras (default: 1)",
    )


def add_engine_cache_argument(parser: argparse._ActionsContainer) -> None:
    """Declare ``--engine-cache``, whose default is None for the user's cache folder."""
    parser.add_argument(
        "--engine-cache",
        type=Path,
        metavar="DIR",
        help="folder for compiled engines, as the node's parameter engine_cache (default: "
        "~/.cache/bisenet_ros)",
    )


def open_model(args: argparse.Namespace) -> "Model":
    """Return the model selected by the arguments.

    Raises:
        ModelFileError, ClassesError: The model or class file cannot be used.
    """
    from bisenet_ros.model.file import load_model

    return load_model(args.model, args.classes)


def open_segmenter(
    args: argparse.Namespace,
    model: "Model",
    *,
    backend: str | None = None,
    confidence: bool = False,
    batch_size: int = 1,
) -> "Segmenter":
    """Return the segmenter selected by the arguments.

    Args:
        args: Arguments of ``add_engine_arguments``.
        model: Model to run.
        backend: Overrides ``args.backend`` if given.
        confidence: Whether to compute confidence.
        batch_size: Number of images that the engine labels at once.

    Raises:
        InferenceError: The engine is not available on this machine, or cannot run the model.
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
            batch_size=batch_size,
        ),
    )
