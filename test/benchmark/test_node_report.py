"""Figures of the node: ratios, aims and text."""

from dataclasses import replace

import pytest

from bisenet_ros.benchmark.node_report import NodeFigures, table

FIGURES = NodeFigures(
    start_s=3.96,
    start_rss_mb=511.4,
    idle_cpu_percent=0.31,
    first_label_frame=1,
    inference_ms=100.0,
    age_p50_ms=121.0,
    age_p99_ms=180.0,
    age_p50_first_ms=120.0,
    age_p50_last_ms=126.0,
    rate_hz=9.5,
    outside_p50_ms=7.9,
    camera_rates_hz={"front": 2.4, "rear": 2.6},
    camera_rss_mb=3.4,
)


def test_ratios_are_relative_to_the_engine() -> None:
    document = FIGURES.document()
    assert document["age_p50_ratio"] == pytest.approx(1.21)
    assert document["age_p99_ratio"] == pytest.approx(1.8)
    assert document["age_growth"] == pytest.approx(0.05)
    assert document["rate_ratio"] == pytest.approx(0.95)
    assert document["camera_rate_deviation"] == pytest.approx(0.04)
    assert document["camera_rates_hz"] == {"front": 2.4, "rear": 2.6}
    assert document["start_s"] == 3.96


def test_table_has_figures_and_aims() -> None:
    assert table(FIGURES).splitlines() == [
        "figure                                        value   aim",
        "start, engine cached                          4.0 s",
        "memory then                                  511 MB",
        "CPU without subscriber                        0.3 %   < 2 % of a core",
        "first label after subscribing               frame 1   frame 1 or 2",
        "engine's time                              100.0 ms",
        "age of a label at publishing, p50     1.21 x engine",
        "age of a label at publishing, p99     1.80 x engine   <= 2.2",
        "growth of the age, last / first third          +5 %   <= 25 %",
        "rate                                         9.5 Hz",
        "rate / rate of the engine alone                0.95   >= 0.9",
        "stamp to label received - engine, p50        7.9 ms   <= 8 ms",
        "rates of 2 cameras                       2.4-2.6 Hz   equal within 10 %",
        "memory of a further camera                   3.4 MB   < 30 MB",
    ]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"idle_cpu_percent": 2.1}, "CPU without subscriber"),
        ({"first_label_frame": 3}, "first label"),
        ({"age_p99_ms": 221.0}, "age of a label at publishing, p99"),
        ({"age_p50_last_ms": 151.0}, "growth of the age"),
        ({"rate_hz": 8.9}, "rate / rate of the engine alone"),
        ({"outside_p50_ms": 8.1}, "stamp to label received"),
        ({"camera_rates_hz": {"front": 2.0, "rear": 2.6}}, "rates of 2 cameras"),
        ({"camera_rss_mb": 30.1}, "memory of a further camera"),
    ],
)
def test_what_is_missed_is_marked(change: dict[str, object], what: str) -> None:
    lines = table(replace(FIGURES, **change)).splitlines()  # type: ignore[arg-type]
    (missed,) = [line for line in lines if line.endswith("missed")]
    assert missed.startswith(what)
