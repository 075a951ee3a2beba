"""``bisenet benchmark --node``: camera, node and viewer as three processes over DDS."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bisenet_ros.errors import NodeError, UsageError

if TYPE_CHECKING:
    from bisenet_ros.benchmark.node_report import NodeFigures
    from bisenet_ros.ros.benchmark_viewer import BenchmarkViewer, LabelTimes

CAMERA_HZ = 60.0
CAMERAS = ("front", "rear", "left", "right")
CAMERAS_HZ = 10.0
CONFIGURE_TIMEOUT_S = 900.0
"""Loading an engine takes seconds, but building one for a small GPU takes minutes."""
TIMEOUT_S = 120.0
WARM_UP_S = 2.0
LONGEST_S = 20.0
"""Time of each measurement but that of a camera that is faster than the node."""
POLL_S = 0.01
MIN_LABELS = 5
"""Fewer are no measurement."""


def check_arguments(args: argparse.Namespace, reference: tuple[str, str]) -> None:
    """Raise UsageError if an argument of ``bisenet benchmark`` has no meaning with ``--node``.

    Args:
        args: of the subcommand.
        reference: default of ``--against``.

    Raises:
        UsageError: such an argument is given, or several values where a node has one.
    """
    for name, given in {
        "--random-weights": args.random_weights,
        "--rounds": args.rounds,
        "--plot": args.plot,
        "--against": args.against != reference,
        "--no-memory": args.no_memory,
        "--batch-size": args.batch_size > 1,
    }.items():
        if given:
            raise UsageError(f"{name} has no meaning with --node: omit one of them")
    resolutions = [size for sizes in args.resolution or () for size in sizes]
    for name, values in (
        ("--backend", args.backend),
        ("--precision", args.precision),
        ("--resolution", resolutions),
    ):
        if len(values) > 1:
            raise UsageError(f"{name} has {len(values)} values, and a node one: give one")


class NodeBenchmark:
    """Starts nodes and cameras one after another, and listens to the labels.

    Args:
        args: of ``bisenet benchmark``.
        folder: for the logs.

    Attributes:
        engine: Model, resolution and engine in words, once measured.
    """

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.engine = ""
        self._folder = folder
        self._seconds: float = args.seconds
        self._short_s = min(self._seconds, LONGEST_S)
        self._size: tuple[int, int] = args.input_size
        self._namespace = f"/bisenet_benchmark_{os.getpid()}"  # separates concurrent benchmarks
        self._parameters = _node_parameters(args)

    def measure(self) -> "NodeFigures":
        """Return all figures.

        Raises:
            NodeError: A node does not start, or sends no labels.
        """
        from bisenet_ros.benchmark.node_report import NodeFigures
        from bisenet_ros.ros.fastdds import profile_environment

        # Before importing rclpy, so that the profile also applies to this process.
        os.environ.update(profile_environment(os.environ))
        saturated = self._saturated()
        half_hz = 0.5e3 / saturated["inference_ms"]  # of the engine's own rate
        alone = self._one_camera(half_hz)
        rss_mb = alone.pop("rss_mb")
        rates, several_mb = self._several_cameras(min(CAMERAS_HZ, half_hz))
        return NodeFigures(
            **saturated,
            **alone,
            camera_rates_hz=rates,
            camera_rss_mb=(several_mb - rss_mb) / (len(CAMERAS) - 1),
        )

    def _saturated(self) -> dict[str, Any]:
        """Measure a node whose camera is faster than it; the engine may have to be built first."""
        import numpy as np

        with self._node("saturated") as viewer, self._camera(CAMERA_HZ):
            viewer.lifecycle.start(CONFIGURE_TIMEOUT_S)
            labels = self._hear(viewer, self._seconds)[""]
            stats = viewer.stats[""]
            self.engine = (
                f"{stats.model} at {stats.width}x{stats.height} on {stats.backend}, "
                f"{stats.device}, {stats.precision}"
            )
            ages_ms = [label.age_ms for label in labels]
            third = len(ages_ms) // 3
            age_p50, age_p99 = np.percentile(ages_ms, (50, 99))
            return {
                "inference_ms": stats.inference_ms,
                "age_p50_ms": float(age_p50),
                "age_p99_ms": float(age_p99),
                "age_p50_first_ms": float(np.median(ages_ms[:third])),
                "age_p50_last_ms": float(np.median(ages_ms[-third:])),
                "rate_hz": _rate(_in_statistics(viewer)),
            }

    def _one_camera(self, rate: float) -> dict[str, Any]:
        """Measure a node that starts by itself, is idle, and then has a camera of ``rate`` [Hz]."""
        import numpy as np
        import psutil
        from lifecycle_msgs.msg import Transition

        started = time.monotonic()
        with self._node("alone", autostart=True) as viewer:
            log = viewer.lifecycle.process.log
            self._wait(viewer, "active node", lambda: "]: active: " in log.read_text())
            start_s = time.monotonic() - started
            process = psutil.Process(viewer.lifecycle.process.pid)
            start_rss_mb = 1e-6 * process.memory_info().rss
            with self._camera(CAMERA_HZ):
                self._spin(viewer, WARM_UP_S)
                before = process.cpu_times()
                self._spin(viewer, self._short_s)
                after = process.cpu_times()
                viewer.subscribe()
                self._wait(viewer, "label", lambda: viewer.labels[""])
                first = viewer.labels[""][0].frame
                viewer.unsubscribe()
            # Statistics start anew, so that they are of the labels that are heard.
            viewer.lifecycle.change(Transition.TRANSITION_DEACTIVATE, TIMEOUT_S)
            viewer.lifecycle.change(Transition.TRANSITION_ACTIVATE, TIMEOUT_S)
            with self._camera(rate):
                self._hear(viewer, self._short_s)
            ways_ms = [label.way_ms for label in _in_statistics(viewer)]
            used_s = after.user + after.system - before.user - before.system
            return {
                "start_s": start_s,
                "start_rss_mb": start_rss_mb,
                "idle_cpu_percent": 100 * used_s / self._short_s,
                "first_label_frame": first,
                "outside_p50_ms": float(np.median(ways_ms)) - viewer.stats[""].inference_p50_ms,
                "rss_mb": 1e-6 * process.memory_info().rss,
            }

    def _several_cameras(self, rate: float) -> tuple[dict[str, float], float]:
        """Return the rate of the labels of each camera [Hz], and the memory of the node [MB].

        Args:
            rate: of the images of each camera [Hz].
        """
        import psutil

        with self._node("several", cameras=CAMERAS) as viewer, self._camera(rate, CAMERAS):
            viewer.lifecycle.start(CONFIGURE_TIMEOUT_S)
            rates = {
                name: _rate(labels) for name, labels in self._hear(viewer, self._short_s).items()
            }
            process = psutil.Process(viewer.lifecycle.process.pid)
            return rates, 1e-6 * process.memory_info().rss

    @contextmanager
    def _node(
        self, name: str, *, cameras: Sequence[str] = ("",), autostart: bool = False
    ) -> "Iterator[BenchmarkViewer]":
        from bisenet_ros.ros.benchmark_viewer import BenchmarkViewer
        from bisenet_ros.ros.node_process import NodeProcess

        process = NodeProcess(
            self._folder / f"{name}.log",
            namespace=self._namespace,
            parameters={**self._parameters, "cameras": cameras, "autostart": autostart},
        )
        with process, BenchmarkViewer(self._namespace, process, cameras) as viewer:
            try:
                yield viewer
            except NodeError:
                print(f"last lines of the node's log:\n{process.log_tail()}\n", file=sys.stderr)
                raise

    @contextmanager
    def _camera(self, rate: float, names: Sequence[str] = ("",)) -> Iterator[None]:
        from bisenet_ros.ros.benchmark_camera import COMMAND, NODE_NAME
        from bisenet_ros.ros.node_process import NodeProcess

        options = ("--rate", str(rate), "--size", *map(str, self._size), "--names", *names)
        camera = NodeProcess(
            self._folder / "camera.log",
            name=NODE_NAME,
            namespace=self._namespace,
            command=(*COMMAND, *options),
        )
        with camera:
            yield
            camera.check_running()

    def _hear(self, viewer: "BenchmarkViewer", seconds: float) -> "dict[str, list[LabelTimes]]":
        """Subscribe, and return the labels of each camera that arrive in ``seconds``."""
        viewer.subscribe()
        self._wait(viewer, "label", lambda: all(viewer.labels.values()))
        self._wait(viewer, "statistics", lambda: len(viewer.stats) == len(viewer.labels))
        self._spin(viewer, WARM_UP_S)
        before = {name: len(labels) for name, labels in viewer.labels.items()}
        self._spin(viewer, seconds)
        heard = {name: labels[before[name] :] for name, labels in viewer.labels.items()}
        fewest = min(len(labels) for labels in heard.values())
        if fewest < MIN_LABELS:
            raise NodeError(
                f"only {fewest} labels arrived in {seconds:g} s and {MIN_LABELS} are needed: "
                "use more --seconds, or a smaller --resolution"
            )
        return heard

    @staticmethod
    def _wait(viewer: "BenchmarkViewer", what: str, condition: Callable[[], object]) -> None:
        if not viewer.lifecycle.spin_until(lambda: bool(condition()), TIMEOUT_S, POLL_S):
            process = viewer.lifecycle.process
            raise NodeError(f"no {what} after {TIMEOUT_S:g} s: {process.cause()}")

    @staticmethod
    def _spin(viewer: "BenchmarkViewer", seconds: float) -> None:
        viewer.lifecycle.spin_until(lambda: False, seconds)


def _in_statistics(viewer: "BenchmarkViewer") -> "Sequence[LabelTimes]":
    """Return the labels of the one camera over which the latest statistics are averaged."""
    from bisenet_ros.ros.frame_counts import WINDOW

    return viewer.labels[""][: viewer.stats[""].processed][-WINDOW:]


def _rate(labels: "Sequence[LabelTimes]") -> float:
    """Return the rate of publishing [Hz]."""
    return 1e9 * (len(labels) - 1) / (labels[-1].published - labels[0].published)


def _node_parameters(args: argparse.Namespace) -> dict[str, str | int]:
    """Return the parameters of the node that the arguments of the benchmark name."""
    parameters: dict[str, str | int] = {
        "model": args.model,
        "backend": args.backend[0].replace("all", "auto"),
        "precision": args.precision[0].replace("all", "auto"),
        "device": args.device,
        "threads": args.threads,
        "engine_cache": str(args.engine_cache or ""),
    }
    for sizes in args.resolution or ():
        parameters["resolution"] = "{}x{}".format(*sizes[0])
    return parameters
