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
    from bisenet_ros.benchmark.measurement import Engine, Result
    from bisenet_ros.inference.backend import EngineOptions
    from bisenet_ros.model.file import Model

ALL = "all"
RESOLUTIONS = ((256, 128), (512, 256), (1024, 512), (1536, 768), (2048, 1024))
"""What "all" means: the cost against the resolution."""
REFERENCE = "torch:fp32"
EXIT_BUSY = 3
WATCH_SECONDS = 1.0
"""How long the machine is watched before anything is measured."""
MEMORY_SECONDS = 5.0
"""How long an engine's own process is expected to take until one was measured."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    model = parser.add_mutually_exclusive_group()
    add_model_argument(model)
    model.add_argument(
        "--random-weights",
        type=_random_weights,
        metavar="PRESET/CLASSES",
        help="benchmark an untrained network instead, such as bisenetv2_paper/19",
    )
    parser.add_argument(
        "--backend",
        nargs="+",
        choices=(ALL, *BACKENDS),
        default=[ALL],
        metavar="NAME",
        help=f"backends to measure, of {', '.join(BACKENDS)} (default: all)",
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=(ALL, *PRECISIONS),
        default=[ALL],
        metavar="NAME",
        help=f"precisions to measure, of {', '.join(PRECISIONS)} (default: all that a backend "
        "computes without emulation)",
    )
    parser.add_argument(
        "--device",
        type=engine_device,
        default="auto",
        metavar="NAME",
        help="device of all backends (default: auto)",
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
        help="size of the camera's image in pixels (default: %(default)s)",
    )
    parser.add_argument(
        "--against",
        type=_engine,
        default=REFERENCE,
        metavar="BACKEND:PRECISION",
        help="reference of the ratios (default: %(default)s)",
    )
    add_threads_argument(parser)
    add_engine_cache_argument(parser)
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--seconds",
        type=number(0),
        default=20.0,
        metavar="S",
        help="time for each resolution, with at most 30 s more to load engines (default: "
        "%(default)g)",
    )
    length.add_argument(
        "--rounds",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="measure N frames of each engine, however long that takes, instead of --seconds",
    )
    parser.add_argument(
        "--no-memory",
        action="store_true",
        help="skip peak memory, for which each engine is loaded once more in its own process",
    )
    parser.add_argument(
        "--allow-busy",
        action="store_true",
        help="give ratios even while other processes use more than 5 %% of the CPU",
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="plot time against resolution to this file"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")


def run(args: argparse.Namespace) -> int:
    """Measure, print a table for each resolution, and write JSON and plot.

    Return 3 if other processes take so much of the CPU that ratios would mislead. If they do so
    beforehand, nothing is measured; if meanwhile, that resolution has no ratios.

    Raises:
        UsageError: an unknown preset.
        OutputError: a file cannot be written.
        ModelFileError: the model file cannot be used.
        InferenceError: the reference does not work.
    """
    from bisenet_ros.benchmark.interleave import Budget
    from bisenet_ros.benchmark.machine import BUSY, watch

    check_output_files([args.json], plots=[args.plot])
    allowed = 1.0 if args.allow_busy else BUSY
    budget = Budget(args.seconds, args.rounds)  # what comes before the first resolution counts
    engines, reference, unserved = _engines(args)
    load = watch(WATCH_SECONDS)
    if load.others() > allowed:
        _tell_busy(f"use {load.others():.0%} of the CPU ({load.busiest()}): nothing was measured")
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
        _tell_busy(f"used up to {benchmark.others:.0%} of the CPU: what they met has no ratios")
        return EXIT_BUSY
    return 0


class _Benchmark:
    """What is measured of one model, and found so far."""

    def __init__(self, args: argparse.Namespace, reference: "Engine", folder: Path) -> None:
        from bisenet_ros.inference.cpu import default_threads

        self.load = _loader(args)
        self.model = self.load()
        self.reference = reference
        wanted = args.resolution or [(self.model.metadata.resolution,)]
        self.resolutions = list(dict.fromkeys(chain.from_iterable(wanted)))
        self.image = _image(args.input_size)
        self.device = args.device
        self.asked_threads = args.threads
        self.threads = args.threads or default_threads()
        self.with_memory = not args.no_memory
        # Engines of a model that nobody uses have no place in the user's cache.
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
            engines: to be measured.
            unserved: engines that this machine does not have, with the reason.
            resolution: (width, height) of the network.
            allowed: share of the CPU that others may use without making ratios worthless.
            budget: of this resolution.

        Raises:
            InferenceError: the reference does not work.
        """
        from bisenet_ros.benchmark.machine import instruction_set
        from bisenet_ros.benchmark.measurement import measure
        from bisenet_ros.benchmark.report import by_reason, table
        from bisenet_ros.inference.backend import EngineOptions
        from bisenet_ros.model.flops import count_macs

        name = _size(resolution)
        parts = count_macs(self.model.metadata.architecture, resolution)
        self.gmacs[name] = sum(cost.gmacs for cost in parts.values())
        # Without a number, engines as the node has them: to name one makes OpenVINO pin no threads.
        options = EngineOptions(
            resolution=resolution,
            device=self.device,
            threads=self.asked_threads,
            engine_cache=self.cache,
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
        )
        print(table(results, self.peaks))
        for reason, names in by_reason(skipped).items():
            print(f"not run: {', '.join(names)}: {reason}")
        print(flush=True)

    def document(self) -> dict[str, Any]:
        """The figures as JSON has them."""
        from bisenet_ros.benchmark.machine import describe_machine
        from bisenet_ros.benchmark.report import entry

        return {
            "model": self.model.name,
            "reference": str(self.reference),
            "threads": self.threads,
            "input_size": list(self.image.shape[1::-1]),
            "gmacs": self.gmacs,
            "results": [entry(result) for result in self.results],
            "skipped": self.skipped,
            "peak_gmacs_per_s": self.peaks,
            "others_cpu_share": self.others,
            "machine": describe_machine(),
        }

    def _measure_peaks(self, results: "Sequence[Result]", budget: "Budget") -> None:
        """Find the most that was seen in each precision, be it a matrix product or an engine."""
        from bisenet_ros.benchmark.gemm_peak import gemm_peak

        for result in results:
            peaks = self.peaks.setdefault(result.device, {})
            precision = result.engine.precision
            peak = peaks.get(precision)
            if peak is None:
                peak = gemm_peak(result.device, precision, self.threads, budget)
            # The best engine alone would only be compared with itself.
            peaks[precision] = None if peak is None else max(peak, result.gmacs_per_s)

    def _add_memory(
        self, results: "Sequence[Result]", options: "EngineOptions", budget: "Budget"
    ) -> "list[Result]":
        """Return ``results`` with peak memory where there was time to measure it."""
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
                except (OSError, UserError) as error:  # the other figures are good all the same
                    print(f"no peak memory of {result.engine}: {error}")
            finished.append(replace(result, peak_memory_mb=memory))
        if late:
            missing = len(late) * self.memory_seconds - budget.left()
            enough = budget.extended(missing, 1 - ROUNDS_SHARE)
            print(f"no peak memory of {', '.join(late)}: no time left, give --seconds {enough}")
        return finished


