"""Figures of the node on a robot, with what they should be, as text and JSON."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True)
class NodeFigures:
    """Measurements of ``bisenet benchmark --node``.

    - ``start_s``: from the start of the process until it waits for images, with a cached engine.
    - ``start_rss_mb``: resident memory then, in 1e6 bytes.
    - ``idle_cpu_percent``: of one core, while nobody listens to a lazy node.
    - ``first_label_frame``: number of the first frame with a label, since the node has subscribed.
    - ``inference_ms``: mean time of the engine with a camera that is faster than it.
    - ``age_p50_ms``, ``age_p99_ms``: from the image's stamp to publishing its label, then.
    - ``age_p50_first_ms``, ``age_p50_last_ms``: in the first and the last third of that time.
    - ``rate_hz``: labels per second, then.
    - ``outside_p50_ms``: median time from the stamp until the label has arrived, minus that of the
      engine, with a camera at half the engine's rate.
    - ``camera_rates_hz``: labels per second of each of several cameras, of which the engine does
      about half.
    - ``camera_rss_mb``: memory that each camera after the first adds.
    """

    start_s: float
    start_rss_mb: float
    idle_cpu_percent: float
    first_label_frame: int
    inference_ms: float
    age_p50_ms: float
    age_p99_ms: float
    age_p50_first_ms: float
    age_p50_last_ms: float
    rate_hz: float
    outside_p50_ms: float
    camera_rates_hz: Mapping[str, float]
    camera_rss_mb: float

    @property
    def ratios(self) -> dict[str, float]:
        """Figures that do not depend on the speed of the engine.

        - ``age_p50_ratio``, ``age_p99_ratio``: in times of the engine.
        - ``age_growth``: in the last third of the time, relative to the first.
        - ``rate_ratio``: share of the engine's own rate.
        - ``camera_rate_deviation``: largest distance of a camera's rate from their mean, 0..1.
        """
        rates = self.camera_rates_hz.values()
        mean = sum(rates) / len(rates)
        return {
            "age_p50_ratio": self.age_p50_ms / self.inference_ms,
            "age_p99_ratio": self.age_p99_ms / self.inference_ms,
            "age_growth": self.age_p50_last_ms / self.age_p50_first_ms - 1,
            "rate_ratio": 1e-3 * self.rate_hz * self.inference_ms,
            "camera_rate_deviation": max(abs(rate - mean) for rate in rates) / mean,
        }

    def document(self) -> dict[str, Any]:
        """Return figures and ratios, ready for JSON."""
        return {**asdict(self), **self.ratios}


class _Row(NamedTuple):
    what: str
    value: str
    aim: str = ""
    is_met: bool = True


def table(figures: NodeFigures) -> str:
    """Return a text table of figures and aims; aims that are missed are marked."""
    rows = list(_rows(figures))
    width = max(len(row.what) for row in rows)
    lines = []
    for row in rows:
        missed = "" if row.is_met else "   missed"
        lines.append(f"{row.what:<{width}}{row.value:>14}   {row.aim}{missed}".rstrip())
    return "\n".join(lines)


def _rows(figures: NodeFigures) -> Iterator[_Row]:
    ratios = figures.ratios
    age, rate = ratios["age_p99_ratio"], ratios["rate_ratio"]
    deviation = ratios["camera_rate_deviation"]
    yield _Row("figure", "value", "aim")
    yield _Row("start, engine cached", f"{figures.start_s:.1f} s")
    yield _Row("memory then", f"{figures.start_rss_mb:.0f} MB")
    idle = figures.idle_cpu_percent
    yield _Row("CPU without subscriber", f"{idle:.1f} %", "< 2 % of a core", idle < 2)
    first = figures.first_label_frame
    yield _Row("first label after subscribing", f"frame {first}", "frame 1 or 2", first <= 2)
    yield _Row("engine's time", f"{figures.inference_ms:.1f} ms")
    yield _Row("age of a label at publishing, p50", f"{ratios['age_p50_ratio']:.2f} x engine")
    yield _Row("age of a label at publishing, p99", f"{age:.2f} x engine", "<= 2.2", age <= 2.2)
    growth = ratios["age_growth"]
    grown = "growth of the age, last / first third"
    yield _Row(grown, f"{100 * growth:+.0f} %", "<= 25 %", growth <= 0.25)
    yield _Row("rate", f"{figures.rate_hz:.1f} Hz")
    yield _Row("rate / rate of the engine alone", f"{rate:.2f}", ">= 0.9", rate >= 0.9)
    outside = figures.outside_p50_ms
    received = "stamp to label received - engine, p50"
    yield _Row(received, f"{outside:.1f} ms", "<= 8 ms", outside <= 8)
    rates = figures.camera_rates_hz
    equal = deviation <= 0.1
    yield _Row(f"rates of {len(rates)} cameras", _range(rates), "equal within 10 %", equal)
    more = figures.camera_rss_mb
    yield _Row("memory of a further camera", f"{more:.1f} MB", "< 30 MB", more < 30)


def _range(rates: Mapping[str, float]) -> str:
    return f"{min(rates.values()):.1f}-{max(rates.values()):.1f} Hz"
