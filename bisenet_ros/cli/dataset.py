"""``bisenet dataset``: import an export, and check a dataset before training."""

import argparse
from pathlib import Path

from bisenet_ros.cli import dataset_import
from bisenet_ros.cli.dataset_arguments import DATA_HELP, add_layout_arguments
from bisenet_ros.cli.output_files import check_output_files
from bisenet_ros.cli.settings_arguments import add_settings_arguments, open_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    summary = "read every file, report errors and statistics, and draw training samples"
    check = actions.add_parser("check", help=summary, description=summary)
    check.set_defaults(act=_check)
    check.add_argument("--data", type=Path, required=True, metavar="DIR", help=DATA_HELP)
    add_layout_arguments(check, split="train")
    check.add_argument(
        "--output",
        type=Path,
        default=Path("dataset_check"),
        metavar="DIR",
        help="folder for samples.png with augmented training samples, and problems.txt with every "
        "problem of every file (default: %(default)s)",
    )
    add_settings_arguments(check)
    summary = "turn a labeling tool's export into a dataset folder: COCO, labelme, CVAT and others"
    dataset_import.add_arguments(actions.add_parser("import", help=summary, description=summary))


def run(args: argparse.Namespace) -> int:
    """Check or import a dataset; return 1 if a check finds errors.

    Raises:
        DatasetError: The dataset or export is not found.
        ClassesError: The classes of an export are not valid.
        SettingsError: The training settings cannot be used.
        OutputError: The contact sheet or the imported dataset cannot be written.
    """
    status: int = args.act(args)
    return status


def _check(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from bisenet_ros.datasets import find_dataset
    from bisenet_ros.datasets.report import check_dataset
    from bisenet_ros.errors import write_errors
    from bisenet_ros.images.render import write_picture
    from bisenet_ros.training.train_dataset import TrainDataset, sample_sheet

    settings = open_settings(args)
    check_output_files(folders=[args.output])
    dataset = find_dataset(args.data, args.layout, args.split, settings.bit_depth)
    TrainDataset(dataset, settings)  # fail now, not after minutes of reading
    with tqdm(total=len(dataset), desc="check", unit="image", disable=None) as bar:
        report = check_dataset(dataset, bar.update, settings.resolution)
    print(report)
    args.output.mkdir(parents=True, exist_ok=True)
    listed = args.output / "problems.txt"
    if report.details:
        text = "".join(f"{detail}\n" for detail in report.details)
        with write_errors(listed):
            listed.write_text(text, encoding="utf-8", errors="surrogateescape")
        print(f"wrote {listed}")
    else:
        listed.unlink(missing_ok=True)
    if len(report.usable):
        picture = args.output / "samples.png"
        write_picture(picture, sample_sheet(TrainDataset(report.usable, settings)))
        print(f"wrote {picture}")
    return 1 if report.problems else 0
