"""``bisenet evaluate``: how well a model labels a folder of labelled images."""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bisenet_ros.training.evaluation import Scores

    Sample = tuple[NDArray[np.uint8], NDArray[np.uint8]]

SYNTHETIC = "synthetic"
SYNTHETIC_STREETS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument(
        "--data",
        required=True,
        metavar="DIR",
        help="folder with images/, labels/ and classes.txt ('id name r g b' a line), or "
        f"'{SYNTHETIC}': a frame of each of {SYNTHETIC_STREETS} streets drawn by code",
    )
    parser.add_argument(
        "--model", default="", metavar="FILE", help="model file or name; default: the shipped one"
    )
    parser.add_argument(
        "--classes",
        default="",
        metavar="FILE",
        help="class file, camvid or cityscapes: names and colours instead of the model's",
    )
    parser.add_argument("--backend", default="auto", help="what runs the network, such as torch")
    parser.add_argument("--device", default="auto", help="cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="auto", help="fp32, bf16 or fp16")
    parser.add_argument(
        "--resolution", metavar="WxH", help="size the network works at; default: the model's"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores here")
    parser.add_argument(
        "--record", metavar="NAME", help="store the scores in the model file, as those on NAME"
    )


def run(args: argparse.Namespace) -> int:
    """Score the model and print IoU by class.

    Images are resized to the network's size and the labels back to theirs, and compared there.
    """
    from contextlib import closing

    from tqdm import tqdm

    from bisenet_ros import model_file
    from bisenet_ros.inference.segmenter import Segmenter, parse_resolution
    from bisenet_ros.resources import classes_path, model_path
    from bisenet_ros.training.evaluation import evaluate, iou_by_class

    names, samples, count = _open(args.data)
    path = model_path(args.model)
    if args.record is not None and path.suffix != ".safetensors":
        raise ValueError(f"--record stores scores in a .safetensors of ours, and {path} is none")
    model = model_file.load(path, classes_path(args.classes))
    _check_names([entry.name for entry in model.metadata.classes], names, args.data)
    segmenter = Segmenter(
        model,
        backend=args.backend,
        device=args.device,
        precision=args.precision,
        resolution=parse_resolution(args.resolution) if args.resolution else None,
    )
    with closing(segmenter), tqdm(samples, "evaluate", count, unit="image", disable=None) as bar:
        scores = evaluate(bar, lambda image: segmenter.segment(image).labels, len(names))

    iou = iou_by_class(scores, names)
    width, height = segmenter.resolution
    backend, precision = segmenter.backend.name, segmenter.backend.precision
    print(_table(iou, scores))
    print(f"{count} images; {model.name} at {width}x{height}, {backend}, {precision}")
    if args.json is not None:
        document = {
            "miou": scores.miou,
            "pixel_accuracy": scores.pixel_accuracy,
            "iou": iou,
            "images": count,
            "backend": backend,
            "precision": precision,
        }
        args.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if args.record is not None:
        measured = {"miou": scores.miou, "pixel accuracy": scores.pixel_accuracy}
        measured |= {f"iou {name}": value for name, value in iou.items() if value is not None}
        recorded = {f"{args.record} {what}": round(value, 4) for what, value in measured.items()}
        metadata = replace(model.metadata, scores={**model.metadata.scores, **recorded})
        model_file.save(path, model.network, metadata)
    return 0


def _open(data: str) -> tuple[list[str], "Iterator[Sample]", int]:
    """Class names, the samples, and their number."""
    from bisenet_ros.synthetic import CLASS_NAMES, DEMO_SEEDS, Street
    from bisenet_ros.training.folder import open_folder

    if data == SYNTHETIC:
        seeds = DEMO_SEEDS[:SYNTHETIC_STREETS]
        return list(CLASS_NAMES), (Street(seed).frame(seed) for seed in seeds), len(seeds)
    folder = open_folder(Path(data).expanduser())
    items = (folder[index] for index in range(len(folder)))
    return [entry.name for entry in folder.classes], items, len(folder)


def _check_names(model: Sequence[str], data: Sequence[str], where: str) -> None:
    if len(model) != len(data):
        raise ValueError(
            f"the model has {len(model)} classes and {where} has {len(data)}; a model is scored on "
            "data with its own classes"
        )
    for id_, (ours, theirs) in enumerate(zip(model, data, strict=True)):
        if ours != theirs:
            raise ValueError(
                f"class {id_} is '{ours}' in the model and '{theirs}' in {where}; if both mean "
                "the same, give the data's class file as --classes"
            )


def _table(iou: dict[str, float | None], scores: "Scores") -> str:
    rows = [
        *((name, "absent" if value is None else f"{value:.2%}") for name, value in iou.items()),
        ("mean IoU", f"{scores.miou:.2%}"),
        ("pixel accuracy", f"{scores.pixel_accuracy:.2%}"),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value:>7}" for name, value in [("class", "IoU"), *rows]]
    lines.insert(len(lines) - 2, "-" * len(lines[0]))
    return "\n".join(lines)
