#!/usr/bin/env python3
"""Test and measure the CUDA engines of this machine's GPU; print a section for docs/engines.md.

    PYTHONPATH=. python3 scripts/gpu_report.py --output report.md

The section has the results of the GPU tests, the time of each engine, GPU memory over many frames
and many loads, and the node end to end. ROS and TensorRT are optional: for parts that cannot run or
exceed --minutes, the section has the reason.

Besides PyTorch it needs the packages in requirements/gpu_report.txt. For a machine without a
network, download them as wheels for its Python:

    pip download -d wheels --python-version 3.12 --only-binary :all: -r requirements/gpu_report.txt
    python3 -m pip install --no-index --find-links wheels -r requirements/gpu_report.txt

With --device cpu it is a dry run. The exit status is 1 if a part or a test failed.
"""

import argparse
import importlib.util
import json
import logging
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from bisenet_ros.benchmark.interleave import Budget, take_turns
from bisenet_ros.benchmark.machine import describe_machine
from bisenet_ros.benchmark.report import P95_FRAMES, P99_FRAMES
from bisenet_ros.cli.output_files import check_output_files
from bisenet_ros.deploy.deploy_module import DeployModule
from bisenet_ros.deploy.parity import ParityCheck
from bisenet_ros.deploy.precision import PRECISIONS
from bisenet_ros.errors import InferenceError, first_line
from bisenet_ros.inference.backend import EngineOptions, native_precisions, open_engine
from bisenet_ros.inference.cuda import cuda_device, cuda_number, release_memory
from bisenet_ros.inference.resolution import parse_resolution
from bisenet_ros.model import file as model_file
from bisenet_ros.model.file import Model
from bisenet_ros.model.flops import count_macs
from bisenet_ros.resources import model_path
from bisenet_ros.synthetic.street import Street

ROOT = Path(__file__).resolve().parents[1]
BACKENDS = ("torch", "tensorrt")
RESOLUTIONS = ("480x360", "1024x512", "2048x1024")
SEED = 7
"""Seed of the street that engines label."""

USABLE = 0.95
"""Share of --minutes for the parts; the rest is for Python's start and exit."""
TESTS_SHARE = 0.25
"""Share of --minutes for the tests; TensorRT's build engines, which may take very long."""
AFTER_ENGINES_SHARE = 0.3
"""Share of --minutes reserved for the parts after the benchmark."""
ROUNDS_S = 10.0
"""Duration of the rounds of one resolution."""
BATCH_SIZES = (1, 2, 4)
BATCH_S = 2.0
"""Duration of the measurement of one batch size."""
EXPECTED_LOAD_S = {"torch": 5.0, "tensorrt": 60.0}
"""Expected time of the first load. Loading cannot be interrupted."""
NO_TIME = "no time left, increase --minutes"
WARM_UP_FRAMES = 10
"""Uncounted frames, in which clocks rise and memory caches fill."""
PATIENCE_S = 10.0
"""Grace period after an interrupt, before a program is killed."""
NODE_FRAMES = 200

TEST_LINE = re.compile(r"^(test/\S+?\.py)::(\S+) (PASSED|FAILED|ERROR|SKIPPED)", re.MULTILINE)
REASON_LINE = re.compile(r"^(?:FAILED|ERROR) (.+)$", re.MULTILINE)
MB = 1e6

Run = Callable[[NDArray[np.uint8]], tuple[NDArray[np.uint8], ...]]


class NotRunError(Exception):
    """A part that cannot run here; the message is the reason."""


class FailedError(Exception):
    """A part that failed; the message is its Markdown."""


@dataclass
class Deadline:
    """A time limit in seconds from the construction of this object."""

    seconds: float
    _started: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        """Return the remaining seconds, negative after the end."""
        return self._started + self.seconds - time.monotonic()


