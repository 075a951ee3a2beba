"""``bisenet evaluate``: score a model on a folder of labeled images."""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bisenet_ros.cli.argument_types import positive_number, whole_number
from bisenet_ros.cli.dataset_arguments import DATA_HELP, add_layout_arguments
from bisenet_ros.cli.engine_arguments import add_engine_arguments, open_model, open_segmenter
from bisenet_ros.cli.image_arguments import add_bit_depth_argument
from bisenet_ros.cli.output_files import check_output_files, write_json
from bisenet_ros.errors import DatasetError, UsageError, quoted
from bisenet_ros.resources import expand_home

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bisenet_ros.evaluation.metrics import Scores
    from bisenet_ros.model.file import Model

    Image = NDArray[np.uint8]
    Labels = NDArray[np.uint8]

SYNTHETIC = "synthetic"
SYNTHETIC_STREETS = 100
SCALES = "0.5,0.75,1,1.25,1.5,1.75"
"""Customary scales of multi-scale testing."""
CONFUSIONS = 5
"""Number of class confusions to print."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument(
        "--data",
        required=True,
        metavar="DIR",
        help=f"{DATA_HELP}; or '{SYNTHETIC}': one frame of each of {SYNTHETIC_STREETS} synthetic "
        "streets",
    )
    add_layout_arguments(parser, split="val")
    add_bit_depth_argument(parser)
    add_engine_arguments(parser)
    parser.add_argument(
        "--multi-scale",
        nargs="?",
        const=SCALES,
        default="1",
        type=_scales,
        metavar="S,S,...",
        dest="scales",
        help="average probabilities over these multiples of the resolution, with the torch backend "
        f"(default without a list: {SCALES})",
    )
    parser.add_argument(
        "--flip",
        action="store_true",
        help="average probabilities over the image and its mirror image, with the torch backend",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores to this file")
    parser.add_argument(
        "--confusion", type=Path, metavar="FILE", help="plot the confusion matrix to this file"
    )
    parser.add_argument(
        "--worst",
        type=Path,
        metavar="DIR",
        help="write the worst images to this folder: prediction, ground truth and errors",
    )
    parser.add_argument(
        "--worst-count",
        type=whole_number(1),
        default=10,
        metavar="N",
        help="number of images for --worst (default: %(default)s)",
    )
    parser.add_argument(
        "--record",
        metavar="NAME",
        help="store the scores in the model file as scores on the dataset NAME",
    )


@dataclass(frozen=True)
class _Data:
    """Samples to score.

    Attributes:
        classes: Names of the classes by id.
        samples: Images uint8 [H,W,3] RGB and labels uint8 [H,W].
        count: Number of samples.
        name: Function that returns the name of a sample by its index.
    """

    classes: Sequence[str]
    samples: Iterator[tuple["Image", "Labels"]]
    count: int
    name: Callable[[int], str]


def run(args: argparse.Namespace) -> int:
    """Score the model and print the IoU of each class.

    As in the paper (section 5.1), images are resized to the network's resolution, and the
    predicted labels are resized back and compared at the resolution of the image.

    Raises:
        UsageError: Options exclude each other.
        OutputError: A file or folder cannot be written.
        DatasetError: The dataset cannot be used, or its classes differ from the model's.
        ModelFileError, ClassesError: The model or class file cannot be used.
        InferenceError: The engine is not available on this machine, or fails.
    """
    from contextlib import closing

    from tqdm import tqdm

    from bisenet_ros.evaluation.metrics import evaluate, iou_by_class
    from bisenet_ros.evaluation.multi_scale import MultiScale
    from bisenet_ros.evaluation.plots import WorstImages, plot_confusion
    from bisenet_ros.resources import model_path

    path = model_path(args.model)
    averaged = args.flip or args.scales != (1.0,)
    _check_request(args, path, averaged)
    data = _open_data(args)
    model = open_model(args)
    _check_names([entry.name for entry in model.metadata.classes], data.classes, args.data)
    segmenter = open_segmenter(
        args, model, backend="torch" if averaged and args.backend == "auto" else None
    )
    worst = WorstImages(args.worst_count, model.metadata.classes) if args.worst else None
    bar = tqdm(data.samples, "evaluate", data.count, unit="image", disable=None)
    with closing(segmenter), bar:
        if averaged:
            predict = MultiScale(segmenter, args.scales, args.flip).labels
        else:
            predict = lambda image: segmenter.segment(image).labels  # noqa: E731
        scores = evaluate(bar, predict, len(data.classes), worst.watch if worst else None)

    iou = iou_by_class(scores, data.classes)
    width, height = segmenter.resolution
    backend, precision = segmenter.backend.name, segmenter.backend.precision
    measured = {
        "miou": scores.miou,
        "pixel accuracy": scores.pixel_accuracy,
        "fw iou": scores.frequency_weighted_iou,
    }
    print(_table(iou, scores, data.classes))
    protocol = f", scales {', '.join(f'{s:g}' for s in args.scales)}" if averaged else ""
    protocol += ", flipped too" if args.flip else ""
    print(
        f"{data.count} images; {model.name} at {width}x{height}, {backend}, {precision}{protocol}"
    )
    if args.json is not None:
        document = {
            "miou": scores.miou,
            "pixel_accuracy": scores.pixel_accuracy,
            "fw_iou": scores.frequency_weighted_iou,
            "iou": iou,
            "confusion": scores.confusion.tolist(),
            "model": str(path),
            "data": args.data,
            "split": None if args.data == SYNTHETIC else args.split,
            "resolution": list(segmenter.resolution),
            "images": data.count,
            "backend": backend,
            "precision": precision,
            "measured_on": segmenter.backend.arithmetic,
            "scales": list(args.scales),
            "flip": args.flip,
        }
        write_json(args.json, document)
    if args.record is not None:
        by_class = {f"iou {name}": value for name, value in iou.items() if value is not None}
        measured_on = segmenter.backend.arithmetic
        _record(path, model, args.record, precision, measured_on, measured | by_class)
    if args.confusion is not None:
        plot_confusion(scores.confusion, data.classes, args.confusion)
    if worst is not None:
        files = worst.write(args.worst, data.name)
        print(f"the {len(files)} worst images are in {args.worst}")
    return 0


def _check_request(args: argparse.Namespace, path: Path, averaged: bool) -> None:
    """Raise an error now for options that would fail, or record wrong scores, after scoring."""
    if args.record is not None:
        if path.suffix != ".safetensors":
            raise UsageError(
                f"--record stores scores in a .safetensors model file, but {path} is not one"
            )
        if averaged or args.resolution:
            raise UsageError(
                "--record stores scores of the model at its own resolution; omit --multi-scale, "
                "--flip and --resolution"
            )
    record = path.resolve().parent if args.record is not None else None
    check_output_files([args.json], plots=[args.confusion], folders=[args.worst, record])


def _record(
    path: Path,
    model: "Model",
    dataset: str,
    precision: str,
    measured_on: str,
    measured: Mapping[str, float],
) -> None:
    """Store the scores in the model file, replacing earlier scores of the same kind."""
    from bisenet_ros.model import file as model_file
    from bisenet_ros.model.metadata import Metadata, Score

    recorded = [
        Score(dataset, measure, precision, round(value, 4), measured_on)
        for measure, value in measured.items()
    ]

    def add(metadata: Metadata) -> Metadata:
        # Also replace scores that do not state their arithmetic.
        superseded = {s.subject for s in recorded} | {(*s.subject[:3], "") for s in recorded}
        kept = [score for score in metadata.scores if score.subject not in superseded]
        return replace(metadata, scores=(*kept, *recorded))

    model_file.update_metadata(path, model, add)


def _scales(text: str) -> tuple[float, ...]:
    try:
        return tuple(positive_number(part) for part in text.split(","))
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}; separate the numbers with commas") from None


def _open_data(args: argparse.Namespace) -> _Data:
    from bisenet_ros.datasets import open_dataset
    from bisenet_ros.datasets.dataset import check_headers
    from bisenet_ros.synthetic import CLASS_NAMES, DEMO_SEEDS, Street

    if args.data == SYNTHETIC:
        seeds = DEMO_SEEDS[:SYNTHETIC_STREETS]
        streets = (Street(seed).frame(seed) for seed in seeds)
        return _Data(CLASS_NAMES, streets, len(seeds), lambda number: f"street_{seeds[number]}")
    dataset = open_dataset(expand_home(args.data), args.layout, args.split, args.bit_depth)
    check_headers(dataset.pairs)
    return _Data(
        [entry.name for entry in dataset.classes],
        (dataset[index] for index in range(len(dataset))),
        len(dataset),
        lambda number: dataset.pairs[number][0].stem,
    )


def _check_names(model: Sequence[str], data: Sequence[str], where: str) -> None:
    if len(model) != len(data):
        raise DatasetError(
            f"the model has {len(model)} classes, but {where} has {len(data)}; score a model on "
            "data with the same classes"
        )
    for id_, (ours, theirs) in enumerate(zip(model, data, strict=True)):
        if ours != theirs:
            raise DatasetError(
                f"class {id_} is {quoted(ours)} in the model, but {quoted(theirs)} in {where}; if "
                "both mean the same, pass the class file of the dataset as --classes"
            )


def _table(iou: Mapping[str, float | None], scores: "Scores", names: Sequence[str]) -> str:
    """Return a table of the IoU of each class, the means and the most frequent confusions."""
    means = {
        "mean IoU": scores.miou,
        "pixel accuracy": scores.pixel_accuracy,
        "frequency-weighted IoU": scores.frequency_weighted_iou,
    }
    rows = [(name, "absent" if value is None else f"{value:.2%}") for name, value in iou.items()]
    rows += [(name, f"{value:.2%}") for name, value in means.items()]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value:>7}" for name, value in [("class", "IoU"), *rows]]
    lines.insert(len(lines) - len(means), "-" * len(lines[0]))
    confusions = scores.confusions(CONFUSIONS)
    if confusions:
        columns = [*names, "none"]
        mistakes = [f"{names[t]} is {columns[p]} {share:.0%}" for t, p, share in confusions]
        lines.append(f"most frequent errors: {', '.join(mistakes)}")
    return "\n".join(lines)
