"""What other processes take of the CPU while we measure."""

import time

import psutil

BUSY = 0.05
"""The share of the CPU from which on other processes make ratios worthless."""


class CpuLoad:
    """The load of other processes since this object was made.

    Shares are of all cores, 0..1. Ours are this process and those of its children that it has
    waited for.
    """

    def __init__(self) -> None:
        self._self = psutil.Process()
        self._total, self._busy = _cpu_seconds()
        self._own = self._own_seconds()
        self._processes = _process_seconds()

    def others(self) -> float:
        """The share of other processes, and of the host where it takes a virtual CPU away."""
        total, busy = _cpu_seconds()
        own = self._own_seconds() - self._own
        elapsed = total - self._total
        return max(0.0, busy - self._busy - own) / elapsed if elapsed else 0.0

    def busiest(self, count: int = 3) -> str:
        """The processes that took most, for a message: "python3 (4711) 48 %, ..."."""
        elapsed = _cpu_seconds()[0] - self._total
        used = {
            f"{name} ({pid})": seconds - self._processes.get(pid, ("", 0.0))[1]
            for pid, (name, seconds) in _process_seconds().items()
            if pid != self._self.pid
        }
        most = sorted(used.items(), key=lambda item: -item[1])[:count]
        return ", ".join(f"{who} {seconds / elapsed:.0%}" for who, seconds in most if seconds)

    def _own_seconds(self) -> float:
        times = self._self.cpu_times()
        own: float = times.user + times.system + times.children_user + times.children_system
        return own


def watch(seconds: float) -> CpuLoad:
    """The load of the next ``seconds``, in which this thread does nothing."""
    load = CpuLoad()
    time.sleep(seconds)
    return load


def _cpu_seconds() -> tuple[float, float]:
    """Time of all cores since the start of the machine, and the busy part of it."""
    times = psutil.cpu_times()._asdict()
    # Guests are in "user" and "nice" already.
    total: float = sum(value for name, value in times.items() if not name.startswith("guest"))
    return total, total - times["idle"] - times.get("iowait", 0.0)


def _process_seconds() -> dict[int, tuple[str, float]]:
    """Name and time of each process, by its id."""
    result = {}
    for process in psutil.process_iter(["name", "cpu_times"]):
        times = process.info["cpu_times"]
        if times is not None:  # of a process that others may not look at
            result[process.pid] = process.info["name"], times.user + times.system
    return result