@dataclass(frozen=True)
class Setup:
    """Settings shared by the parts.

    - ``device``: "cpu" or "cuda:N".
    - ``resolutions``: (width, height) in pixels.
    - ``frames``, ``loads``: repetitions of the parts on memory.
    - ``slowest_load_s``: longest load so far, by backend.
    """

    model: Model
    path: Path
    device: str
    resolutions: list[tuple[int, int]]
    frames: int
    loads: int
    cache: Path | None
    deadline: Deadline
    slowest_load_s: dict[str, float] = field(default_factory=dict)

    @property
    def on_gpu(self) -> bool:
        """Whether this runs on a GPU, not as a dry run."""
        return self.device != "cpu"

    @property
    def middle(self) -> tuple[int, int]:
        """The resolution of the parts that use only one."""
        return self.resolutions[len(self.resolutions) // 2]

    def options(
        self, resolution: tuple[int, int], backend: str, precision: str, batch_size: int = 1
    ) -> EngineOptions:
        """Return the options of an engine."""
        return EngineOptions(
            backend=backend,
            device=self.device,
            precision=precision,
            resolution=resolution,
            engine_cache=self.cache,
            batch_size=batch_size,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the section, update --output after each part, and return the exit status."""
    args = _parse(argv)
    deadline = Deadline(60 * USABLE * args.minutes)
    try:
        check_output_files([args.output])
        path = model_path(args.model)
        setup = Setup(
            model_file.load(path),
            path,
            _device(args.device),
            [parse_resolution(each) for each in args.resolution],
            args.frames,
            args.loads,
            args.engine_cache,
            deadline,
        )
    except (OSError, ValueError) as error:
        sys.exit(f"gpu_report.py: {error}")
    parts: dict[str, Callable[[Setup], list[str]]] = {
        "Tests": gpu_tests,
        **{
            "Engines at {}x{}".format(*each): partial(engines, resolution=each)
            for each in setup.resolutions
        },
        "Batches": batches,
        f"Memory over {args.frames:,} frames": memory_over_frames,
        f"{args.loads} loads and closes": loads_and_closes,
        "The node": node,
    }
    arguments = sys.argv[1:] if argv is None else argv
    command = shlex.join(["python3", "scripts/gpu_report.py", *arguments])
    lines = heading(setup, command)
    failed = False
    for title, part in parts.items():
        print(f"{title} ({deadline.left():.0f} s left)", file=sys.stderr, flush=True)
        found, ok = run_part(part, setup)
        lines += ["", f"##### {title}", "", *found]
        failed = failed or not ok
        if args.output is not None:  # after each part, in case a later one crashes the process
            args.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return 1 if failed else 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--device", default="cuda", help="cuda, cuda:N or cpu; default: %(default)s"
    )
    parser.add_argument("--model", default="", metavar="FILE", help="default: the shipped model")
    parser.add_argument("--resolution", nargs="+", default=RESOLUTIONS, metavar="WxH")
    parser.add_argument(
        "--minutes", type=float, default=6.0, help="time limit; default: %(default)g"
    )
    parser.add_argument(
        "--frames", type=int, default=1000, help="of the memory test; default: %(default)s"
    )
    parser.add_argument(
        "--loads", type=int, default=50, help="of the memory test; default: %(default)s"
    )
    parser.add_argument(
        "--engine-cache",
        type=Path,
        metavar="DIR",
        help="folder for compiled engines (default: ~/.cache/bisenet_ros)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write the section here")
    args = parser.parse_args(argv)
    if min(args.minutes, args.frames, args.loads) <= 0:
        parser.error("--minutes, --frames and --loads must be positive")
    return args


def _device(name: str) -> str:
    return name if name == "cpu" else str(cuda_device(cuda_number(name, "this report", "cpu")))


def run_part(part: Callable[[Setup], list[str]], setup: Setup) -> tuple[list[str], bool]:
    """Run a part; return its Markdown with logged warnings, and whether it succeeded."""
    warnings = _Warnings()
    logger = logging.getLogger("bisenet_ros")
    logger.addHandler(warnings)
    ok = True
    try:
        if setup.deadline.left() <= 0:
            raise NotRunError(NO_TIME)
        lines = part(setup)
    except NotRunError as error:
        lines = [f"Not run: {error}."]
    except FailedError as error:
        lines, ok = [str(error)], False
    except Exception as error:  # the other parts still run
        traceback.print_exc()
        lines, ok = [f"**Failed**: {type(error).__name__}: {first_line(error)}"], False
    finally:
        logger.removeHandler(warnings)
    logged = [f"- Warning: {text}" for text in dict.fromkeys(warnings.texts)]
    return ([*lines, "", *logged] if logged else lines), ok


class _Warnings(logging.Handler):
    """Collect warnings and errors from the log, such as that there is no CUDA graph."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message of ``record``."""
        self.texts.append(record.getMessage())


# The machine.


def heading(setup: Setup, command: str) -> list[str]:
    """Return the section's title and a table describing the machine."""
    machine = describe_machine()
    today = datetime.now(timezone.utc).date().isoformat()
    rows = {"CPU": f"{machine['cpu']}, {machine['cores']} cores", "system": machine["system"]}
    title = f"CPU, dry run: {machine['cpu']}"
    if setup.on_gpu:
        gpu = torch.cuda.get_device_properties(setup.device)
        title = gpu.name
        rows = {
            "GPU": f"{gpu.name}, sm_{gpu.major}{gpu.minor}, {gpu.total_memory / MB:,.0f} MB",
            "driver": _nvidia_smi(setup, "driver_version"),
            "clocks before": clocks(setup),
            **rows,
        }
    libraries = {"Python": machine["python"], **_versions(machine["libraries"])}
    rows["versions"] = ", ".join(f"{name} {version}" for name, version in libraries.items())
    rows["model"] = setup.model.name
    rows["command"] = f"`{command}`"
    return [f"#### {title}, {today}", "", *_table(["", ""], [list(row) for row in rows.items()])]


def _versions(libraries: object) -> dict[str, str]:
    """Return versions of PyTorch with its CUDA and cuDNN, and of the other libraries."""
    assert isinstance(libraries, dict)
    found = {"torch": str(torch.__version__)}
    if torch.version.cuda is not None:
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        found |= {"CUDA": torch.version.cuda, "cuDNN": str(cudnn)}
    return found | {name: each for name, each in libraries.items() if name != "torch"}


def clocks(setup: Setup) -> str:
    """Return the current clocks of the GPU."""
    return _nvidia_smi(setup, "clocks.sm,clocks.max.sm,clocks.mem", "SM {} of {}, memory {}")


def _nvidia_smi(setup: Setup, query: str, form: str = "{}") -> str:
    """Return nvidia-smi's values of ``query`` in ``form``, or why they are unknown."""
    # By UUID, since CUDA_VISIBLE_DEVICES renumbers the GPUs.
    uuid = torch.cuda.get_device_properties(setup.device).uuid
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader", f"--id=GPU-{uuid}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown ({first_line(error)})"
    values = done.stdout.strip().split(", ")
    return form.format(*values) if form.count("{}") == len(values) else ", ".join(values)


# The parts. Each returns lines of Markdown.


def gpu_tests(setup: Setup) -> list[str]:
    """Run ``pytest -m gpu`` and return a table of the results."""
    if not setup.on_gpu:
        raise NotRunError("no GPU, this is a dry run on the CPU")
    if importlib.util.find_spec("pytest") is None:
        raise NotRunError("pytest is not installed")
    files = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "test").rglob("test_*.py"))
        if "@pytest.mark.gpu" in path.read_text(encoding="utf-8")
    ]
    command = ["-m", "pytest", "-m", "gpu", "-v", "-rfE", "--tb=short", "--no-header"]
    command += ["--continue-on-collection-errors", "-p", "no:cacheprovider", *files]
    seconds = min(TESTS_SHARE * setup.deadline.seconds, setup.deadline.left())
    status, out, error = run_program(command, seconds)
    return summarize_tests(status, out or error, seconds)


