"""The load of other processes: theirs is seen and named, ours is not counted."""

import os
import subprocess
import sys
import time

import psutil
from busy import busy_processes

from bisenet_ros.inference.benchmark.cpu_load import BUSY, CpuLoad, watch

SPIN = "import time\nwhile time.process_time() < 0.5: pass"


def test_busy_processes_are_seen_and_named() -> None:
    with busy_processes() as pids:
        load = watch(1.0)
        assert load.others() > BUSY
        assert any(f"({pid})" in load.busiest(100) for pid in pids)


def test_children_that_were_waited_for_are_ours() -> None:
    cores = psutil.cpu_count()
    before = os.times()
    started = time.monotonic()
    load = CpuLoad()
    children = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(cores)]
    assert [child.wait() for child in children] == [0] * cores
    others, elapsed, after = load.others(), time.monotonic() - started, os.times()
    ours = sum(after[:4]) - sum(before[:4])
    assert ours >= 0.5 * cores
    # Were ours among the others', the sum would be far above what the cores have.
    assert others * elapsed * cores + ours < 1.2 * elapsed * cores
