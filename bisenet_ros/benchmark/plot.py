"""The cost of a frame against its size, as a picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter

from bisenet_ros.benchmark.measurement import Result


def plot(path: Path, results: Sequence[Result], title: str) -> None:
    """Write a picture of the median time of each engine at each resolution, both logarithmic.

    Raises:
        OSError, ValueError: the file cannot be written, or is of a kind that matplotlib cannot.
    """
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
    figure.savefig(path, dpi=150)