def summarize_tests(status: int | None, output: str, seconds: float) -> list[str]:
    """Return the Markdown of the output of ``pytest -v -rfE``.

    Args:
        status: its exit status; None if it was interrupted.
        output: its output.
        seconds: time after which it was interrupted.

    Raises:
        FailedError: a test failed or pytest did not run; the message is the same Markdown.
    """
    rows = [
        [f"`{test}`", {"PASSED": "passed", "SKIPPED": "skipped"}.get(result, f"**{result}**")]
        for _, test, result in TEST_LINE.findall(output)
    ]
    lines = _table(["test", "result"], rows)
    reasons = [f"- {reason}" for reason in dict.fromkeys(REASON_LINE.findall(output))]
    lines += ["", *reasons] if reasons else []
    if status is None:
        lines += [
            "",
            f"Stopped after {seconds:.0f} s; tests that are not in the table were not run.",
        ]
    if reasons or status not in (0, None):
        lines += [] if reasons else ["", f"**pytest failed**: {_last_line(output)}"]
        raise FailedError("\n".join(lines))
    return lines


class Eager:
    """``DeployModule`` in fp32 as plain PyTorch calls; ratios refer to it."""

    def __init__(self, setup: Setup) -> None:
        self._device = setup.device
        self._deployed = DeployModule(setup.model).on(setup.device)

    @torch.inference_mode()
    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """Run a batch, see ``Backend.run``."""
        outputs = self._deployed(torch.from_numpy(images).to(self._device))
        return tuple(output.cpu().numpy() for output in outputs)


