"""Run the segmentation node for long, or against bad input, and look what becomes of it.

    python test/soak/soak.py highway --minutes 30
    python test/soak/soak.py lifecycle --cycles 200
    python test/soak/soak.py fuzz --messages 10000
    python test/soak/soak.py kills --count 50

Prints what the node counted and used, and exits with 1 if it died, lost a count, logged a traceback
or grew by more than ``BOUNDS``. docs/robustness.md has the figures.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from lifecycle_msgs.msg import Transition
from measured_node import CountLost, Counts, MeasuredNode, Usage, remaining
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from bisenet_ros.cli.frame_sources import SYNTHETIC, open_source
from bisenet_ros.errors import NodeError
from bisenet_ros.ros.fastdds import profile_environment
from bisenet_ros.ros.image_messages import image_message

RATE = 25.0
"""Images a second that the camera sends."""

VIDEO = Path("video", "highway_960x540_25fps.mp4")
"""Below BISENET_DATA."""

BOUNDS = {"rss_mib": 100.0, "threads": 4, "descriptors": 10, "log_kib": 256.0}
"""The most that each may grow from start to end."""

MAX_PEAK_MIB = 1024.0
"""The most memory that a single message may cost, above that at the start."""

WARM_UP_S = 20.0
"""Until the first figures are taken: allocators and thread pools fill up in the beginning."""

WARM_UP_CYCLES = 5
EXAMPLES = 20
"""Of a fuzz between two looks at the counts: a batch."""

WARM_UP_BATCHES = 5
MAX_DROPPED = 0.05
"""Share of a batch, from where on messages are sent more slowly."""

PAUSES_S = (0.002, 0.1)
"""Shortest and longest pause after a message."""


@dataclass
class Run:
    """What a scenario has measured."""

    spans: dict[str, tuple[Usage, Usage]] = field(default_factory=dict)  # start and end, by a name
    peak_rss_mib: float = 0.0
    counts: Counts = field(default_factory=Counts)
    shm_files: set[Path] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def take(self, node: MeasuredNode) -> None:
        """Add the counts of an activation that has ended."""
        self.counts.add(node.counts)
        self.peak_rss_mib = max(self.peak_rss_mib, node.peak_rss_mib)


Scenario = Callable[[argparse.Namespace, Path, Run], None]


def images() -> Iterator[Image]:
    """The highway video, else a synthetic street, over and over."""
    video = Path(os.environ.get("BISENET_DATA", "/nonexistent")) / VIDEO
    source = open_source(str(video) if video.is_file() else SYNTHETIC)
    for number in count():
        for frame in source.frames():
            yield image_message(frame.image, "rgb8", _header(number))


def _header(number: int) -> Header:
    header = Header(frame_id=f"camera_{number}")
    header.stamp.sec, header.stamp.nanosec = divmod(time.time_ns(), 10**9)
    return header


def send(node: MeasuredNode, source: Iterator[Image], seconds: float) -> None:
    """Publish ``RATE`` images a second while the node subscribes to them."""
    start = time.monotonic()
    while (now := time.monotonic() - start) < seconds:
        if node.is_connected():
            node.publish(next(source))
        # At least once, so that a camera that is late hears the node, too.
        node.spin(max(1e-3, min(seconds, now + 1 / RATE) - (time.monotonic() - start)))


def highway(args: argparse.Namespace, folder: Path, run: Run) -> None:
    """One activation, at the node's own defaults."""
    source, seconds = images(), 60 * args.minutes
    with MeasuredNode(folder, args.parameters, run.shm_files) as node:
        node.change(Transition.TRANSITION_CONFIGURE)
        node.change(Transition.TRANSITION_ACTIVATE)
        node.wait_for_subscription()
        warm_up_s = min(WARM_UP_S, seconds / 2)
        send(node, source, warm_up_s)
        start = node.usage()
        send(node, source, seconds - warm_up_s)
        node.settle()
        run.spans["highway"] = start, node.usage()
        run.take(node)
        run.notes.append(f"{node.counts.sent / seconds:.1f} images sent a second")


def lifecycle(args: argparse.Namespace, folder: Path, run: Run) -> None:
    """All transitions, again and again; in each activation at least one image is labeled."""
    source, start = images(), None
    with MeasuredNode(folder, args.parameters, run.shm_files) as node:
        for cycle in range(args.cycles):
            node.change(Transition.TRANSITION_CONFIGURE)
            node.change(Transition.TRANSITION_ACTIVATE)
            node.wait_for_subscription()
            while not node.labels:
                send(node, source, 2 / RATE)
            node.settle()
            end = node.usage()
            start = end if start is None or cycle < WARM_UP_CYCLES else start
            run.spans["lifecycle"] = start, end
            node.change(Transition.TRANSITION_DEACTIVATE)
            node.change(Transition.TRANSITION_CLEANUP)
            run.take(node)


