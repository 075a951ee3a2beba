"""``bisenet train``: from a folder of labelled images to a model file."""

import argparse
import sys
from contextlib import ExitStack, closing
from dataclasses import asdict
from itertools import takewhile
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bisenet_ros.training.datasets import Dataset


VALIDATIONS = 10
SCORED = 500
"""Training images, at most, that the result is scored on where there are no others."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder of a dataset: images/, labels/ and classes.txt ('id name r g b' a line), or "
        "the official folders of Cityscapes, CamVid or COCO-Stuff",
    )
    parser.add_argument(
        "--layout", default="auto", help="of --data, see docs/datasets.md; default: by its folders"
    )
    parser.add_argument(
        "--split", default="train", help="such as train, or train+val for both; default: train"
    )
    parser.add_argument(
        "--check-data",
        action="store_true",
        help="do not train: read all of it, print figures and every fault, and draw samples as "
        "training would see them in OUTPUT/samples.png",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="folder for model.safetensors, checkpoint.pt, log.csv, curves.png and the like",
    )
    parser.add_argument(
        "--val-data",
        type=Path,
        metavar="DIR",
        help=f"score the result on this dataset {VALIDATIONS} times during the run, the last time "
        "at its end; may be --data itself, see --val-split",
    )
    parser.add_argument(
        "--val-split", default="val", help="of --val-data, where it has splits; default: val"
    )
    parser.add_argument("--val-layout", default="auto", help="of --val-data, as --layout")
    parser.add_argument(
        "--tensorboard", action="store_true", help="also write event files for TensorBoard"
    )
    parser.add_argument("--config", type=Path, help="YAML file of settings")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change one setting"
    )
    parser.add_argument(
        "--init",
        metavar="MODEL",
        help="start from the weights of this model file: its architecture and normalisation stay, "
        "and what does not fit other classes is trained anew",
    )
    parser.add_argument("--resume", action="store_true", help="go on from OUTPUT/checkpoint.pt")
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda or cuda:N; default: cuda where there is one"
    )
    parser.add_argument("--dataset-name", help="stored in the model file; default: the folder")
    parser.add_argument("--licence", default="", help="note on the weights' use, stored likewise")


def run(args: argparse.Namespace) -> int:
    """Train and write the model file at each checkpoint and at the end."""
    if args.check_data:
        return _check_data(args)

    from tqdm import tqdm

    from bisenet_ros.inference.segmenter import Segmenter
    from bisenet_ros.model_file import Metadata, load, save
    from bisenet_ros.network import BiSeNetV2
    from bisenet_ros.resources import model_path
    from bisenet_ros.training.checkpoint import CheckpointError, resume_from
    from bisenet_ros.training.confusion_plot import plot_confusion
    from bisenet_ros.training.curves import plot_curves
    from bisenet_ros.training.datasets import Dataset, open_dataset
    from bisenet_ros.training.distributed import joined
    from bisenet_ros.training.evaluation import Scores, evaluate
    from bisenet_ros.training.loop import Progress, train
    from bisenet_ros.training.monitor import Monitor
    from bisenet_ros.training.settings import read_settings
    from bisenet_ros.training.start import new_start, start_from
    from bisenet_ros.training.stop import StopRequest

    dataset = open_dataset(args.data, args.layout, args.split)
    validation = _open_validation(args, dataset) if args.val_data else None
    settings = read_settings(args.config, args.set)
    init = load(model_path(args.init)) if args.init else None
    num_classes = len(dataset.classes)
    start = (
        start_from(init, settings, dataset.classes) if init else new_start(settings, num_classes)
    )
    model_file = args.output / "model.safetensors"
    checkpoint_path = args.output / "checkpoint.pt"
    if checkpoint_path.exists() and not args.resume:
        raise CheckpointError(
            f"{checkpoint_path} is there already: go on with --resume, or train into another folder"
        )

    with joined(args.device) as processes, ExitStack() as stack:
        stop = stack.enter_context(StopRequest(patient=processes.size > 1))
        first = processes.rank == 0
        resume = None
        if args.resume:
            resume = resume_from(checkpoint_path, settings, start.origin(dataset, processes))
        if first:
            done = resume.iteration if resume else 0
            names = [entry.name for entry in dataset.classes]
            monitor = stack.enter_context(
                Monitor(args.output, settings, names, done, tensorboard=args.tensorboard)
            )

        def export(network: BiSeNetV2) -> None:
            metadata = Metadata(
                preset=init.metadata.preset if init else settings.preset,
                architecture=network.architecture,
                classes=dataset.classes,
                mean=start.mean,
                std=start.std,
                resolution=settings.resolution,
                dataset=args.dataset_name or args.data.resolve().name,
                licence=args.licence,
                # The architecture of --init stays, whatever the settings say.
                recipe=asdict(settings)
                | {"processes": processes.size}
                | {"head_channels": network.architecture.head_channels}
                | ({"init": dict(start.recipe)} if init else {}),
            )
            save(model_file, network, metadata)

        def score(data: Dataset, indices: range) -> Scores | None:
            """None if it was stopped."""
            segmenter = Segmenter(load(model_file), backend="torch", device=processes.device)
            with closing(segmenter):
                bar = tqdm(indices, desc="score", unit="image", leave=False, disable=None)
                samples = (data[index] for index in takewhile(lambda _: not stop(), bar))
                scores = evaluate(samples, lambda x: segmenter.segment(x).labels, num_classes)
            return None if stop() else scores

        def report(progress: Progress, network: BiSeNetV2) -> None:
            monitor.show(progress)
            last = progress.iteration == settings.iterations  # exported and scored below
            due = not last and progress.iteration % ceil(settings.iterations / VALIDATIONS) == 0
            if due or progress.iteration % settings.checkpoint_every == 0:
                monitor.flush()
                export(network)
            if due and validation is not None:
                scores = score(validation, range(len(validation)))
                if scores is not None:
                    monitor.validated(progress.iteration, scores)
                    monitor.flush()

        try:
            network = train(
                dataset, settings, checkpoint_path, report, resume, start, processes, stop
            )
        except KeyboardInterrupt:
            if first:
                print("\nstopped; the same command with --resume goes on", file=sys.stderr)
            raise
        if first:
            export(network)
            print(f"wrote {model_file}")
            which, data = ("val", validation) if validation else ("train", dataset)
            scored = range(0, len(data), 1 if validation else ceil(len(data) / SCORED))
            scores = score(data, scored)
            if scores is None:
                raise KeyboardInterrupt
            if validation is not None and done < settings.iterations:
                monitor.validated(settings.iterations, scores)
            monitor.flush()
            plot_curves(args.output, args.output / "curves.png")
            plot_confusion(scores.confusion, names, args.output / f"confusion_{which}.png")
            print(f"{scores.miou:.2%} mIoU on {len(scored)} {which} images")
    return 0


def _open_validation(args: argparse.Namespace, dataset: "Dataset") -> "Dataset":
    """The dataset of --val-data.

    Raises:
        ValueError: it has other classes than that of --data, or images of it.
    """
    from bisenet_ros.training.datasets import open_dataset

    validation = open_dataset(args.val_data, args.val_layout, args.val_split)
    if [entry.name for entry in validation.classes] != [entry.name for entry in dataset.classes]:
        raise ValueError(
            f"--val-data {args.val_data} has other classes than {args.data}; a model is scored on "
            "the classes that it was trained for"
        )
    trained_on = {image.resolve() for image, _ in dataset.pairs}
    shared = [image for image, _ in validation.pairs if image.resolve() in trained_on]
    if shared:
        raise ValueError(
            f"{len(shared)} of the {len(validation)} images of --val-data {args.val_data} are "
            f"trained on ({shared[0].name}, ...), so their score would say nothing; keep some "
            "apart in val/images and val/labels, or leave out --val-data"
        )
    return validation


def _check_data(args: argparse.Namespace) -> int:
    """Report on the dataset; 1 if a part of it cannot be used."""
    from tqdm import tqdm

    from bisenet_ros.rendering import write_picture
    from bisenet_ros.training.check import check_dataset, sample_sheet
    from bisenet_ros.training.datasets import find_dataset
    from bisenet_ros.training.samples import Samples
    from bisenet_ros.training.settings import read_settings

    settings = read_settings(args.config, args.set)
    dataset = find_dataset(args.data, args.layout, args.split)
    with tqdm(total=len(dataset), desc="check", unit="image", disable=None) as bar:
        report = check_dataset(dataset, bar.update)
    print(report)
    if len(report.usable):
        picture = args.output / "samples.png"
        args.output.mkdir(parents=True, exist_ok=True)
        sheet = sample_sheet(Samples(report.usable, settings))
        write_picture(picture, sheet)
        print(f"wrote {picture}")
    return 1 if report.problems else 0
