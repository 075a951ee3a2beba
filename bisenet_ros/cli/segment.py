"""``bisenet segment``: label images, a video, a bag or a camera into files, without a node."""

import argparse
from pathlib import Path

from bisenet_ros.cli.argument_types import number, whole_number
from bisenet_ros.cli.engine_arguments import add_engine_arguments, open_model, open_segmenter
from bisenet_ros.cli.output_files import check_output_files
from bisenet_ros.errors import OutputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument(
        "--input",
        required=True,
        metavar="X",
        help="image, folder of images, video, URL of a stream, ROS bag (its folder, .mcap or "
        ".db3), number of a camera, or 'synthetic' (a street drawn by code)",
    )
    parser.add_argument("--topic", help="topic to read from a bag that has several with images")
    parser.add_argument("--frames", type=whole_number(1), metavar="N", help="stop after N frames")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("segment_output"),
        metavar="DIR",
        help="folder for labels/ (PNG, one class id per pixel), overlay/ (JPEG) and classes.txt "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--alpha",
        type=number(0, 1),
        default=0.5,
        metavar="A",
        help="opacity of the class colors in the overlay, 0 to 1 (default: %(default)s)",
    )
    add_engine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Write labels and overlay of each frame, under the image's own name where it has one.

    Raises:
        OutputError: the folder cannot be written, or has labels already.
        SourceError, ImageFileError: the input gives no frames, or one of them cannot be read.
        ModelFileError, ClassesError: the model or class file cannot be used.
        InferenceError: this machine has no such engine, or it failed.
    """
    from contextlib import closing

    from tqdm import tqdm

    from bisenet_ros.classes import palette
    from bisenet_ros.cli.frame_sources import open_source
    from bisenet_ros.images.render import overlay, write_picture

    labels, overlays = args.output / "labels", args.output / "overlay"
    check_output_files(folders=[args.output])
    if labels.is_dir() and any(labels.iterdir()):
        # Not deleted: they may be the labels of a dataset.
        raise OutputError(f"{labels} has files already: remove them, or give another --output")
    source = open_source(args.input, topic=args.topic, limit=args.frames)
    model = open_model(args)
    segmenter = open_segmenter(args, model)
    labels.mkdir(parents=True, exist_ok=True)
    overlays.mkdir(exist_ok=True)
    classes = model.metadata.classes
    lines = (f"{entry.id} {entry.name} {' '.join(map(str, entry.color))}\n" for entry in classes)
    (args.output / "classes.txt").write_text("".join(lines), encoding="utf-8")

    colors = palette(classes)
    names: set[str] = set()
    with (
        closing(segmenter),
        tqdm(source.frames(), "segment", source.length, unit="frame", disable=None) as bar,
    ):
        for number, frame in enumerate(bar):
            name = frame.name or f"{number:06}"
            if name in names:  # a.jpg beside a.png
                name = f"{name}_{number:06}"
            names.add(name)
            segmentation = segmenter.segment(frame.image)
            write_picture(labels / f"{name}.png", segmentation.labels)
            shown = overlay(frame.image, segmentation.labels, colors, args.alpha)
            write_picture(overlays / f"{name}.jpg", shown)
    width, height = segmenter.resolution
    engine = segmenter.backend
    print(
        f"{len(names)} frames of {source.name}, by {model.name} at {width}x{height} on "
        f"{engine.name}, {engine.device}, {engine.precision}: {labels}, {overlays}"
    )
    return 0
