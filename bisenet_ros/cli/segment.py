"""``bisenet segment``: write label images and overlays of a source, without a node."""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bisenet_ros.cli.argument_types import number, whole_number
from bisenet_ros.cli.engine_arguments import add_engine_arguments, open_model, open_segmenter
from bisenet_ros.cli.image_arguments import add_bit_depth_argument
from bisenet_ros.cli.output_files import check_output_files
from bisenet_ros.errors import OutputError, SourceError, UsageError, write_errors

if TYPE_CHECKING:
    from bisenet_ros.cli.frame_sources import Frame, Source
    from bisenet_ros.inference.segmenter import Segmenter

VIDEO_FRAME_ID = "camera"
"""The frame_id of a video's images in a bag."""


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
        help="folder for labels/ (PNG, one class id per pixel), overlay/ (JPEG) and classes.txt; "
        "an interrupted run into it is continued (default: %(default)s)",
    )
    parser.add_argument(
        "--confidence",
        action="store_true",
        help="also write confidence/ (PNG, 0 to 255 for probability 0 to 1)",
    )
    parser.add_argument(
        "--output-bag",
        type=Path,
        metavar="FILE",
        help="also write an .mcap file with the topics of the node, stamped like the images of a "
        "bag, or by the times in a video",
    )
    parser.add_argument(
        "--alpha",
        type=number(0, 1),
        default=0.5,
        metavar="A",
        help="opacity of the class colors in the overlay, 0 to 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="stop at the first frame that cannot be read (default: name it, go on, and exit with "
        "1 at the end)",
    )
    add_engine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Write labels and overlay of each frame; return 1 if a frame could not be read.

    Files are named like the image, or by frame number. Frames that an earlier run with the same
    settings has labeled are not labeled again.

    Raises:
        OutputError: A file cannot be written, or the folder has labels of other settings.
        UsageError: The bag is not named .mcap, or the frames of the input have no times.
        SourceError, ImageFileError: The input has no frames, or with ``--strict`` one that cannot
            be read.
        ModelFileError, ClassesError: The model or class file cannot be used.
        InferenceError: The engine is not available on this machine, or fails.
    """
    from tqdm import tqdm

    from bisenet_ros.cli.frame_sources import open_source
    from bisenet_ros.cli.readable_frames import readable_frames
    from bisenet_ros.cli.segment_output import SegmentOutput
    from bisenet_ros.resources import expand_home

    check_output_files([args.output_bag], folders=[args.output])
    output = SegmentOutput(args.output, alpha=args.alpha, confidence=args.confidence)
    source = open_source(args.input, topic=args.topic, limit=args.frames, bit_depth=args.bit_depth)
    if source.stated is None and not expand_home(args.input).exists():
        output.check_no_labels(source.name)
    if args.output_bag is not None:
        _check_output_bag(args, source)
    model = open_model(args)
    labeled = reused = 0
    failed: list[int] = []
    with ExitStack() as stack:
        segmenter = open_segmenter(args, model, confidence=args.confidence)
        stack.callback(segmenter.close)
        output.begin(_settings(args, source, segmenter), model.metadata.classes)
        bag = None
        if args.output_bag is not None:
            from bisenet_ros.ros.label_bag import open_label_bag

            stack.enter_context(write_errors(args.output_bag))
            bag = stack.enter_context(open_label_bag(args.output_bag, model))
        bar = stack.enter_context(
            tqdm(total=source.length, desc="segment", unit="frame", disable=None)
        )
        for index, frame in readable_frames(source, args.strict, failed):
            name = frame.name or f"{index:06}"
            if output.has(name, frame.path):
                reused += 1
                pictures = output.read(name, frame.image) if bag is not None else None
            else:
                labeled += 1
                pictures = output.write(name, segmenter.segment(frame.image))
            if bag is not None and pictures is not None:
                bag.write(*pictures, **_times(frame))
            bar.update(index + 1 - bar.n)  # with those left out
        if not labeled + reused:
            raise SourceError(f"no frame of {source.name} could be read")
    width, height = segmenter.resolution
    engine = segmenter.backend
    total = labeled + reused + len(failed)
    if failed:  # a damaged file also loses the frames behind
        total = max(total, source.length or 0)
    print(
        f"segmented {labeled + reused}{f' of {total}' if failed else ''} frames of "
        f"{source.name} with {model.name} at {width}x{height} on {engine.name}, {engine.device}, "
        f"{engine.precision}{f', {reused} of them in an earlier run' if reused else ''}: "
        f"{', '.join(map(str, [*output.folders, *([args.output_bag] if bag else [])]))}"
    )
    if failed:
        print(
            f"bisenet segment: {total - labeled - reused} of {total} frames of {source.name} are "
            "not labeled, for the reasons above",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _check_output_bag(args: argparse.Namespace, source: "Source") -> None:
    from bisenet_ros.cli.frame_sources import is_bag
    from bisenet_ros.resources import expand_home

    if args.output_bag.suffix != ".mcap":
        raise UsageError(f"argument --output-bag: {args.output_bag} is not named .mcap")
    if args.output_bag.exists():
        raise OutputError(f"{args.output_bag} exists: remove it, or use another --output-bag")
    path = expand_home(args.input)
    if source.rate is None and not (path.exists() and is_bag(path)):
        raise UsageError(
            f"argument --output-bag: the frames of {source.name} have no times; give a bag, or a "
            "video that states its frame rate, as --input"
        )


def _settings(args: argparse.Namespace, source: "Source", segmenter: "Segmenter") -> dict[str, Any]:
    """Return all that determines the labels of a frame, for ``SegmentOutput.begin``."""
    import hashlib

    from bisenet_ros.cli.frame_sources import SYNTHETIC
    from bisenet_ros.resources import expand_home, model_path

    path = expand_home(args.input)
    name = source.name.replace(str(path), str(path.resolve()), 1) if path.exists() else source.name
    model = segmenter.model
    return {
        "input": name,
        "input_bytes": _size(path),
        # The streets of a synthetic frame depend on how many there are.
        "input_frames": source.length if args.input == SYNTHETIC else None,
        "bit_depth": args.bit_depth,
        "model": model.name,
        "model_sha256": hashlib.sha256(model_path(args.model).read_bytes()).hexdigest(),
        "classes": [entry.name for entry in model.metadata.classes],
        "resolution": list(segmenter.resolution),
        "backend": segmenter.backend.name,
        "precision": segmenter.backend.precision,
    }


def _size(path: Path) -> int | None:
    """Return the bytes of a file or of a bag's folder; None for others."""
    from bisenet_ros.cli.frame_sources import is_bag

    if path.is_file():
        return path.stat().st_size
    if not (path.is_dir() and is_bag(path)):
        return None
    return sum(file.stat().st_size for file in path.iterdir() if file.is_file())


def _times(frame: "Frame") -> dict[str, Any]:
    """Return stamp, frame_id and time of a frame, for ``LabelBag.write``."""
    if frame.recorded is not None:
        return {
            "stamp_ns": frame.recorded.stamp_ns,
            "frame_id": frame.recorded.frame_id,
            "time_ns": frame.recorded.time_ns,
        }
    assert frame.seconds is not None, "the rate is checked at the start"
    time_ns = round(1e9 * frame.seconds)
    return {"stamp_ns": time_ns, "frame_id": VIDEO_FRAME_ID, "time_ns": time_ns}
