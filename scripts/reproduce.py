#!/usr/bin/env python3
"""Reproduce the paper's ablation study on a small dataset.

    python scripts/reproduce.py --data camvid/train --val camvid/val --output runs

Trains every variant of bisenet_ros/training/ablation.py, the baseline with three seeds, and writes
docs/reproduction.json and the table in docs/reproduction.md. Stopped runs are resumed, finished
ones are not repeated. Under torchrun, several processes share each run.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bisenet_ros.datasets import Dataset, open_dataset
from bisenet_ros.errors import DatasetError
from bisenet_ros.evaluation.evaluate import score
from bisenet_ros.model.file import Model
from bisenet_ros.model.flops import count_parts
from bisenet_ros.model.metadata import Metadata
from bisenet_ros.network import PRESETS
from bisenet_ros.training.ablation import BASELINE, VARIANTS
from bisenet_ros.training.checkpoint import WITHOUT_EFFECT
from bisenet_ros.training.distributed import DistributedContext, init_distributed, use_threads
from bisenet_ros.training.run import CHECKPOINT, Run
from bisenet_ros.training.settings import Settings, make_settings, read_settings
from bisenet_ros.training.signals import GracefulStop
from bisenet_ros.training.trainer import resolve_precision

SEEDS = {BASELINE: (0, 1, 2)}
SCORES = "scores.json"
START, END = "<!-- table -->\n", "<!-- end of table -->\n"
DOCUMENT = Path(__file__).parents[1] / "docs" / "reproduction.md"
CONFIG = Path(__file__).parents[1] / "config" / "training" / "ablation.yaml"


def main(argv: Sequence[str] | None = None) -> int:
    """Train the missing runs and write the table; return 130 if stopped."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="training images")
    parser.add_argument("--val", type=Path, required=True, help="images to score")
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--config", type=Path, default=CONFIG, help="settings of all runs")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--document",
        type=Path,
        default=DOCUMENT,
        help="page to update; scores are written beside it",
    )
    args = parser.parse_args(argv)
    text = args.document.read_text()
    if START not in text or END not in text:
        sys.exit(f"{args.document} lacks the lines '{START.strip()}' and '{END.strip()}'")
    base = read_settings(args.config, args.set)
    try:
        data = open_dataset(args.data, bit_depth=base.bit_depth)
        val = open_dataset(args.val, split="val", bit_depth=base.bit_depth)
    except DatasetError as error:
        sys.exit(str(error))
    if data.classes != val.classes:
        sys.exit(f"{args.val} has other classes than {args.data}")
    with use_threads(), init_distributed(args.device) as processes:
        base = resolve_precision(base, processes)
        runs = [
            VariantRun(name, replace(base, seed=seed, ohem=VARIANTS[name].ohem), args.output)
            for name in VARIANTS
            for seed in SEEDS.get(name, (0,))
        ]
        with GracefulStop(ignore_repeats=processes.size > 1) as stop:
            for run in runs:
                finished = run.finish(data, val, processes, stop)
                # Only rank 0 scores, and may be stopped meanwhile.
                if processes.any(not finished):
                    if processes.rank == 0:
                        print("\nstopped; repeat the command to continue", file=sys.stderr)
                    return 130
        if processes.rank == 0:
            record = collect(runs)
            file = args.document.with_suffix(".json")
            file.write_text(json.dumps(record, indent=1) + "\n")
            before, _, rest = args.document.read_text().partition(START)
            after = rest.partition(END)[2]
            args.document.write_text(f"{before}{START}{make_table(record)}{END}{after}")
    return 0


