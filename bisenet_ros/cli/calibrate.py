"""``bisenet calibrate``: measure what INT8 needs, and store it in the model file."""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

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
        help="model file to calibrate, a .safetensors, which is changed",
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="training images: a folder, searched to any depth, or a dataset as for training",
    )


def run(args: argparse.Namespace) -> int:
    """Calibrate the model file and store the result in it.

    Every engine then takes INT8 from this file, at any resolution. Calibrate on training images:
    on those that the model is scored on, the score of INT8 would flatter.

    Raises:
        UsageError: the model file is not a ``.safetensors``.
        ModelFileError: the model file cannot be used.
        InferenceError, ImageFileError, DatasetError: naming what is wrong with the images.
        OutputError: the model file cannot be replaced.
    """
    from tqdm import tqdm

    from bisenet_ros.deploy.calibration import IMAGES, calibrate
    from bisenet_ros.model import file as model_file
    from bisenet_ros.resources import model_path

    path = model_path(args.model)
    if path.suffix != ".safetensors":
        raise UsageError(f"--model {path} is not a .safetensors, which can store a calibration")
    check_output_files(folders=[path.resolve().parent])
    model = model_file.load(path)
    paths = evenly_spread(args.data, IMAGES)
    with tqdm(paths, "calibrate", unit="image", disable=None) as bar:
        ranges = calibrate(model, _read(bar))

    def calibrated(metadata: "Metadata") -> "Metadata":
        # Scores of INT8 were those of the previous calibration.
        scores = tuple(score for score in metadata.scores if score.precision != "int8")
        return replace(metadata, calibration=ranges, scores=scores)

    model_file.update_metadata(path, model, calibrated)
    print(f"{path} is calibrated for int8 on {len(paths)} images of {args.data}")
    return 0


def evenly_spread(data: Path, count: int) -> list[Path]:
    """Return at most ``count`` image files of ``data``, evenly spread over all of them by name.

    Raises:
        DatasetError: there is no such folder, or no image in it.
    """
    from bisenet_ros.datasets import find_dataset, folder, recognize
    from bisenet_ros.images.files import IMAGE_SUFFIXES, files_below, is_image_file

    if not data.is_dir():
        raise DatasetError(f"there is no folder {data}; give the folder of the training images")
    layout = recognize(data, "train")
    if layout not in (None, "folder"):
        try:
            files = sorted(image for image, _ in find_dataset(data, split="train").pairs)
        except DatasetError as error:
            raise DatasetError(
                f"{error}; or give the folder of the training images alone"
            ) from error
    else:
        # Of a dataset not its labels, which are not needed, nor images that score the model.
        root = folder.folders(data, "train")[0] if layout else data
        if not root.is_dir():
            raise DatasetError(f"{data} has labels and no images/: the images are what is measured")
        files = [path for path in files_below(root) if is_image_file(path)]
    if not files:
        raise DatasetError(f"{data} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    taken = min(count, len(files))
    return [files[index * len(files) // taken] for index in range(taken)]


def _read(paths: Iterable[Path]) -> "Iterator[NDArray[np.uint8]]":
    from bisenet_ros.images.files import read_image

    for path in paths:
        yield read_image(path)
