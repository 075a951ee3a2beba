"""``bisenet segment``: label images, a video, a bag or a camera into files, without a node."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument(
        "--input",
        required=True,
        metavar="X",
        help="image, folder of images, video, ROS bag (its folder, .mcap or .db3), number of a "
        "camera, or 'synthetic' (a street drawn by code)",
    )
    parser.add_argument("--topic", help="topic to read of a bag that has several with images")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after so many frames")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("segment_output"),
        metavar="DIR",
        help="folder for labels/ (PNG, a class id a pixel), overlay/ (JPEG) and classes.txt "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--alpha", type=float, default=0.5, help="share of the class colour in the overlay"
    )
    parser.add_argument(
        "--model", default="", metavar="FILE", help="model file, or name of a shipped model"
    )
    parser.add_argument("--classes", default="", metavar="FILE", help="names and colours")
    parser.add_argument("--backend", default="auto", help="auto, tensorrt, openvino or torch")
    parser.add_argument("--device", default="auto", help="such as cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="auto", help="fp32, bf16, fp16 or int8")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="0: one a core")
    parser.add_argument("--resolution", metavar="WxH", help="size the network works at")


def run(args: argparse.Namespace) -> int:
    """Write labels and overlay of each frame, under the image's own name where it has one."""
    from contextlib import closing

    from tqdm import tqdm

    from bisenet_ros import model_file
    from bisenet_ros.classes import palette
    from bisenet_ros.inference.segmenter import Segmenter, parse_resolution
    from bisenet_ros.rendering import overlay
    from bisenet_ros.resources import classes_path, model_path
    from bisenet_ros.sources import open_source

    if not 0 <= args.alpha <= 1:
        raise ValueError(f"--alpha is {args.alpha}; it must be from 0 to 1")
    source = open_source(args.input, topic=args.topic, limit=args.frames)
    model = model_file.load(model_path(args.model), classes_path(args.classes))
    segmenter = Segmenter(
        model,
        backend=args.backend,
        device=args.device,
        precision=args.precision,
        resolution=parse_resolution(args.resolution) if args.resolution else None,
        threads=args.threads,
    )
    labels, overlays = args.output / "labels", args.output / "overlay"
    labels.mkdir(parents=True, exist_ok=True)
    overlays.mkdir(exist_ok=True)
    classes = model.metadata.classes
    lines = (f"{entry.id} {entry.name} {' '.join(map(str, entry.color))}\n" for entry in classes)
    (args.output / "classes.txt").write_text("".join(lines), encoding="utf-8")

    colours = palette(classes)
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
            _write(labels / f"{name}.png", segmentation.labels)
            shown = overlay(frame.image, segmentation.labels, colours, args.alpha)
            _write(overlays / f"{name}.jpg", shown[..., ::-1])
    width, height = segmenter.resolution
    engine = segmenter.backend
    print(
        f"{len(names)} frames of {source.name}, by {model.name} at {width}x{height} on "
        f"{engine.name}, {engine.device}, {engine.precision}: {labels}, {overlays}"
    )
    return 0


def _write(path: Path, pixels: "NDArray[np.uint8]") -> None:
    import cv2

    if not cv2.imwrite(str(path), pixels):
        raise OSError(f"cannot write {path}: is the disk full, or the folder of another user?")
