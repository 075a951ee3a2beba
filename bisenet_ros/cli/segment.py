"""``bisenet segment``: write label images and overlays of a source, without a node."""

import argparse
from pathlib import Path

from bisenet_ros.cli.argument_types import number, whole_number
from bisenet_ros.cli.engine_arguments import add_engine_arguments, open_model, open_segmenter
from bisenet_ros.cli.image_arguments import add_bit_depth_argument
from bisenet_ros.cli.output_files import check_output_files
from bisenet_ros.errors import OutputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument(
        "--input",
        required=True,
        metavar="X",
        help="image, folder of images, video, stream URL, ROS bag (folder, .mcap or .db3), camera "
        "number, or 'synthetic' (a synthetic street)",
    )
    parser.add_argument("--topic", help="image topic to read from a bag that has several")
    parser.add_argument("--frames", type=whole_number(1), metavar="N", help="stop after N frames")
    add_bit_depth_argument(parser)
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
    """Write labels and overlay of each frame, named like the image or by frame number.

    Raises:
        OutputError: The folder cannot be written, or already contains labels.
        SourceError, ImageFileError: The input has no frames, or a frame cannot be read.
        ModelFileError, ClassesError: The model or class file cannot be used.
        InferenceError: The engine is not available on this machine, or fails.
    """
    from contextlib import closing

    from tqdm import tqdm

    from bisenet_ros.classes import palette
    from bisenet_ros.cli.frame_sources import open_source
    from bisenet_ros.images.render import overlay, write_picture

    labels, overlays = args.output / "labels", args.output / "overlay"
    check_output_files(folders=[args.output])
    if labels.is_dir() and any(labels.iterdir()):
        # Do not overwrite: they may be the labels of a dataset.
        raise OutputError(f"{labels} already contains files: remove them, or use another --output")
    source = open_source(
        args.input,
        topic=args.topic,
        limit=args.frames,
        bit_depth=args.bit_depth,
    )
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
        f"segmented {len(names)} frames of {source.name} with {model.name} at {width}x{height} on "
        f"{engine.name}, {engine.device}, {engine.precision}: {labels}, {overlays}"
    )
    return 0
