"""``bisenet dataset import``: turn a labeling tool's export into a dataset folder."""

import argparse
import shlex
from pathlib import Path

from bisenet_ros.cli.argument_types import number

# Also the keys of FORMATS, which a test compares: --help must not import OpenCV.
FORMATS = ("coco", "labelme", "cvat", "roboflow", "voc", "masks")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``bisenet dataset import``."""
    parser.set_defaults(act=run)
    parser.add_argument(
        "--input", type=Path, required=True, metavar="PATH", help="folder or file of the export"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder to create"
    )
    parser.add_argument(
        "--format",
        choices=("auto", *FORMATS),
        default="auto",
        help="format of the export, see docs/training.md (default: recognize it)",
    )
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of the images, if it is elsewhere"
    )
    parser.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="names of the values in label images: 'id name r g b' or one name per line",
    )
    parser.add_argument(
        "--map",
        type=Path,
        metavar="FILE",
        help="YAML file that renames, merges or drops classes: 'map: {wall: building, 0: void}'",
    )
    parser.add_argument(
        "--background",
        metavar="NAME",
        help="class of pixels without a label (default: none, they are not trained on)",
    )
    parser.add_argument(
        "--val",
        type=number(0.01, 0.99),
        metavar="SHARE",
        help="share of the images for the val split, whole sequences if possible, such as 0.2",
    )
    parser.add_argument(
        "--link", action="store_true", help="link to the images instead of copying them"
    )


def run(args: argparse.Namespace) -> int:
    """Import the export and print a summary; return 0.

    Raises:
        DatasetError: The export is not found or malformed, or none of its images can be used.
        ClassesError: Its classes, or the names given for them, are not valid.
        OutputError: The folder exists or cannot be written.
        UsageError: Options do not fit the export.
    """
    from tqdm import tqdm

    from bisenet_ros.cli.output_files import check_output_files
    from bisenet_ros.datasets.importers import read_export
    from bisenet_ros.datasets.importers.class_map import ClassMap, map_classes, read_class_map
    from bisenet_ros.datasets.importers.export import Source
    from bisenet_ros.datasets.importers.writer import check_new, write_dataset

    check_new(args.output)
    check_output_files(folders=[args.output])
    rules = read_class_map(args.map) if args.map else ClassMap()
    source = Source(args.input, args.images, args.classes, tuple(rules.ids), tuple(rules.colors))
    export = read_export(source, args.format)
    targets = map_classes(export.classes, rules, args.background)
    with tqdm(total=len(export.pictures), desc="import", unit="image", disable=None) as bar:
        summary = write_dataset(export, targets, args.output, args.val, args.link, bar.update)
    print(summary)
    print(
        f"wrote {args.output}; next: bisenet dataset check --data {shlex.quote(str(args.output))}"
    )
    return 0
