"""``bisenet info``: show the cost of a network and the metadata of a model file."""

import argparse
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bisenet_ros.cli.argument_types import network_resolution, whole_number
from bisenet_ros.cli.output_files import check_output_files, write_json
from bisenet_ros.errors import UsageError, quoted

if TYPE_CHECKING:
    from bisenet_ros.model.flops import Cost
    from bisenet_ros.model.metadata import Metadata, Score
    from bisenet_ros.network import Architecture

DEFAULT_PRESET = "bisenetv2"
DEFAULT_RESOLUTION = (1024, 512)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("--model", metavar="FILE", help="model file or name of a shipped model")
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="network to show without a model file: bisenetv2 (default), bisenetv2_paper or "
        "bisenetv2_large",
    )
    parser.add_argument(
        "--num-classes",
        type=whole_number(2, 255),
        metavar="N",
        help="number of classes of the preset (default: 19)",
    )
    parser.add_argument(
        "--head-channels",
        type=whole_number(1, 4096),
        metavar="C",
        help="head channels C_t of the preset (default: the preset's)",
    )
    parser.add_argument(
        "--resolution",
        type=network_resolution,
        metavar="WxH",
        help="network input size in pixels for the multiply-adds (default: the model's, or "
        "1024x512 for a preset)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the values to this file")


def run(args: argparse.Namespace) -> int:
    """Print the cost of each part and the model's metadata, and write them as JSON.

    Raises:
        UsageError: Options exclude each other, or the preset is unknown.
        ModelFileError: The model file cannot be used.
        OutputError: The ``--json`` file cannot be written.
    """
    from bisenet_ros.model.file import load
    from bisenet_ros.model.flops import Cost, count_macs
    from bisenet_ros.model.metadata import to_json
    from bisenet_ros.resources import model_path

    metadata: Metadata | None = None
    resolution = DEFAULT_RESOLUTION
    if args.model is None:
        title, architecture = _architecture(args)
    else:
        _refuse_with_model(args)
        model = load(model_path(args.model))
        _ = model.network  # checks the weights, too
        title, metadata = model.name, model.metadata
        architecture, resolution = metadata.architecture, metadata.resolution
    resolution = args.resolution or resolution
    check_output_files([args.json])
    parts = count_macs(architecture, resolution)
    total = Cost(
        sum(cost.parameters for cost in parts.values()), sum(cost.macs for cost in parts.values())
    )
    print(_table(title, architecture, resolution, {**parts, "total": total}))
    if metadata is not None:
        print()
        print(_description(metadata))
    if args.json is not None:
        document = {
            "parameters": total.parameters,
            "gmacs": total.gmacs,
            "resolution": list(resolution),
            "parts": {
                name: {"parameters": cost.parameters, "gmacs": cost.gmacs}
                for name, cost in parts.items()
            },
            "metadata": None if metadata is None else to_json(metadata),
        }
        write_json(args.json, document)
    return 0


def _architecture(args: argparse.Namespace) -> "tuple[str, Architecture]":
    from bisenet_ros.model.metadata import vary_architecture
    from bisenet_ros.network import PRESETS

    preset = DEFAULT_PRESET if args.preset is None else args.preset
    if preset not in PRESETS:
        raise UsageError(f"--preset {quoted(preset)} is not one of {', '.join(PRESETS)}")
    changes = {"num_classes": args.num_classes, "head_channels": args.head_channels}
    given = {name: value for name, value in changes.items() if value is not None}
    return preset, vary_architecture(PRESETS[preset], **given)


def _refuse_with_model(args: argparse.Namespace) -> None:
    for option in ("preset", "num_classes", "head_channels"):
        if getattr(args, option) is not None:
            raise UsageError(
                f"--{option.replace('_', '-')} conflicts with --model, whose file determines it; "
                "omit one of them"
            )


def _table(
    title: str,
    architecture: "Architecture",
    resolution: tuple[int, int],
    costs: "Mapping[str, Cost]",
) -> str:
    width, height = resolution
    lines = [
        f"{title}: {architecture.num_classes} classes, {architecture.head_channels} head "
        f"channels, inference at {width}x{height}",
        f"{'part':<16}{'parameters':>12}{'GMAC':>10}",
    ]
    lines += [
        f"{name:<16}{cost.parameters:>12,}{cost.gmacs:>10.3f}" for name, cost in costs.items()
    ]
    return "\n".join(lines)


def _description(metadata: "Metadata") -> str:
    width, height = metadata.resolution
    architecture = vars(metadata.architecture)
    rows = {
        "preset": metadata.preset,
        "architecture": _pairs(architecture),
        "resolution": f"{width}x{height}",
        "normalization": f"mean {metadata.mean}, std {metadata.std}, "
        f"{metadata.channel_order.upper()} in 0..1",
        "dataset": metadata.dataset or "not stated",
        "license": metadata.license or "not stated",
        "calibration": "for int8" if metadata.calibration else "none (int8 is not available)",
    }
    table = [*rows.items(), *_scores(metadata.scores), *_recipes(metadata.recipe)]
    lines = [
        textwrap.fill(f"{name:<16}{value}", 100, subsequent_indent=16 * " ")
        for name, value in table
    ]
    lines.append("classes")
    lines += [f"  {c.id:>3}  #{bytes(c.color).hex()}  {c.name}" for c in metadata.classes]
    return "\n".join(lines)


def _scores(scores: "Sequence[Score]") -> Iterator[tuple[str, str]]:
    """Yield a row for each dataset, precision and arithmetic."""
    rows: dict[str, dict[str, float]] = {}
    for score in scores:
        on = score.measured_on or "arithmetic not stated"
        about = " ".join(filter(None, (score.dataset, score.precision)))
        rows.setdefault(f"{about} ({on}): ", {})[score.measure] = score.value
    for begin, values in rows.items():
        yield "scores", begin + _pairs(values)
    if not scores:
        yield "scores", "not stated"


def _recipes(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a row for the recipe and one for each pretrained model that it started from."""
    own = {name: value for name, value in recipe.items() if name != "init"}
    yield "recipe", _pairs(own) or "not stated"
    if "init" in recipe:
        for _, value in _recipes(recipe["init"]):
            yield "  started from", value


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