def fuzz(args: argparse.Namespace, folder: Path, run: Run) -> None:
    """Messages, until as many have been decoded as were asked for, half of them compressed."""
    from messages import PER_EXAMPLE, camera_infos, compressed_images, generate, raw_images

    for strategy, kind, transport in (
        (raw_images(), Image, "raw"),
        (compressed_images(), CompressedImage, "compressed"),
    ):
        own: dict[str, Any] = {"input_transport": transport, "resolution": "128x64"}
        # Nothing may be lost on the way, so that every message is accounted for.
        own |= {"image_qos.reliability": "reliable", "image_qos.depth": 100}
        own_folder = folder / transport
        own_folder.mkdir()
        with MeasuredNode(own_folder, {**own, **args.parameters}, run.shm_files, kind) as node:
            node.change(Transition.TRANSITION_CONFIGURE)
            node.change(Transition.TRANSITION_ACTIVATE)
            node.wait_for_subscription()
            pause_s, dropped, start = 0.05, 0, None
            for batch in count():
                infos = generate(camera_infos(), EXAMPLES, args.seed + batch)
                for number, example in enumerate(generate(strategy, EXAMPLES, args.seed + batch)):
                    for message in example:
                        node.publish(message, infos[number % len(infos)])
                        node.spin(pause_s)
                node.settle(all_received=True)
                end = node.usage()
                start = end if start is None or batch < WARM_UP_BATCHES else start
                run.spans[transport] = start, end
                too_fast = node.counts.dropped - dropped > MAX_DROPPED * EXAMPLES * PER_EXAMPLE
                pause_s = min(max(pause_s * (1.5 if too_fast else 0.9), PAUSES_S[0]), PAUSES_S[1])
                dropped = node.counts.dropped
                if node.counts.processed + node.counts.rejected >= args.messages / 2:
                    break
            run.take(node)
            run.notes.append(f"{transport}: {node.counts}")
    run.notes.append("in every 5 images 1 is valid, 2 are but for one field, 2 are arbitrary")


def kills(args: argparse.Namespace, folder: Path, run: Run) -> None:
    """SIGKILL at any moment from the start on; the nodes before and after must work."""
    source, rng = images(), random.Random(args.seed)
    parameters = {"autostart": True, **args.parameters}
    labeled = 0

    def work() -> tuple[Usage, float]:
        """A node that is not killed: what it uses, and the seconds to its first label."""
        with MeasuredNode(folder, parameters, run.shm_files) as node:
            start = time.monotonic()
            node.wait_for_subscription()
            while not node.labels:
                send(node, source, 1 / RATE)
            seconds = time.monotonic() - start
            send(node, source, 2.0)
            node.settle()
            run.take(node)
            return node.usage(), seconds

    work()  # which leaves engines in the cache
    start, start_s = work()
    for _ in range(args.count):
        with MeasuredNode(folder, parameters, run.shm_files) as node:
            send(node, source, rng.uniform(0.0, 2 * start_s))
            labeled += node.labels > 0
            node.kill()
    end, end_s = work()
    run.spans["kills"] = start, end
    run.notes += [
        f"{labeled} of {args.count} were killed while they labeled images",
        f"{start_s:.1f} s to the first label before, {end_s:.1f} s after",
    ]


def check(run: Run) -> list[str]:
    """Return what has grown by more than ``BOUNDS`` and ``MAX_PEAK_MIB``."""
    grown = []
    for span, usages in run.spans.items():
        start, end = map(asdict, usages)
        grown += [
            f"{span}: {name} grew by {end[name] - start[name]:.1f}, and {bound:g} is the most"
            for name, bound in BOUNDS.items()
            if end[name] - start[name] > bound
        ]
        peak = run.peak_rss_mib - start["rss_mib"]
        if peak > MAX_PEAK_MIB:
            grown.append(f"{span}: rss_mib was {peak:.0f} higher, and {MAX_PEAK_MIB:g} is the most")
    return grown


def table(run: Run) -> str:
    """Return the figures for the terminal."""
    lines = [str(run.counts)]
    for span, usages in run.spans.items():
        start, end = map(asdict, usages)
        lines.append(f"{span:12}{'start':>10}{'end':>10}")
        lines += [f"{name:12}{start[name]:10.4g}{end[name]:10.4g}" for name in start]
    lines += [f"peak rss_mib {run.peak_rss_mib:.0f}", *run.notes]
    left = remaining(run.shm_files)
    size = sum(left.values()) / 2**20
    lines.append(f"left in /dev/shm by nodes that have ended: {len(left)} files, {size:.1f} MiB")
    return "\n".join([*lines, *(f"FAILED: {problem}" for problem in run.problems)])


def measure(scenario: Scenario, args: argparse.Namespace, folder: Path) -> Run:
    """Run a scenario, and note what went wrong."""
    run = Run()
    try:
        scenario(args, folder, run)
    except (NodeError, CountLost) as error:
        run.problems.append(str(error))
    run.problems += check(run)
    run.problems += [
        f"a traceback in {log}"
        for log in folder.rglob("node_*.log")
        if "Traceback" in log.read_text(errors="replace")
    ]
    return run


def _parameter(given: str) -> tuple[str, Any]:
    name, _, value = given.partition("=")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    scenarios = parser.add_subparsers(required=True, metavar="SCENARIO")
    for scenario, option, kind, default in (
        (highway, "--minutes", float, 30.0),
        (lifecycle, "--cycles", int, 200),
        (fuzz, "--messages", int, 10_000),
        (kills, "--count", int, 50),
    ):
        one = scenarios.add_parser(scenario.__name__, help=scenario.__doc__)
        one.set_defaults(scenario=scenario)
        one.add_argument(option, type=kind, default=default, help="default: %(default)s")
        one.add_argument("--seed", type=int, default=0, help="of what is drawn at random")
        one.add_argument(
            "--param",
            type=_parameter,
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="a parameter of the node, such as backend=torch",
        )
    return parser


def main() -> int:
    """Run the scenario that the command line names."""
    args = make_parser().parse_args()
    args.parameters = dict(args.param)
    # Else the node has the shared memory of everybody's nodes in this domain, too.
    os.environ.setdefault("ROS_DOMAIN_ID", str(20 + os.getpid() % 81))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    # As docs/robot.md tells for large images; without it most of them are lost on their way.
    os.environ.update(profile_environment(os.environ))
    folder = Path(tempfile.mkdtemp(prefix="bisenet_soak_"))
    run = measure(args.scenario, args, folder)
    print(table(run))
    if run.problems:
        print(f"logs: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
