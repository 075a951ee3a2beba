"""``bisenet demo``: run the real node on images, a video, a bag, a camera or a synthetic street."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from bisenet_ros.cli.argument_types import positive_number, whole_number
from bisenet_ros.cli.engine_arguments import add_engine_arguments
from bisenet_ros.cli.image_arguments import add_bit_depth_argument
from bisenet_ros.cli.output_files import check_output_files, write_json

if TYPE_CHECKING:
    from bisenet_ros.cli.demo_report import Recorder
    from bisenet_ros.cli.frame_sources import Frame
    from bisenet_ros.ros.demo_client import DemoClient

CONFIGURE_TIMEOUT_S = 900.0
"""Loading an engine takes seconds, but building one for a small GPU takes minutes."""
LABEL_TIMEOUT_S = 10.0
LOST_IN_A_ROW = 3
"""Number of consecutive timeouts after which the demo gives up."""

NODE_PARAMETERS = (
    *("model", "classes", "backend", "device", "precision", "resolution", "threads"),
    "engine_cache",
)
"""Arguments that are passed to the node as parameters of the same name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument(
        "--input",
        default="synthetic",
        metavar="X",
        help="image, folder of images, video, stream URL, ROS bag (folder, .mcap or .db3), camera "
        "number, or 'synthetic' (default: a synthetic street with exact labels)",
    )
    parser.add_argument("--topic", help="image topic to read from a bag that has several")
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="DIR",
        help="folder of label images as for training, named like the images of the input; the k-th "
        "belongs to the k-th frame of a video or bag",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("demo_output"),
        metavar="DIR",
        help="folder for overlays, contact sheet and the node's log (default: %(default)s)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the measurements to this file"
    )
    parser.add_argument(
        "--rate",
        type=positive_number,
        metavar="HZ",
        help="publishing rate (default: publish the next frame when the previous label arrives)",
    )
    parser.add_argument("--frames", type=whole_number(1), metavar="N", help="stop after N frames")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="end at the first frame that cannot be read, as with --labels; otherwise it is named "
        "and left out",
    )
    add_bit_depth_argument(parser)
    add_engine_arguments(parser.add_argument_group("node parameters"))


def run(args: argparse.Namespace) -> int:
    """Start the node, publish the frames, and report rate, latency and mIoU.

    Returns 1 if a frame could not be read.

    Raises:
        SourceError, ImageFileError: The input has no frames, or a frame cannot be read.
        DatasetError, ClassesError: The labels cannot be read, or do not match the classes.
        OutputError: A file cannot be written.
        NodeError: The node does not start, or stops responding.
    """
    from bisenet_ros.cli.frame_sources import open_source
    from bisenet_ros.ros.fastdds import profile_environment

    check_output_files(folders=[args.output])
    source = open_source(
        args.input,
        topic=args.topic,
        labels=args.labels,
        limit=args.frames,
        bit_depth=args.bit_depth,
    )
    # Before importing rclpy, so that the profile also applies to this process.
    os.environ.update(profile_environment(os.environ))

    from bisenet_ros.cli.demo_report import Recorder
    from bisenet_ros.cli.readable_frames import readable_frames
    from bisenet_ros.errors import NodeError
    from bisenet_ros.ros.demo_client import DemoClient
    from bisenet_ros.ros.node_process import NodeProcess

    # Closing the terminal must also end the node. (Under nohup the signal is ignored.)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    args.output.mkdir(parents=True, exist_ok=True)
    check_output_files([args.json])
    namespace = f"/bisenet_demo_{os.getpid()}"  # separates concurrent demos
    parameters = {
        name: _parameter(value) for name in NODE_PARAMETERS if (value := getattr(args, name))
    }
    # Measure the node, not the frames that a best-effort transport loses.
    parameters["image_qos.reliability"] = "reliable"
    node = NodeProcess(args.output / "node.log", namespace=namespace, parameters=parameters)
    recorder = None
    failed: list[int] = []
    try:
        with node, DemoClient(namespace, node) as client:
            print(f"input        {source.name}\nnode         {node.name}", flush=True)
            classes = client.start_node(CONFIGURE_TIMEOUT_S)
            recorder = Recorder(args.output, classes, source.class_names)
            client.on_label, client.on_overlay = recorder.receive_labels, recorder.receive_overlay
            frames = readable_frames(source, args.strict, failed, classes)
            images = (frame for _, frame in frames)
            _show_frames(images, source.length, client, recorder, args.rate)
    except NodeError:
        print(f"last lines of {node.log}:\n{node.log_tail()}\n", file=sys.stderr)
        raise
    finally:  # also report partial measurements after an error or ctrl-C
        if recorder is not None and recorder.sent:
            _report(recorder, args.json)
    if failed:
        print(
            f"bisenet demo: {len(failed)} frames of {source.name} could not be read, for the "
            "reasons above",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _show_frames(
    frames: "Iterator[Frame]",
    length: int | None,
    client: "DemoClient",
    recorder: "Recorder",
    rate: float | None,
) -> None:
    """Publish all frames and wait for the last label."""
    from time import perf_counter

    from tqdm import tqdm

    from bisenet_ros.errors import NodeError

    def wait_for_labels() -> None:
        if client.lifecycle.spin_until(recorder.is_answered, LABEL_TIMEOUT_S):
            return
        if recorder.received == 0 or recorder.unanswered >= LOST_IN_A_ROW:
            raise NodeError(
                f"no labels for {recorder.unanswered} consecutive frames within "
                f"{LABEL_TIMEOUT_S:.0f} s: {client.lifecycle.process.cause()}"
            )

    with (
        tqdm(total=length, unit="frame", desc="demo") as bar,
        ThreadPoolExecutor(1) as reader,
    ):
        # Read the next frame while the node processes this one.
        ahead = reader.submit(next, frames, None)
        start = perf_counter()
        while True:
            client.lifecycle.spin_until(
                ahead.done, inf, poll_s=0.005
            )  # poll: no callback wakes the executor
            frame = ahead.result()
            if frame is None:
                break
            ahead = reader.submit(next, frames, None)
            if rate is not None:
                due = start + recorder.sent / rate
                # Spin even if behind schedule, so that labels are received.
                client.lifecycle.spin_until(lambda: False, max(due - perf_counter(), 0.001))
            recorder.publish(*client.publish(frame.image), frame.labels)
            if rate is None:
                wait_for_labels()
            bar.update()
        wait_for_labels()
        client.lifecycle.spin_until(recorder.is_complete, LABEL_TIMEOUT_S)


def _report(recorder: "Recorder", json_file: Path | None) -> None:
    sheet = recorder.write_contact_sheet()
    print(recorder.table())
    if sheet is not None:
        print(f"pictures     {sheet}, {recorder.pictures}/")
    if json_file is not None:
        write_json(json_file, recorder.measurements())


def _parameter(value: str | int | Path | tuple[int, int]) -> str | int:
    """Return an argument as a parameter value of the node."""
    if isinstance(value, tuple):
        return "{}x{}".format(*value)
    return str(value) if isinstance(value, Path) else value
