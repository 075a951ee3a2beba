"""The commands of this folder, at a length of seconds, and that they can fail."""

import os
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from measured_node import MAX_UNDER_WAY, CountLost, Counts, Usage
from messages import BYTES_PER_PIXEL, PER_EXAMPLE, compressed_images, generate, raw_images
from soak import BOUNDS, MAX_PEAK_MIB, Run, check, measure, table

from bisenet_ros.errors import NodeError
from bisenet_ros.ros.image_messages import ENCODINGS, ImageDecoder, decode_compressed

ROOT = Path(__file__).parents[2]
FAST = ["backend=torch", "precision=fp32", "device=cpu", "threads=1", "resolution=128x64"]
COMMANDS = {
    "highway": ["highway", "--minutes", "0.05"],
    "lifecycle": ["lifecycle", "--cycles", "2"],
    "fuzz": ["fuzz", "--messages", "20"],
    "kills": ["kills", "--count", "1"],
}
USAGE = Usage(rss_mib=500.0, threads=20, descriptors=20, shm_files=2, shm_mib=1.0, log_kib=1.0)


@pytest.fixture(scope="module")
def processes() -> Iterator[dict[str, "subprocess.Popen[str]"]]:
    """All of them at once, since they mostly wait."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    started = {}
    for name, words in COMMANDS.items():
        parameters = [word for each in FAST for word in ("--param", each)]
        started[name] = subprocess.Popen(
            [sys.executable, str(ROOT / "test" / "soak" / "soak.py"), *words, *parameters],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    yield started
    for process in started.values():
        with process:
            process.send_signal(signal.SIGINT)  # upon which it ends its node, too


@pytest.mark.parametrize("name", COMMANDS)
def test_a_scenario_passes(name: str, processes: dict[str, "subprocess.Popen[str]"]) -> None:
    output, _ = processes[name].communicate()
    assert processes[name].returncode == 0, output
    received = int(output.split()[0])
    assert received > 0
    assert "received = " in output
    assert "rss_mib" in output


@pytest.mark.parametrize("error", [NodeError("the node ended"), CountLost("1 frame")])
def test_what_ends_a_scenario_is_a_failure(error: Exception, tmp_path: Path) -> None:
    def fails(args: Namespace, folder: Path, run: Run) -> None:
        raise error

    run = measure(fails, Namespace(), tmp_path)
    assert run.problems == [str(error)]
    assert f"FAILED: {error}" in table(run)


def test_a_traceback_in_the_log_is_a_failure(tmp_path: Path) -> None:
    def logs(args: Namespace, folder: Path, run: Run) -> None:
        (folder / "node_0.log").write_text("[ERROR] frame lost: Traceback (most recent call last):")

    assert measure(logs, Namespace(), tmp_path).problems == [
        f"a traceback in {tmp_path}/node_0.log"
    ]


def test_counts_that_do_not_add_up_are_found() -> None:
    counts = Counts(sent=20, received=10, processed=4, dropped=3, rejected=3)
    counts.check()
    replace(counts, received=10 + MAX_UNDER_WAY).check()
    with pytest.raises(CountLost, match="4 frames under way: 14 received = 4 processed"):
        replace(counts, received=11 + MAX_UNDER_WAY).check()
    with pytest.raises(CountLost, match="-1 frames under way"):
        replace(counts, received=9).check()


@pytest.mark.parametrize("name", BOUNDS)
def test_growth_is_found(name: str) -> None:
    largest = replace(USAGE, **{name: getattr(USAGE, name) + BOUNDS[name]})
    assert check(Run(spans={"kills": (USAGE, largest)})) == []
    larger = replace(USAGE, **{name: getattr(USAGE, name) + BOUNDS[name] + 1})
    (problem,) = check(Run(spans={"kills": (USAGE, larger)}))
    assert problem.startswith(f"kills: {name} grew by ")


def test_a_peak_is_found() -> None:
    run = Run(spans={"kills": (USAGE, USAGE)}, peak_rss_mib=USAGE.rss_mib + MAX_PEAK_MIB + 1)
    assert len(check(run)) == 1


def test_valid_messages_can_be_decoded() -> None:
    assert set(BYTES_PER_PIXEL) == set(ENCODINGS)
    decoder = ImageDecoder()
    raw = generate(raw_images(), 50, 0)
    assert {len(example) for example in raw} == {PER_EXAMPLE}
    for example in raw:
        assert decoder.to_rgb(example[0]).shape == (example[0].height, example[0].width, 3)
    for jpeg_or_png, *_ in generate(compressed_images(), 50, 0):
        assert decode_compressed(jpeg_or_png).shape[2] == 3


def test_examples_can_be_repeated() -> None:
    assert generate(raw_images(), 10, 1) == generate(raw_images(), 10, 1)
    assert generate(raw_images(), 10, 1) != generate(raw_images(), 10, 2)
