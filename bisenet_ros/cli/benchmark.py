"""``bisenet benchmark``: how fast each engine is on this machine, side by side."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bisenet_ros.cli.output_files import check_output_files, write_json
from bisenet_ros.errors import UsageError, UserError, quoted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bisenet_ros.benchmark.interleave import Budget
    from bisenet_ros.benchmark.measurement import Engine, Result
    from bisenet_ros.inference.backend import EngineOptions
    from bisenet_ros.model.file import Model

ALL = "all"
RESOLUTIONS = ("256x128", "512x256", "1024x512", "1536x768", "2048x1024")
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
    model.add_argument(
        "--model", default="", metavar="FILE", help="model file or name; default: the shipped one"
    )
    model.add_argument(
        "--random-weights",
        metavar="PRESET/CLASSES",
        help="a network without training instead, such as bisenetv2_paper/19",
    )
    parser.add_argument(
        "--backend", nargs="+", default=[ALL], metavar="NAME", help="default: all there are"
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        default=[ALL],
        metavar="NAME",
        help="of fp32, bf16, fp16, int8; default: all that a backend computes without emulation",
    )
    parser.add_argument("--device", default="auto", help="of all backends; default: auto")
    parser.add_argument(
        "--resolution",
        nargs="+",
        metavar="WxH",
        help=f"of the network, or 'all': {', '.join(RESOLUTIONS)}; default: the model's",
    )
    parser.add_argument(
        "--input-size", default="1280x720", metavar="WxH", help="of the camera's image"
    )
    parser.add_argument(
        "--against",
        default=REFERENCE,
        metavar="BACKEND:PRECISION",
        help="what ratios refer to; default: %(default)s",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        metavar="N",
        help="of the CPU; default: one for each core that this process may use (affinity, quota)",
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="of engines; default: the user's cache folder"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--seconds",
        type=float,
        default=20.0,
        help="for each resolution, with at most 30 more to load engines; default: %(default)g",
    )
    length.add_argument(
        "--rounds",
        type=int,
        default=0,
        metavar="N",
        help="instead of seconds, without a limit of time",
    )
    parser.add_argument(
        "--no-memory",
        action="store_true",
        help="leave out peak memory, for which each engine is loaded once more in its own process",
    )
    parser.add_argument(
        "--allow-busy",
        action="store_true",
        help="give ratios even while other processes use more than 5 %% of the CPU",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw time against resolution")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")


def run(args: argparse.Namespace) -> int:
    """Measure, print a table for each resolution, and write JSON and picture.

    Returns 3 where other processes take so much of the CPU that ratios would mislead. If they do
    so beforehand, nothing is measured; if meanwhile, that resolution has no ratios.
    """
    from bisenet_ros.benchmark.interleave import Budget
    from bisenet_ros.benchmark.machine import BUSY, watch

    if min(args.threads, args.rounds, args.seconds) < 0:
        raise UsageError("--threads, --rounds and --seconds must not be negative")
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
        from bisenet_ros.inference.resolution import parse_resolution

        self.load = _loader(args)
        self.model = self.load()
        self.reference = reference
        wanted = args.resolution or ["x".join(map(str, self.model.metadata.resolution))]
        expanded = [each for name in wanted for each in (RESOLUTIONS if name == ALL else [name])]
        self.resolutions = [parse_resolution(each) for each in dict.fromkeys(expanded)]
        self.image = _image(args.input_size)
        self.device = args.device
        self.asked_threads = args.threads
        self.threads = args.threads or default_threads()
        self.with_memory = not args.no_memory
        # Engines of a model that nobody uses have no place in the user's cache.
        self.cache = args.cache or (folder if args.random_weights else None)

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

        name = "{}x{}".format(*resolution)
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
    """Return the engines asked for, the reference, and backends that cannot serve, with reasons.

    Raises:
        UsageError: there is no such backend or precision.
    """
    from bisenet_ros.benchmark.measurement import Engine
    from bisenet_ros.deploy.precision import PRECISIONS
    from bisenet_ros.errors import InferenceError
    from bisenet_ros.inference.backend import BACKENDS, native_precisions

    for option, names, known in (
        ("backend", args.backend, tuple(BACKENDS)),
        ("precision", args.precision, PRECISIONS),
    ):
        for name in names:
            if name not in (ALL, *known):
                raise UsageError(f"--{option} {quoted(name)} is none of {ALL}, {', '.join(known)}")
    backend, _, precision = args.against.partition(":")
    if backend not in BACKENDS or precision not in PRECISIONS:
        raise UsageError(
            f"--against {quoted(args.against)} is not of the form BACKEND:PRECISION, such as "
            f"{REFERENCE}"
        )
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
    return engines, Engine(backend, precision), unserved


def _loader(args: argparse.Namespace) -> "Callable[[], Model]":
    """What gives the model, here and in another process."""
    from bisenet_ros.benchmark.random_model import random_model
    from bisenet_ros.model import file as model_file
    from bisenet_ros.resources import model_path

    if args.random_weights is None:
        return partial(model_file.load, model_path(args.model))
    preset, _, classes = args.random_weights.partition("/")
    if not classes.isdecimal():
        raise UsageError(
            f"--random-weights {quoted(args.random_weights)} is not of the form PRESET/CLASSES, "
            "such as bisenetv2_paper/19"
        )
    return partial(random_model, preset, int(classes))


def _image(size: str) -> "NDArray[np.uint8]":
    """Noise of ``size``, "WxH": what is in an image costs no engine anything."""
    import numpy as np

    from bisenet_ros.inference.resolution import parse_size

    width, height = parse_size(size, "--input-size")
    if not width * height:
        raise UsageError(f"--input-size {size} has no pixels")
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def _tell_busy(what: str) -> None:
    print(
        f"bisenet benchmark: other processes {what}; end them, or pass --allow-busy",
        file=sys.stderr,
    )