@dataclass(frozen=True)
class Measured:
    """Figures of one engine.

    - ``load_s``: time to load it in seconds.
    - ``equal``: share of labels equal to PyTorch's on the CPU, 0..1; None if not compared.
    - ``times``: of the frames in milliseconds.
    """

    name: str
    load_s: float
    equal: float | None
    times: Sequence[float]

    def row(self, reference: float) -> list[str]:
        """Return the cells of a table row; the ratio is that of ``reference``, a time in ms."""
        p50, p95, p99 = np.percentile(self.times, (50, 95, 99))
        frames = len(self.times)
        return [
            self.name,
            f"{frames}",
            f"{p50:.2f}",
            f"{p95:.2f}" if frames >= P95_FRAMES else "-",
            f"{p99:.2f}" if frames >= P99_FRAMES else "-",
            f"{1e3 / p50:.0f}",
            f"{reference / p50:.2f}",
            "-" if self.equal is None else f"{self.equal:.2%}",
            f"{self.load_s:.1f}",
        ]


COLUMNS = ["engine", "frames", "p50 ms", "p95 ms", "p99 ms", "FPS", "ratio to plain calls"]
COLUMNS += ["labels equal to the CPU's fp32", "load s"]


def engines(setup: Setup, resolution: tuple[int, int]) -> list[str]:
    """Measure the engines at one resolution in turns."""
    after = len(setup.resolutions) - setup.resolutions.index(resolution)
    kept = AFTER_ENGINES_SHARE * setup.deadline.seconds
    deadline = Deadline((setup.deadline.left() - kept) / after)
    if deadline.left() < ROUNDS_S:
        raise NotRunError(NO_TIME)
    parts = count_macs(setup.model.metadata.architecture, resolution)
    gmacs = sum(part.gmacs for part in parts.values())
    images = _streets(resolution)
    check = ParityCheck(setup.model, resolution)
    wanted, skipped = _wanted(setup.device)
    runs: dict[str, Run] = {}
    facts: dict[str, tuple[float, float | None]] = {}
    with ExitStack() as stack:
        stack.callback(release_memory)
        started = time.monotonic()
        runs["torch fp32, plain calls"] = Eager(setup).run
        facts["torch fp32, plain calls"] = time.monotonic() - started, None
        for backend, precision in wanted:
            engine = f"{backend} {precision}"
            expected = setup.slowest_load_s.get(backend, EXPECTED_LOAD_S[backend])
            if deadline.left() < ROUNDS_S + expected:
                skipped[engine] = NO_TIME
                continue
            started = time.monotonic()
            try:
                opened = open_engine(
                    setup.model, setup.options(resolution, backend, precision), check
                )
            except InferenceError as error:
                skipped[engine] = str(error)
                continue
            stack.callback(opened.close)
            runs[engine] = opened.run
            facts[engine] = time.monotonic() - started, opened.parity.equal
            slowest = max(setup.slowest_load_s.get(backend, 0.0), facts[engine][0])
            setup.slowest_load_s[backend] = slowest
        calls = [partial(_time, run, images) for run in runs.values()]
        seconds = [_warm_up(call) for call in calls]
        times = take_turns(calls, Budget(ROUNDS_S), seconds)
        at_clocks = f"; clocks after it: {clocks(setup)}" if setup.on_gpu else ""
        runs.clear()  # frees the memory of plain calls
        calls.clear()
    measured = [
        Measured(engine, *facts[engine], each) for engine, each in zip(facts, times, strict=True)
    ]
    reference = float(np.median(measured[0].times))
    lines = [f"{gmacs:.2f} GMAC a frame{at_clocks}.", ""]
    lines += _table(COLUMNS, [each.row(reference) for each in measured])
    for engine, reason in skipped.items():
        lines += ["", f"Not run: {engine}: {reason}."]
    return lines


