"""``bisenet calibrate``: calibrate a model file for INT8."""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bisenet_ros.cli.image_arguments import add_bit_depth_argument
from bisenet_ros.cli.output_files import check_output_files
from bisenet_ros.errors import DatasetError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bisenet_ros.model.metadata import Metadata


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument(
        "--model",
        required=True,
        metavar="FILE",
        help=".safetensors model file to calibrate; it is modified",
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="training images: a folder, searched recursively, or a dataset as for training",
    )
    add_bit_depth_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Calibrate the model file and store the activation ranges in it.

    All backends then support INT8 with this file, at any resolution. Calibrate on training images:
    calibrating on evaluation images would bias the INT8 score.

    Raises:
        UsageError: The model file is not a ``.safetensors``.
        ModelFileError: The model file cannot be used.
        InferenceError, ImageFileError, DatasetError: The images cannot be used.
        OutputError: The model file cannot be replaced.
    """
    from tqdm import tqdm

    from bisenet_ros.deploy.calibration import IMAGES, calibrate
    from bisenet_ros.model import file as model_file
    from bisenet_ros.resources import model_path

    path = model_path(args.model)
    if path.suffix != ".safetensors":
        raise UsageError(
            f"--model {path} is not a .safetensors file; only these can store a calibration"
        )
    check_output_files(folders=[path.resolve().parent])
    model = model_file.load(path)
    paths = evenly_spread(args.data, IMAGES)
    with tqdm(paths, "calibrate", unit="image", disable=None) as bar:
        ranges = calibrate(model, _read(bar, args.bit_depth))

    def calibrated(metadata: "Metadata") -> "Metadata":
        # Drop INT8 scores: they were measured with the previous calibration.
        scores = tuple(score for score in metadata.scores if score.precision != "int8")
        return replace(metadata, calibration=ranges, scores=scores)

    model_file.update_metadata(path, model, calibrated)
    print(f"calibrated {path} for int8 on {len(paths)} images of {args.data}")
    return 0


def evenly_spread(data: Path, count: int) -> list[Path]:
    """Return at most ``count`` image files of ``data``, evenly spaced in order of their names.

    Raises:
        DatasetError: ``data`` is not a folder or contains no images.
    """
    from bisenet_ros.datasets import find_dataset, folder, recognize
    from bisenet_ros.images.files import IMAGE_SUFFIXES, files_below, is_image_file

    if not data.is_dir():
        raise DatasetError(f"no folder {data}; give the folder of the training images")
    layout = recognize(data, "train")
    if layout not in (None, "folder"):
        try:
            files = sorted(image for image, _ in find_dataset(data, split="train").pairs)
        except DatasetError as error:
            raise DatasetError(
                f"{error}; or give only the folder of the training images"
            ) from error
    else:
        # Skip the labels, which are not needed, and the images of evaluation splits.
        root = folder.folders(data, "train")[0] if layout else data
        if not root.is_dir():
            raise DatasetError(f"{data} has labels but no images/; calibration needs the images")
        files = [path for path in files_below(root) if is_image_file(path)]
    if not files:
        raise DatasetError(f"{data} contains no images ({', '.join(IMAGE_SUFFIXES)})")
    taken = min(count, len(files))
    return [files[index * len(files) // taken] for index in range(taken)]


def _read(paths: Iterable[Path], bit_depth: int) -> "Iterator[NDArray[np.uint8]]":
    from bisenet_ros.images.bit_depth import BitDepth
    from bisenet_ros.images.files import read_image

    depth = BitDepth(bit_depth)
    for path in paths:
        yield read_image(path, depth)
