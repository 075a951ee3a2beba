"""``bisenet train``: from a folder of labelled images to a model file."""

import argparse
import csv
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from types import FrameType

LOG_COLUMNS = ("iteration", "loss", "learning_rate", "images_per_s", "waited_share")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder with images/, labels/ and classes.txt ('id name r g b' a line)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="folder for model.safetensors, checkpoint.pt and log.csv",
    )
    parser.add_argument("--config", type=Path, help="YAML file of settings; default: the paper's")
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
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--dataset-name", help="stored in the model file; default: the folder")
    parser.add_argument("--licence", default="", help="note on the weights' use, stored likewise")


def run(args: argparse.Namespace) -> int:
    """Train and write the model file at each checkpoint and at the end."""
    from tqdm import tqdm

    from bisenet_ros.model_file import Metadata, load, save
    from bisenet_ros.network import BiSeNetV2
    from bisenet_ros.resources import model_path
    from bisenet_ros.training.checkpoint import CheckpointError, read_checkpoint
    from bisenet_ros.training.folder import open_folder
    from bisenet_ros.training.loop import IMAGENET_MEAN, IMAGENET_STD, Progress, train
    from bisenet_ros.training.settings import read_settings

    folder = open_folder(args.data)
    settings = read_settings(args.config, args.set)
    init = load(model_path(args.init)) if args.init else None
    checkpoint_path = args.output / "checkpoint.pt"
    resume = read_checkpoint(checkpoint_path) if args.resume else None
    if resume is not None and resume.settings != settings:
        raise CheckpointError(
            f"{checkpoint_path} was made with other settings; give the same --config and --set, "
            "or train into another folder"
        )
    if resume is None and checkpoint_path.exists():
        raise CheckpointError(
            f"{checkpoint_path} is there already: go on with --resume, or train into another folder"
        )
    args.output.mkdir(parents=True, exist_ok=True)

    def export(network: BiSeNetV2) -> None:
        metadata = Metadata(
            preset=init.metadata.preset if init else settings.preset,
            architecture=network.architecture,
            classes=folder.classes,
            mean=init.metadata.mean if init else IMAGENET_MEAN,
            std=init.metadata.std if init else IMAGENET_STD,
            resolution=settings.resolution,
            dataset=args.dataset_name or args.data.resolve().name,
            licence=args.licence,
            recipe=asdict(settings) | ({"init": dict(init.metadata.recipe)} if init else {}),
        )
        save(args.output / "model.safetensors", network, metadata)

    first = resume.iteration if resume else 0
    waited = spent = 0.0
    log_path = args.output / "log.csv"
    kept = _rows_until(log_path, first)
    with (
        _StopRequest() as stop,
        tqdm(total=settings.iterations, initial=first, unit="it", desc="train") as bar,
        log_path.open("w", newline="") as file,
    ):
        log = csv.writer(file)
        log.writerow(LOG_COLUMNS)
        log.writerows(kept)
        file.flush()

        def report(progress: Progress, network: BiSeNetV2) -> None:
            nonlocal waited, spent
            waited += progress.waited
            spent += progress.seconds
            speed = settings.batch_size / progress.seconds
            bar.update()
            bar.set_postfix(
                loss=f"{progress.loss:.3f}",
                lr=f"{progress.learning_rate:.2g}",
                images_s=f"{speed:.1f}",
                waited=f"{waited / spent:.0%}",
            )
            log.writerow(
                [
                    progress.iteration,
                    f"{progress.loss:.4f}",
                    f"{progress.learning_rate:.3g}",
                    f"{speed:.2f}",
                    f"{waited / spent:.3f}",
                ]
            )
            if progress.iteration % settings.checkpoint_every == 0:
                file.flush()
                export(network)
            if stop.requested and progress.iteration < settings.iterations:
                raise KeyboardInterrupt

        try:
            export(train(folder, settings, checkpoint_path, report, resume, args.device, init))
        except KeyboardInterrupt:
            bar.close()
            print("stopped; the same command with --resume goes on", file=sys.stderr)
            raise
    print(f"wrote {args.output / 'model.safetensors'}")
    return 0


class _StopRequest:
    """Ctrl-C and SIGTERM wait for the end of the iteration; the second one does not."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> "_StopRequest":
        signals = (signal.SIGINT, signal.SIGTERM)
        self._before = {number: signal.signal(number, self._request) for number in signals}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def _rows_until(log: Path, iteration: int) -> list[list[str]]:
    """The rows of a log up to ``iteration``: a run may have logged more than it has saved."""
    if not iteration or not log.is_file():
        return []
    with log.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [row for row in rows if len(row) == len(LOG_COLUMNS) and int(row[0]) <= iteration]
