"""``bisenet benchmark``: measure the speed of each engine on this machine, side by side."""

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bisenet_ros.cli.argument_types import (
    engine_device,
    image_size,
    network_resolution,
    number,
    whole_number,
)
from bisenet_ros.cli.engine_arguments import (
    add_batch_size_argument,
    add_engine_cache_argument,
    add_model_argument,
    add_threads_argument,
)
from bisenet_ros.cli.output_files import check_output_files, write_json
from bisenet_ros.deploy.precision import PRECISIONS
from bisenet_ros.errors import UserError, quoted
from bisenet_ros.inference.backend import BACKENDS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bisenet_ros.benchmark.interleave import Budget
    from bisenet_ros.benchmark.machine import CpuLoad
    from bisenet_ros.benchmark.measurement import Engine, Result
    from bisenet_ros.inference.backend import EngineOptions
    from bisenet_ros.model.file import Model

ALL = "all"
RESOLUTIONS = ((256, 128), (512, 256), (1024, 512), (1536, 768), (2048, 1024))
"""Resolutions measured for "all"."""
REFERENCE = "torch:fp32"
EXIT_BUSY = 3
WATCH_SECONDS = 1.0
"""Time to measure the CPU load of other processes before the benchmark [s]."""
MEMORY_SECONDS = 5.0
"""Expected time to measure the first engine's peak memory in its own process [s]."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    model = parser.add_mutually_exclusive_group()
    add_model_argument(model)
    model.add_argument(
        "--random-weights",
        type=_random_weights,
        metavar="PRESET/CLASSES",
        help="benchmark an untrained network instead, e.g. bisenetv2_paper/19",
    )
    parser.add_argument(
        "--backend",
        nargs="+",
        choices=(ALL, *BACKENDS),
        default=[ALL],
        metavar="NAME",
        help=f"backends to measure, from {', '.join(BACKENDS)} (default: all)",
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=(ALL, *PRECISIONS),
        default=[ALL],
        metavar="NAME",
        help=f"precisions to measure, from {', '.join(PRECISIONS)} (default: all that a backend "
        "computes natively)",
    )
    parser.add_argument(
        "--device",
        type=engine_device,
        default="auto",
        metavar="NAME",
        help="device for all backends (default: auto)",
    )
    parser.add_argument(
        "--resolution",
        type=_resolutions,
        nargs="+",
        metavar="WxH",
        help="network input sizes in pixels, or 'all' for "
        f"{', '.join(map(_size, RESOLUTIONS))} (default: the model's)",
    )
    parser.add_argument(
        "--input-size",
        type=image_size,
        default="1280x720",
        metavar="WxH",
        help="camera image size in pixels (default: %(default)s)",
    )
    parser.add_argument(
        "--against",
        type=_engine,
        default=REFERENCE,
        metavar="BACKEND:PRECISION",
        help="reference engine for ratios (default: %(default)s)",
    )
    add_batch_size_argument(parser)
    add_threads_argument(parser)
    add_engine_cache_argument(parser)
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--seconds",
        type=number(0),
        default=20.0,
        metavar="S",
        help="time per resolution, plus at most 30 s to load engines (default: %(default)g)",
    )
    length.add_argument(
        "--rounds",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="measure N frames per engine, without time limit, instead of --seconds",
    )
    parser.add_argument(
        "--no-memory",
        action="store_true",
        help="skip peak memory, which requires loading each engine again in its own process",
    )
    parser.add_argument(
        "--allow-busy",
        action="store_true",
        help="report ratios even if other processes use more than 5 %% of the CPU",
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="plot time against resolution to this file"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to this file")
    parser.add_argument(
        "--node",
        action="store_true",
        help="measure the node between a camera and a viewer instead: age and rate of labels, "
        "several cameras, idle, start; --seconds is then the time with a fast camera, and each "
        "other measurement takes at most 20 s",
    )


def run(args: argparse.Namespace) -> int:
    """Measure all engines, print a table per resolution, and write JSON and plot.

    Return 3 if other processes use so much of the CPU that ratios would be misleading: before the
    benchmark nothing is measured; during it the affected resolution is reported without ratios.

    Raises:
        UsageError: The preset is unknown, or an argument has no meaning with --node.
        OutputError: A file cannot be written.
        ModelFileError: The model file cannot be used.
        InferenceError: The reference engine fails.
        NodeError: The node does not start, or sends no labels.
    """
    from bisenet_ros.benchmark.interleave import Budget
    from bisenet_ros.benchmark.machine import BUSY, watch

    check_output_files([args.json], plots=[args.plot])
    allowed = 1.0 if args.allow_busy else BUSY
    if args.node:
        return _run_node(args, allowed)
    budget = Budget(args.seconds, args.rounds)  # the setup below counts as well
    engines, reference, unserved = _engines(args)
    if _is_busy(watch(WATCH_SECONDS), allowed):
        return EXIT_BUSY

    with tempfile.TemporaryDirectory() as folder:
        benchmark = _Benchmark(args, reference, Path(folder))
        for resolution in benchmark.resolutions:
            benchmark.measure(engines, unserved, resolution, allowed, budget)
            budget = Budget(args.seconds, args.rounds)
    document = benchmark.document()
    if args.json is not None:
        write_json(args.json, document)
    if args.plot is not None:
        from bisenet_ros.benchmark.report import plot

        plot(args.plot, benchmark.results, benchmark.model.name)
    if benchmark.others > allowed:
        _report_busy(
            f"used up to {benchmark.others:.0%} of the CPU: ratios of affected resolutions are "
            "omitted"
        )
        return EXIT_BUSY
    return 0


def _run_node(args: argparse.Namespace, allowed: float) -> int:
    """Measure the node, print a table and write JSON; the status is that of ``run``."""
    from bisenet_ros.benchmark.machine import describe_machine, watch
    from bisenet_ros.benchmark.node_report import table
    from bisenet_ros.cli.benchmark_node import NodeBenchmark, check_arguments

    check_arguments(args, _engine(REFERENCE))
    load = watch(WATCH_SECONDS)
    if _is_busy(load, allowed):
        return EXIT_BUSY
    with tempfile.TemporaryDirectory() as folder:
        benchmark = NodeBenchmark(args, Path(folder))
        figures = benchmark.measure()
    print(f"{benchmark.engine}, image {_size(args.input_size)}")
    print(table(figures))
    if args.json is not None:
        document = {
            "node": figures.document(),
            "engine": benchmark.engine,
            "input_size": list(args.input_size),
            "others_cpu_share": load.others(),
            "machine": describe_machine(),
        }
        write_json(args.json, document)
    return 0


class _Benchmark:
    """Benchmark of one model and its results so far."""

    def __init__(self, args: argparse.Namespace, reference: "Engine", folder: Path) -> None:
        from bisenet_ros.inference.cpu import default_threads

        self.load = _loader(args)
        self.model = self.load()
        self.reference = reference
        wanted = args.resolution or [(self.model.metadata.resolution,)]
        self.resolutions = list(dict.fromkeys(chain.from_iterable(wanted)))
        self.image = _image(args.input_size)
        self.device = args.device
        self.batch_size = args.batch_size
        self.asked_threads = args.threads
        self.threads = args.threads or default_threads()
        self.with_memory = not args.no_memory
        # Keep engines of an untrained network out of the user's cache.
        self.cache = args.engine_cache or (folder if args.random_weights else None)

        self.results: list[Result] = []
        self.skipped: list[dict[str, Any]] = []
        self.gmacs: dict[str, float] = {}
        self.peaks: dict[str, dict[str, float | None]] = {}
        self.others = 0.0
        self.memory_seconds = MEMORY_SECONDS

    def measure(
        self,
        engines: "Sequence[Engine]",
        unserved: "Mapping[Engine, str]",
        resolution: tuple[int, int],
        allowed: float,
        budget: "Budget",
    ) -> None:
        """Measure one resolution and print its table.

        Args:
            engines: Engines to measure.
            unserved: Engines that are not available on this machine, with the reason.
            resolution: (width, height) of the network.
            allowed: Share of the CPU that other processes may use; above it ratios are omitted.
            budget: Time budget of this resolution.

        Raises:
            InferenceError: The reference engine fails.
        """
        from bisenet_ros.benchmark.machine import instruction_set
        from bisenet_ros.benchmark.measurement import measure
        from bisenet_ros.benchmark.report import by_reason, table
        from bisenet_ros.inference.backend import EngineOptions
        from bisenet_ros.model.flops import count_macs

        name = _size(resolution)
        parts = count_macs(self.model.metadata.architecture, resolution)
        self.gmacs[name] = sum(cost.gmacs for cost in parts.values())
        # Pass 0 on as the node does: with an explicit number OpenVINO does not pin its threads.
        options = EngineOptions(
            resolution=resolution,
            device=self.device,
            threads=self.asked_threads,
            engine_cache=self.cache,
            batch_size=self.batch_size,
        )
        measurement = measure(
            self.model,
            engines,
            self.reference,
            options,
            self.image,
            self.gmacs[name],
            budget,
        )
        self.others = max(self.others, measurement.others)
        results = measurement.results
        self._measure_peaks(results, budget)
        if self.with_memory:
            results = self._add_memory(results, options, budget)
        if measurement.others > allowed:
            results = [replace(result, ratio=None) for result in results]
        self.results += results
        skipped = {**unserved, **measurement.skipped}
        self.skipped += [
            {**engine._asdict(), "resolution": list(resolution), "reason": reason}
            for engine, reason in skipped.items()
        ]
        height, width = self.image.shape[:2]
        print(
            f"{self.model.name} at {name}: {self.gmacs[name]:.2f} GMAC, threads {self.threads} "
            f"({instruction_set()}), image {width}x{height}, reference {self.reference}"
            + (f", {self.batch_size} images at once" if self.batch_size > 1 else "")
        )
        print(table(results, self.peaks))
        for reason, names in by_reason(skipped).items():
            print(f"not run: {', '.join(names)}: {reason}")
        print(flush=True)

    def document(self) -> dict[str, Any]:
        """Return the results as a JSON document."""
        from bisenet_ros.benchmark.machine import describe_machine
        from bisenet_ros.benchmark.report import entry

        return {
            "model": self.model.name,
            "reference": str(self.reference),
            "threads": self.threads,
            "input_size": list(self.image.shape[1::-1]),
            "batch_size": self.batch_size,
            "gmacs": self.gmacs,
            "results": [entry(result) for result in self.results],
            "skipped": self.skipped,
            "peak_gmacs_per_s": self.peaks,
            "others_cpu_share": self.others,
            "machine": describe_machine(),
        }

    def _measure_peaks(self, results: "Sequence[Result]", budget: "Budget") -> None:
        """Record the peak throughput of each precision, by a matrix product or an engine."""
        from bisenet_ros.benchmark.gemm_peak import gemm_peak

        for result in results:
            peaks = self.peaks.setdefault(result.device, {})
            precision = result.engine.precision
            peak = peaks.get(precision)
            if peak is None:
                peak = gemm_peak(result.device, precision, self.threads, budget)
            # Without a matrix product the best engine would be compared with itself.
            peaks[precision] = None if peak is None else max(peak, result.gmacs_per_s)

    def _add_memory(
        self, results: "Sequence[Result]", options: "EngineOptions", budget: "Budget"
    ) -> "list[Result]":
        """Return ``results`` with peak memory, as far as the budget allows."""
        from bisenet_ros.benchmark.interleave import ROUNDS_SHARE
        from bisenet_ros.benchmark.peak_memory import peak_memory

        finished = []
        late = []
        for result in results:
            wanted = replace(options, **result.engine._asdict())
            started, left = budget.clock(), budget.left()
            memory = None
            if left < self.memory_seconds:
                late.append(str(result.engine))
            else:
                try:
                    memory = peak_memory(self.load, wanted, left)
                    self.memory_seconds = budget.clock() - started
                except TimeoutError:
                    self.memory_seconds = left  # at least
                    late.append(str(result.engine))
                except (OSError, UserError) as error:  # the other results are still valid
                    print(f"peak memory of {result.engine} not measured: {error}")
            finished.append(replace(result, peak_memory_mb=memory))
        if late:
            missing = len(late) * self.memory_seconds - budget.left()
            enough = budget.extended(missing, 1 - ROUNDS_SHARE)
            print(
                f"peak memory of {', '.join(late)} not measured: no time left, use "
                f"--seconds {enough}"
            )
        return finished


def _engines(args: argparse.Namespace) -> "tuple[list[Engine], Engine, dict[Engine, str]]":
    """Return the requested engines, the reference, and unavailable backends with the reason."""
    from bisenet_ros.benchmark.measurement import Engine
    from bisenet_ros.errors import InferenceError
    from bisenet_ros.inference.backend import native_precisions

    engines: list[Engine] = []
    unserved: dict[Engine, str] = {}
    for name in BACKENDS if ALL in args.backend else args.backend:
        wanted = set(args.precision) - {ALL}
        if ALL in args.precision:
            try:
                wanted |= set(native_precisions(name, args.device))
            except InferenceError as error:
                unserved[Engine(name, ALL)] = str(error)
        engines += [Engine(name, each) for each in PRECISIONS if each in wanted]
    return engines, Engine(*args.against), unserved


def _loader(args: argparse.Namespace) -> "Callable[[], Model]":
    """Return a picklable function that loads the model, here or in another process."""
    from bisenet_ros.benchmark.random_model import random_model
    from bisenet_ros.model import file as model_file
    from bisenet_ros.resources import model_path

    if args.random_weights is None:
        return partial(model_file.load, model_path(args.model))
    return partial(random_model, *args.random_weights)


def _engine(text: str) -> tuple[str, str]:
    """Return backend and precision."""
    backend, _, precision = text.partition(":")
    if backend not in BACKENDS or precision not in PRECISIONS:
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} is not BACKEND:PRECISION, e.g. {REFERENCE}; backends are "
            f"{', '.join(BACKENDS)}, precisions {', '.join(PRECISIONS)}"
        )
    return backend, precision


def _random_weights(text: str) -> tuple[str, int]:
    """Return preset and number of classes."""
    preset, _, classes = text.partition("/")
    if not re.fullmatch("[0-9]{1,3}", classes):
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} is not PRESET/CLASSES, e.g. bisenetv2_paper/19"
        )
    return preset, int(classes)


def _resolutions(text: str) -> tuple[tuple[int, int], ...]:
    return RESOLUTIONS if text == ALL else (network_resolution(text),)


def _size(size: tuple[int, int]) -> str:
    return "{}x{}".format(*size)


def _image(size: tuple[int, int]) -> "NDArray[np.uint8]":
    """Return a noise image; the time of an engine does not depend on the content."""
    import numpy as np

    width, height = size
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def _is_busy(load: "CpuLoad", allowed: float) -> bool:
    """Return whether other processes use more than ``allowed``, 0..1, of the CPU, and report it."""
    if load.others() <= allowed:
        return False
    _report_busy(f"use {load.others():.0%} of the CPU ({load.busiest()}): nothing was measured")
    return True


def _report_busy(what: str) -> None:
    print(
        f"bisenet benchmark: other processes {what}; stop them, or pass --allow-busy",
        file=sys.stderr,
    )
