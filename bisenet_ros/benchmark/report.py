"""Reports of a benchmark: text, JSON and a plot."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bisenet_ros.benchmark.measurement import Engine, Result
from bisenet_ros.inference.segmenter import StageTimes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P95_FRAMES, P99_FRAMES = 20, 100
"""Least number of frames: with fewer, the percentile is nearly the slowest frame."""

_STAGES = [field.name for field in fields(StageTimes) if field.name != "inference_ms"]
"""Stages with a column in the table; p50 is the time of the inference."""


def entry(result: Result) -> dict[str, Any]:
    """Return a result as a dictionary for JSON."""
    values = asdict(result)
    del values["engine"]
    return {
        **result.engine._asdict(),
        **values,
        "resolution": list(result.resolution),
        "stages_ms": {
            name.removesuffix("_ms"): value for name, value in asdict(result.stages_ms).items()
        },
    }


def table(results: Sequence[Result], peaks: Mapping[str, Mapping[str, float | None]]) -> str:
    """Return a text table of results.

    Args:
        results: rows of the table.
        peaks: best GMAC/s by device and precision; None if unknown.
    """
    stages = "".join(f"{stage.removesuffix('_ms'):>13}" for stage in _STAGES)
    head = (
        f"{'engine':<15}{'device':<8}{'frames':>7}{'p50 ms':>8}{'p95 ms':>8}{'p99 ms':>8}{'FPS':>8}"
        f"{'ratio':>7}{stages}{'GMAC/s':>8}{'of best':>8}{'MB':>7}"
    )
    lines = [head]
    for r in results:
        peak = peaks[r.device][r.engine.precision]
        p95 = f"{r.p95_ms:.1f}" if r.frames >= P95_FRAMES else "-"
        p99 = f"{r.p99_ms:.1f}" if r.frames >= P99_FRAMES else "-"
        ratio = "-" if r.ratio is None else f"{r.ratio:.2f}"
        share = "-" if peak is None else f"{r.gmacs_per_s / peak:.0%}"
        memory = "-" if r.peak_memory_mb is None else f"{r.peak_memory_mb:.0f}"
        stages = "".join(f"{getattr(r.stages_ms, stage):>13.2f}" for stage in _STAGES)
        lines.append(
            f"{r.engine!s:<15}{r.device:<8}{r.frames:>7}{r.p50_ms:>8.1f}{p95:>8}{p99:>8}{r.fps:>8.1f}"
            f"{ratio:>7}{stages}{r.gmacs_per_s:>8.1f}{share:>8}{memory:>7}"
        )
    return "\n".join(lines)


def by_reason(skipped: Mapping[Engine, str]) -> dict[str, list[str]]:
    """Group the names of skipped engines by reason."""
    names: dict[str, list[str]] = {}
    for engine, reason in skipped.items():
        names.setdefault(reason, []).append(str(engine))
    return names


def plot(path: Path, results: Sequence[Result], title: str) -> None:
    """Write ``time_figure`` to an image file.

    Args:
        path: file to write; its suffix selects the format.
        results: of one or more resolutions.
        title: of the figure.

    Raises:
        OSError: the file cannot be written.
        ValueError: matplotlib does not support the suffix.
    """
    time_figure(results, title).savefig(path, dpi=150)


def time_figure(results: Sequence[Result], title: str) -> "Figure":
    """Return a log-log figure of each engine's median time over the pixels of the network's input.

    Args:
        results: of one or more resolutions.
        title: of the figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator, ScalarFormatter

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log")
    engines = dict.fromkeys((result.engine, result.device) for result in results)
    for engine, device in engines:
        points = sorted(
            (width * height, result.p50_ms)
            for result in results
            if (result.engine, result.device) == (engine, device)
            for width, height in [result.resolution]
        )
        axes.plot(*zip(*points, strict=True), marker="o", label=f"{engine}, {device}")
    sizes = {w * h: f"{w}x{h}" for w, h in (result.resolution for result in results)}
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(list(sizes), list(sizes.values()))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.set(title=title, xlabel="network resolution", ylabel="median time of a frame, ms")
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    return figure
