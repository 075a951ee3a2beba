"""The table, JSON and plot of a benchmark."""

from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from bisenet_ros.benchmark.measurement import Engine, Result
from bisenet_ros.benchmark.report import entry, plot, table, time_figure
from bisenet_ros.inference.segmenter import StageTimes


def result(precision: str, resolution: tuple[int, int], ms: float) -> Result:
    return Result(
        engine=Engine("torch", precision),
        device="cpu",
        resolution=resolution,
        p50_ms=ms,
        p95_ms=ms,
        p99_ms=ms,
        fps=1000 / ms,
        ratio=None,
        stages_ms=StageTimes(0.0, ms, 0.0),
        frames=4,
        gmacs_per_s=1.0,
    )


def test_the_table_has_each_stage_besides_the_inference_in_a_column() -> None:
    stages = StageTimes(resize_ms=1.25, inference_ms=15.0, postprocess_ms=3.5)
    one = replace(result("fp32", (256, 128), 15.0), stages_ms=stages)
    head, row = table([one], {"cpu": {"fp32": None}}).splitlines()
    for name, value in (("resize", "1.25"), ("postprocess", "3.50"), ("MB", "-")):
        end = head.index(name) + len(name)
        assert row[:end].endswith(f" {value}")
    assert entry(one)["stages_ms"] == {"resize": 1.25, "inference": 15.0, "postprocess": 3.5}


RESULTS = [
    result("fp32", (256, 128), 15.0),
    result("bf16", (256, 128), 9.0),
    result("fp32", (1024, 512), 240.0),
]


def test_each_engine_has_a_line_over_its_own_resolutions() -> None:
    (axes,) = time_figure(RESULTS, "a title").axes
    assert {line.get_label(): line.get_xydata().tolist() for line in axes.lines} == {
        "torch:fp32, cpu": [[256 * 128, 15], [1024 * 512, 240]],
        "torch:bf16, cpu": [[256 * 128, 9]],
    }
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown == ["torch:fp32, cpu", "torch:bf16, cpu"]
    assert axes.get_xticks().tolist() == [256 * 128, 1024 * 512]
    assert [each.get_text() for each in axes.get_xticklabels()] == ["256x128", "1024x512"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_title() == "a title"
    assert axes.get_xlabel() == "network resolution"
    assert axes.get_ylabel() == "median time of a frame, ms"


def test_the_plot_is_written_as_png(tmp_path: Path) -> None:
    plot(tmp_path / "time.png", RESULTS, "a title")
    assert cv2.imread(str(tmp_path / "time.png")).shape == (750, 1200, 3)


def test_an_unknown_suffix_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="xyz"):
        plot(tmp_path / "time.xyz", RESULTS, "a title")
