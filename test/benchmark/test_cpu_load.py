"""The load of other processes: theirs is seen and named, ours is not counted."""

import os
import subprocess
import sys
import time

import psutil
from busy import busy_processes

from bisenet_ros.benchmark.cpu_load import BUSY, CpuLoad, watch

SPIN = "import time\nwhile time.process_time() < 0.6: pass"  # os.times is rounded


def test_busy_processes_are_seen_and_named() -> None:
    with busy_processes() as pids:
        load = watch(1.0)
        assert load.others() > BUSY
        assert any(f"({pid})" in load.busiest(100) for pid in pids)


def test_children_that_were_waited_for_are_ours() -> None:
    cores = psutil.cpu_count()
    idle, ours, started = psutil.cpu_times().idle, sum(os.times()[:4]), time.monotonic()
    load = CpuLoad()
    children = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(cores)]
    assert [child.wait() for child in children] == [0] * cores
    others = load.others()
    available = cores * (time.monotonic() - started)
    idle, ours = psutil.cpu_times().idle - idle, sum(os.times()[:4]) - ours
    assert ours >= 0.5 * cores
    # Were ours among the others, others would have all that was not idle. Half of ours is ample
    # for the kernel's clocks, which differ a little.
    assert others * available + idle < available - ours / 2
