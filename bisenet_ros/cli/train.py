"""``bisenet train``: train the network on a folder of labeled images."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bisenet_ros.cli.argument_types import MAX_THREADS, torch_device, whole_number
from bisenet_ros.cli.dataset_arguments import DATA_HELP, add_layout_arguments
from bisenet_ros.cli.output_files import check_output_files
from bisenet_ros.cli.settings_arguments import add_settings_arguments, open_settings
from bisenet_ros.errors import DatasetError

if TYPE_CHECKING:
    from bisenet_ros.datasets import Dataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help=DATA_HELP)
    add_layout_arguments(parser, split="train")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for model.safetensors, checkpoint.pt, log.csv, curves.png and others",
    )
    parser.add_argument(
        "--val-data",
        type=Path,
        metavar="DIR",
        help="score the model on this dataset ten times during the run, including its end; may be "
        "the folder of --data, see --val-split",
    )
    parser.add_argument(
        "--val-split",
        default="val",
        metavar="NAME",
        help="split of --val-data, if it has splits (default: %(default)s)",
    )
    parser.add_argument(
        "--val-layout",
        default="auto",
        metavar="NAME",
        help="folder layout of --val-data (default: detect it)",
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="also write event files for TensorBoard"
    )
    add_settings_arguments(parser)
    parser.add_argument(
        "--init",
        metavar="FILE",
        help="start from the weights of this model file or shipped model: keep its architecture "
        "and normalization, and the last layer for classes of the same name",
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue from checkpoint.pt in --output"
    )
    parser.add_argument(
        "--device",
        type=torch_device,
        default="auto",
        metavar="NAME",
        help="cpu, cuda or cuda:N (default: cuda if a GPU is present)",
    )
    parser.add_argument(
        "--threads",
        type=whole_number(0, MAX_THREADS),
        default=0,
        metavar="N",
        help="CPU threads per process (default: one per core within CPU affinity and quota, "
        "divided among the processes of torchrun)",
    )
    parser.add_argument(
        "--dataset-name",
        metavar="NAME",
        help="name of the dataset to store in the model file (default: the name of its folder)",
    )
    parser.add_argument(
        "--license",
        metavar="TEXT",
        help="license of the weights to store in the model file (default: license of --init)",
    )


def run(args: argparse.Namespace) -> int:
    """Train, and write the model file at each checkpoint and at the end; return 130 if stopped.

    Raises:
        OutputError: The output folder cannot be written into.
        DatasetError: A dataset cannot be used.
        SettingsError: A setting is invalid.
        ModelFileError: The model file of ``--init`` cannot be used.
        CheckpointError, TrainingError: The run cannot start or continue.
        DeviceError: PyTorch cannot use the device.
    """
    from bisenet_ros.datasets import open_dataset
    from bisenet_ros.model.file import load
    from bisenet_ros.resources import model_path
    from bisenet_ros.training.distributed import init_distributed, use_threads
    from bisenet_ros.training.initialization import new_start, start_from
    from bisenet_ros.training.run import ModelTraining, Run
    from bisenet_ros.training.signals import GracefulStop

    check_output_files(folders=[args.output])
    settings = open_settings(args)
    dataset = open_dataset(args.data, args.layout, args.split, settings.bit_depth)
    validation = _open_validation(args, dataset) if args.val_data else None
    if args.init:
        start = start_from(load(model_path(args.init)), settings, dataset.classes)
    else:
        start = new_start(settings, len(dataset.classes))
    if start.license and args.license is None:
        print(f"keeping the license of {args.init}: {start.license}")
    with (
        use_threads(args.threads),
        init_distributed(args.device) as processes,
        GracefulStop(ignore_repeats=processes.size > 1) as stop,
    ):
        training = ModelTraining(
            Run(
                args.output,
                dataset,
                settings,
                start,
                processes,
                resume=args.resume,
                tensorboard=args.tensorboard,
            ),
            dataset_name=args.dataset_name or args.data.resolve().name,
            license=start.license if args.license is None else args.license,
            validation=validation,
        )
        outcome = training.finish(stop)
        if outcome.stopped and processes.rank == 0:
            print("\nstopped; repeat the command with --resume to continue", file=sys.stderr)
    return 130 if outcome.stopped else 0


def _open_validation(args: argparse.Namespace, dataset: "Dataset") -> "Dataset":
    """Return the dataset of --val-data.

    Raises:
        DatasetError: Its classes differ from those of --data, or it shares images with it.
    """
    from bisenet_ros.datasets import open_dataset

    validation = open_dataset(args.val_data, args.val_layout, args.val_split)
    validation = replace(validation, depth=dataset.depth)
    if [entry.name for entry in validation.classes] != [entry.name for entry in dataset.classes]:
        raise DatasetError(
            f"--val-data {args.val_data} has other classes than {args.data}; use validation data "
            "with the classes of the training data"
        )
    trained_on = {image.resolve() for image, _ in dataset.pairs}
    shared = [image for image, _ in validation.pairs if image.resolve() in trained_on]
    if shared:
        raise DatasetError(
            f"{len(shared)} of the {len(validation)} images of --val-data {args.val_data} are "
            f"training images ({shared[0].name}, ...); keep separate ones in val/images and "
            "val/labels, or omit --val-data"
        )
    return validation