def _wanted(device: str) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Return (backend, native precision) pairs, and reasons by backend that cannot run."""
    wanted, skipped = [], {}
    for backend in BACKENDS:
        try:
            native = native_precisions(backend, device)
        except InferenceError as error:
            skipped[backend] = str(error)
            continue
        wanted += [(backend, precision) for precision in PRECISIONS if precision in native]
    return wanted, skipped


def _time(run: Run, images: NDArray[np.uint8]) -> float:
    """Run once and return the time in milliseconds."""
    started = time.perf_counter()
    run(images)
    return 1e3 * (time.perf_counter() - started)


def _warm_up(call: Callable[[], float]) -> float:
    """Return the time of the last of several calls in seconds."""
    return [call() for _ in range(WARM_UP_FRAMES)][-1] / 1e3


def batches(setup: Setup) -> list[str]:
    """Measure the fastest precision of each backend at several batch sizes."""

    def row(backend: str, precision: str) -> list[str]:
        cells = []
        for batch_size in BATCH_SIZES:
            if setup.deadline.left() < EXPECTED_LOAD_S[backend]:
                cells.append("-")
                continue
            images = _streets(setup.middle, batch_size)
            options = setup.options(setup.middle, backend, precision, batch_size)
            try:
                engine = open_engine(setup.model, options)
            except InferenceError as error:  # the smaller ones stay in the table
                cells.append(first_line(error))
                continue
            with closing(engine):
                call = partial(_time, engine.run, images)
                seconds = _warm_up(call)
                (times,) = take_turns([call], Budget(BATCH_S), [seconds])
            median = float(np.median(times))
            cells.append(f"{median:.2f} ms, {1e3 * batch_size / median:.0f} images/s")
        return cells

    columns = [f"{size} image{'s' if size > 1 else ''} a run" for size in BATCH_SIZES]
    return _for_each_backend(setup, "Median time of a run", columns, row)


def memory_over_frames(setup: Setup) -> list[str]:
    """Run many frames on the fastest precision of each backend, and record the memory."""

    def row(backend: str, precision: str) -> list[str]:
        before = used_mb(setup)
        engine = open_engine(setup.model, setup.options(setup.middle, backend, precision))
        try:
            loaded = used_mb(setup)
            images = [_streets(setup.middle, first=frame) for frame in (0, 60)]
            warm, done = loaded, 0
            while done < setup.frames and setup.deadline.left() > 0:
                engine.run(images[done % 2])
                done += 1
                if done == WARM_UP_FRAMES:
                    warm = used_mb(setup)
            last = used_mb(setup)
        finally:
            engine.close()
        figures = [before, loaded, warm, last, used_mb(setup)]
        return [f"{done}", *(f"{each:,.0f}" for each in figures), f"{last - warm:+,.0f}"]

    columns = ["frames", "before", "loaded", f"after {WARM_UP_FRAMES} frames", "after all"]
    columns += ["closed", "growth over the frames"]
    return _for_each_backend(setup, _memory(setup), columns, row)


def loads_and_closes(setup: Setup) -> list[str]:
    """Measure memory while repeatedly loading the fastest precision of each backend."""

    def row(backend: str, precision: str) -> list[str]:
        images = _streets(setup.middle)
        seconds: list[float] = []
        closed: list[float] = []
        while len(seconds) < setup.loads and setup.deadline.left() > 0:
            started = time.monotonic()
            engine = open_engine(setup.model, setup.options(setup.middle, backend, precision))
            try:
                engine.run(images)
                seconds.append(time.monotonic() - started)
            finally:
                engine.close()
            closed.append(used_mb(setup))
        # The first load includes memory that the libraries never free.
        figures = [closed[0], closed[-1]]
        return [
            f"{len(seconds)}",
            f"{seconds[0]:.2f}",
            f"{np.median(seconds):.2f}",
            *(f"{each:,.0f}" for each in figures),
            f"{figures[1] - figures[0]:+,.0f}",
        ]

    columns = ["loads", "first s", "median s", "after the first", "after the last", "growth"]
    return _for_each_backend(setup, _memory(setup), columns, row)


def _memory(setup: Setup) -> str:
    return ("Memory of the GPU" if setup.on_gpu else "Resident memory of the process") + " in MB"


def _for_each_backend(
    setup: Setup, what: str, columns: Sequence[str], row: Callable[[str, str], list[str]]
) -> list[str]:
    """Return a table of ``what`` with one ``row`` for the fastest precision of each backend."""
    rows = []
    wanted, skipped = _wanted(setup.device)
    for backend in dict.fromkeys(name for name, _ in wanted):
        precision = native_precisions(backend, setup.device)[0]
        if setup.deadline.left() < EXPECTED_LOAD_S[backend]:
            skipped[backend] = NO_TIME
            continue
        try:
            rows.append([f"{backend} {precision}", *row(backend, precision)])
        except InferenceError as error:
            skipped[f"{backend} {precision}"] = str(error)
    lines = [f"{what}, at {'{}x{}'.format(*setup.middle)}:", ""]
    lines += _table(["engine", *columns], rows)
    for engine, reason in skipped.items():
        lines += ["", f"Not run: {engine}: {reason}."]
    return lines


def used_mb(setup: Setup) -> float:
    """Return the used memory of the whole GPU, or of this process in a dry run, in MB."""
    if not setup.on_gpu:
        return float(psutil.Process().memory_info().rss) / MB
    # PyTorch's allocator does not count TensorRT's memory.
    free, total = torch.cuda.mem_get_info(setup.device)
    return (total - free) / MB


def node(setup: Setup) -> list[str]:
    """Run ``bisenet demo``: publish images to the node, a process, and receive its labels."""
    if importlib.util.find_spec("rclpy") is None:
        raise NotRunError("rclpy is not installed")
    size = "{}x{}".format(*setup.middle)
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "demo.json"
        command = ["-m", "bisenet_ros.cli.main", "demo", "--model", str(setup.path)]
        command += ["--device", setup.device, "--frames", f"{min(NODE_FRAMES, setup.frames)}"]
        command += ["--output", folder, "--json", str(figures)]
        command += ["--resolution", size]
        command += [] if setup.cache is None else ["--engine-cache", str(setup.cache)]
        status, _, error = run_program(command, setup.deadline.left())
        if status is None:
            raise NotRunError("it did not end in the time left, increase --minutes")
        if status != 0:
            raise FailedError(f"**Failed**: bisenet demo: {_last_line(error)}")
        found = json.loads(figures.read_text(encoding="utf-8"))
    latency = found["latency_ms"]
    cells = [found["sent"], found["received"], f"{found['fps']:.1f}"]
    cells += [f"{latency[each]:.1f}" for each in ("p50", "p95", "p99")]
    columns = ["frames sent", "labels received", "FPS", "p50 ms", "p95 ms", "p99 ms"]
    table = _table(columns, [[str(each) for each in cells]])
    return [f"`backend: auto` at {size}, from publishing a frame to its labels:", "", *table]


# Helpers.


def run_program(arguments: Sequence[str], seconds: float) -> tuple[int | None, str, str]:
    """Run Python with ``arguments`` in the project's folder.

    Returns:
        The exit status, or None if it was interrupted after ``seconds``; stdout and stderr.
    """
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            out, error = process.communicate(timeout=max(seconds, 0.0))
            return process.returncode, out, error
        except subprocess.TimeoutExpired:
            # pytest then reports its results, and bisenet demo stops its node.
            process.send_signal(signal.SIGINT)
        try:
            out, error = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, error = process.communicate()
        return None, out, error


def _streets(resolution: tuple[int, int], count: int = 1, first: int = 0) -> NDArray[np.uint8]:
    """Return frames of a street, uint8 [N,H,W,3] RGB."""
    street = Street(SEED, *resolution)
    return np.stack([street.frame(index)[0] for index in range(first, first + count)])


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no output"])[-1]


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return a table in Markdown."""
    lines = [list(head), ["---"] * len(head), *rows]
    return [f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines]


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(main())