def _engines(args: argparse.Namespace) -> "tuple[list[Engine], Engine, dict[Engine, str]]":
    """Return the engines asked for, the reference, and backends that cannot serve, with reasons."""
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
    """Return what loads the model, here and in another process."""
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
            f"{quoted(text)} is not BACKEND:PRECISION, such as {REFERENCE}; backends are "
            f"{', '.join(BACKENDS)}, precisions {', '.join(PRECISIONS)}"
        )
    return backend, precision


def _random_weights(text: str) -> tuple[str, int]:
    """Return preset and number of classes."""
    preset, _, classes = text.partition("/")
    if not re.fullmatch("[0-9]{1,3}", classes):
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} is not PRESET/CLASSES, such as bisenetv2_paper/19"
        )
    return preset, int(classes)


def _resolutions(text: str) -> tuple[tuple[int, int], ...]:
    return RESOLUTIONS if text == ALL else (network_resolution(text),)


def _size(size: tuple[int, int]) -> str:
    return "{}x{}".format(*size)


def _image(size: tuple[int, int]) -> "NDArray[np.uint8]":
    """Return noise of (width, height): what is in an image costs no engine anything."""
    import numpy as np

    width, height = size
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def _tell_busy(what: str) -> None:
    print(
        f"bisenet benchmark: other processes {what}; end them, or pass --allow-busy",
        file=sys.stderr,
    )
