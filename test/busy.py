"""Processes that keep the CPU busy."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


@contextmanager
def busy_processes() -> Iterator[list[int]]:
    """Keep more than 5 % of the machine's cores busy, and yield the process ids."""
    code = "print(flush=True)\nwhile True: pass"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        for _ in range(1 + psutil.cpu_count() // 8)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # wait until it runs
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