@dataclass(frozen=True)
class VariantRun:
    """One training run of a variant, in its own folder."""

    variant: str
    settings: Settings
    output: Path

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        name = re.sub("[^a-z0-9]+", "_", self.variant.lower())
        return self.output / f"{name}_{self.settings.seed}"

    @property
    def scores(self) -> dict[str, Any]:
        """Scores and settings stored by the finished run."""
        scores: dict[str, Any] = json.loads((self.folder / SCORES).read_text())
        return scores

    def finish(
        self, data: Dataset, val: Dataset, processes: DistributedContext, stop: Callable[[], bool]
    ) -> bool:
        """Train and score the run unless it is finished; return False if stopped.

        Raises:
            SystemExit: The finished run has other settings or data.
        """
        images = {"images": len(data), "scored": len(val)}
        if (self.folder / SCORES).is_file():
            before = make_settings(self.scores["settings"])
            same = {name: getattr(self.settings, name) for name in WITHOUT_EFFECT}
            other_data = any(self.scores.get(name) != count for name, count in images.items())
            if replace(before, **same) != self.settings or other_data:
                sys.exit(
                    f"{self.folder} has other settings or data: use the same, or another --output"
                )
            return True
        start = VARIANTS[self.variant].start(self.settings, len(data.classes))
        resume = (self.folder / CHECKPOINT).is_file()
        with Run(self.folder, data, self.settings, start, processes, resume=resume) as run:
            outcome = run.train(stop)
        if outcome.stopped or processes.rank:
            return not outcome.stopped
        metadata = Metadata(
            preset=start.preset,
            architecture=outcome.network.architecture,
            classes=data.classes,
            mean=start.mean,
            std=start.std,
            resolution=self.settings.resolution,
        )
        model = Model(self.variant, outcome.network.eval(), metadata)
        scores = score(model, val, range(len(val)), processes.device, stop)
        if scores is None:
            return False
        names = [entry.name for entry in data.classes]
        document = {
            "variant": self.variant,
            **images,
            "miou": scores.miou,
            "iou": dict(zip(names, scores.iou.tolist(), strict=True)),
            "settings": asdict(self.settings),
        }
        if run.before is not None and run.before.changes:
            document["resumed"] = list(run.before.changes)
        (self.folder / SCORES).write_text(json.dumps(document, indent=1) + "\n")
        print(f"{self.folder.name}: {scores.miou:.2%} mIoU", flush=True)
        return True


def collect(runs: Sequence[VariantRun]) -> dict[str, Any]:
    """Return common data and settings, and each run's scores and differing settings."""
    results = [run.scores for run in runs]
    counts = {name: results[0][name] for name in ("images", "scored")}
    settings = {
        name: value
        for name, value in results[0]["settings"].items()
        if all(result["settings"][name] == value for result in results)
    }
    for result in results:
        for name in counts:
            del result[name]
        for name in settings:
            del result["settings"][name]
    return {**counts, "settings": settings, "runs": results}


def make_table(record: dict[str, Any]) -> str:
    """Return the page's table in Markdown from the record of ``collect``."""
    scores: dict[str, list[float]] = {}
    for run in record["runs"]:
        scores.setdefault(run["variant"], []).append(100 * run["miou"])
    mean = {name: sum(values) / len(values) for name, values in scores.items()}
    spread = max(scores[BASELINE]) - min(scores[BASELINE])
    settings = record["settings"]
    preset, head_channels = settings["preset"], settings["head_channels"]
    architecture = replace(PRESETS[preset], num_classes=19, head_channels=head_channels)
    lines = [
        "| Variant | mIoU, % | difference | GMAC at 1024x512 | Paper: mIoU, % | Paper: GFLOPs |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, variant in VARIANTS.items():
        if name == BASELINE:
            difference = f"spread {spread:.2f}"
        else:
            points = mean[name] - mean[variant.against]
            difference = f"{points:+.2f} to {variant.against}"
            difference += "" if abs(points) > spread else ", not resolved"
        gmacs = count_parts(variant.network(architecture), [""], (1024, 512))[""].gmacs
        shown = " / ".join(f"{value:.2f}" for value in scores[name])
        paper = [f"{v:.2f}" if v else "" for v in (variant.paper_miou, variant.paper_gflops)]
        lines.append(f"| {name} | {shown} | {difference} | {gmacs:.2f} | {' | '.join(paper)} |")
    width, height = settings["crop"]
    lines += [
        "",
        f"{record['images']} training images, {settings['iterations']} iterations of "
        f"{settings['batch_size']} crops of {width}x{height} (`{preset}`, C_t {head_channels}); "
        f"scored on {record['scored']} images.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
