#!/usr/bin/env python3
"""Repeats the paper's ablations on a small dataset and writes the table of docs/reproduction.md.

    python scripts/reproduce.py --data camvid/train --val camvid/val --output runs

trains every variant of bisenet_ros/training/ablation.py, the baseline with three seeds. A run that
was stopped goes on, a finished one is not repeated. By torchrun each run is shared by processes.
"""

import argparse
import csv
import json
import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

from bisenet_ros.classes import SemanticClass
from bisenet_ros.complexity import count_parts
from bisenet_ros.inference.segmenter import Segmenter
from bisenet_ros.metadata import Metadata
from bisenet_ros.model_file import Model
from bisenet_ros.network import PRESETS, BiSeNetV2
from bisenet_ros.resources import share_directory
from bisenet_ros.training.ablation import BASELINE, VARIANTS
from bisenet_ros.training.checkpoint import read_checkpoint
from bisenet_ros.training.datasets import Dataset, open_dataset
from bisenet_ros.training.distributed import Processes, joined
from bisenet_ros.training.evaluation import Scores, evaluate
from bisenet_ros.training.loop import Progress, train
from bisenet_ros.training.settings import Settings, read_settings
from bisenet_ros.training.start import Start

SEEDS = {BASELINE: (0, 1, 2)}
DOCUMENT = Path(__file__).parents[1] / "docs" / "reproduction.md"
LOGS = DOCUMENT.with_suffix("")


def main() -> None:
    """Train what is missing, then write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="training images")
    parser.add_argument("--val", type=Path, required=True, help="images to score")
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument(
        "--config", type=Path, help="settings; default: config/training/ablation.yaml"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    config = args.config or share_directory() / "config" / "training" / "ablation.yaml"
    settings = read_settings(config, args.set)
    data, val = open_dataset(args.data), open_dataset(args.val, split="val")
    results = args.output / "results"
    with joined(args.device) as processes:
        for name, seed in _runs():
            path = results / f"{_slug(name, seed)}.json"
            if not path.is_file():
                _run(name, replace(settings, seed=seed), data, val, path, processes)
    if processes.rank == 0:
        _write(settings, results, len(data), len(val))


def _runs() -> Iterator[tuple[str, int]]:
    for name in VARIANTS:
        for seed in SEEDS.get(name, (0,)):
            yield name, seed


def _slug(name: str, seed: int) -> str:
    return f"{re.sub('[^a-z0-9]+', '_', name.lower())}_{seed}"


def _run(
    name: str, settings: Settings, data: Dataset, val: Dataset, path: Path, processes: Processes
) -> None:
    variant = VARIANTS[name]
    settings = replace(settings, ohem=variant.ohem)
    start = variant.start(settings, len(data.classes))
    checkpoint = path.parents[1] / f"{path.stem}.pt"
    resume = read_checkpoint(checkpoint) if checkpoint.is_file() else None
    losses: list[tuple[int, float]] = []
    started = time.monotonic()

    def report(progress: Progress, _: BiSeNetV2) -> None:
        losses.append((progress.iteration, progress.loss))
        if progress.iteration % 100 == 0:
            mean = sum(loss for _, loss in losses[-100:]) / len(losses[-100:])
            print(f"{name}, seed {settings.seed}: {progress.iteration} {mean:.3f}", flush=True)

    network = train(data, settings, checkpoint, report, resume, start, processes)
    if processes.rank:
        return
    scores = _score(Model(name, network.eval(), _metadata(start, settings, data.classes)), val)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".csv").open("w", newline="") as file:
        csv.writer(file).writerows([("iteration", "loss"), *((i, f"{x:.4f}") for i, x in losses)])
    document = {
        "variant": name,
        "seed": settings.seed,
        "miou": scores.miou,
        "iou": dict(zip((c.name for c in data.classes), scores.iou.tolist(), strict=True)),
        "seconds": time.monotonic() - started,
        "settings": asdict(settings),
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"{name}, seed {settings.seed}: {scores.miou:.2%} mIoU", flush=True)


def _metadata(start: Start, settings: Settings, classes: tuple[SemanticClass, ...]) -> Metadata:
    return Metadata(
        preset=settings.preset,
        architecture=start.network.architecture,
        classes=classes,
        mean=start.mean,
        std=start.std,
        resolution=settings.resolution,
    )


def _score(model: Model, val: Dataset) -> Scores:
    with closing(Segmenter(model, backend="torch", device="cpu")) as segmenter:
        samples = (val[index] for index in range(len(val)))
        return evaluate(samples, lambda x: segmenter.segment(x).labels, len(val.classes))


def _write(settings: Settings, results: Path, images: int, val_images: int) -> None:
    """Put the table into the document and the curves beside it."""
    scores: dict[str, list[float]] = {}
    LOGS.mkdir(exist_ok=True)
    for name, seed in _runs():
        path = results / f"{_slug(name, seed)}.json"
        scores.setdefault(name, []).append(100 * json.loads(path.read_text())["miou"])
        for kept in (path, path.with_suffix(".csv")):
            (LOGS / kept.name).write_bytes(kept.read_bytes())
    baseline = scores[BASELINE]
    mean, spread = sum(baseline) / len(baseline), max(baseline) - min(baseline)
    base = replace(PRESETS[settings.preset], num_classes=19, head_channels=settings.head_channels)
    lines = [
        "| Variant | mIoU, % | to baseline | GMAC at 1024x512 | Paper: mIoU, % | Paper: GFLOPs |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, variant in VARIANTS.items():
        values = scores[name]
        own = sum(values) / len(values)
        shown = " / ".join(f"{value:.2f}" for value in values)
        if name == BASELINE:
            difference = f"spread {spread:.2f}"
        else:
            difference = f"{own - mean:+.2f}"
            difference += "" if abs(own - mean) > spread else ", not resolved"
        gmacs = count_parts(variant.network(base), [""], (1024, 512))[""].gmacs
        paper = [f"{v:.2f}" if v else "" for v in (variant.paper_miou, variant.paper_gflops)]
        lines.append(f"| {name} | {shown} | {difference} | {gmacs:.2f} | {' | '.join(paper)} |")
    width, height = settings.crop
    lines += [
        "",
        f"{images} training images, {settings.iterations} iterations of {settings.batch_size} "
        f"crops of {width}x{height}; scored on {val_images} images.",
    ]
    text = DOCUMENT.read_text()
    before, _, rest = text.partition("<!-- table -->\n")
    after = rest.partition("<!-- end of table -->\n")[2]
    table = "\n".join(lines)
    DOCUMENT.write_text(f"{before}<!-- table -->\n{table}\n<!-- end of table -->\n{after}")


if __name__ == "__main__":
    main()
