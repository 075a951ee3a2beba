"""Estimate of the remaining time that a run prints."""

import re
from contextlib import closing
from pathlib import Path

import pytest

from bisenet_ros.training.loop import Progress
from bisenet_ros.training.run_logger import RunLogger, time_left
from bisenet_ros.training.settings import Settings


@pytest.mark.parametrize(
    ("iterations", "seconds", "text"),
    [
        (300, 2.4, "about 12 min left: 300 iterations at 2.4 s"),
        (20, 0.0312, "about 1 s left: 20 iterations at 31 ms"),
        (100, 0.8, "about 80 s left: 100 iterations at 800 ms"),
        (100, 54.0, "about 1.5 h left: 100 iterations at 54.0 s"),
    ],
)
def test_time_left(iterations: int, seconds: float, text: str) -> None:
    assert time_left(iterations, seconds) == text


def printed_estimates(
    folder: Path, capsys: pytest.CaptureFixture[str], total: int, first: int
) -> list[str]:
    """Return the estimates printed by a run that resumes after ``first`` iterations."""
    settings = Settings(iterations=total)
    with closing(RunLogger(folder, settings, ["a"], first, tensorboard=False)) as log:
        for number in range(first + 1, total + 1):
            done = number - first
            seconds = 60.0 if done <= 5 else 2.0 + 0.8 * (done % 2) if done <= 20 else 100.0
            log.show(Progress(number, 1.0, 0.1, seconds, 0.0))
    return re.findall(r"about .* left: .*", capsys.readouterr().err)


def test_remaining_time_is_printed_once_after_20_iterations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Iterations 6 to 20: seven take 2.8 s and eight 2.0 s.
    mean = (7 * 2.8 + 8 * 2.0) / 15
    assert printed_estimates(tmp_path / "new", capsys, 320, 0) == [time_left(300, mean)]
    assert printed_estimates(tmp_path / "resumed", capsys, 320, 200) == [time_left(100, mean)]


@pytest.mark.parametrize(("total", "lines"), [(19, 0), (39, 0), (40, 1)])
def test_short_runs_print_no_remaining_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], total: int, lines: int
) -> None:
    assert len(printed_estimates(tmp_path, capsys, total, 0)) == lines
