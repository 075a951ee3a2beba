"""Description of the machine and its libraries, and the CPU load of other processes."""

import os
import platform
import time
from collections.abc import Collection
from importlib import metadata
from pathlib import Path

import psutil
import torch

from bisenet_ros.inference.cpu import instruction_flags

_EXTENSIONS = {
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "BF16": ("avx512_bf16",),
    "AMX": ("amx_tile",),
}
"""Instruction sets for low precisions, with their flags in /proc/cpuinfo."""

_ONEDNN_LIMITS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("SSE41", "AVX", "AVX2", "AVX512_CORE"), ()),
    **dict.fromkeys(("AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE_VNNI"), ("VNNI",)),
    **dict.fromkeys(("AVX512_CORE_BF16", "AVX512_CORE_FP16"), ("VNNI", "BF16")),
}
"""Values of ONEDNN_MAX_CPU_ISA with the extensions that they allow; others allow all."""

_LIBRARIES = (
    *("torch", "openvino", "onnxruntime", "numpy", "opencv-python-headless"),
    # Package names of apt and pip.
    *("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
    *("tensorrt-rtx", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13"),
)


def describe_machine() -> dict[str, object]:
    """Return CPU, memory, GPU, system and versions of installed libraries, ready for JSON."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": _cpu_name(),
        "instruction_set": instruction_set(),
        "cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": versions,
    }


def instruction_set() -> str:
    """Return the CPU's vector instructions in effect, such as "AVX512, VNNI, BF16".

    These are what PyTorch reports to use, and further extensions of the CPU. The environment
    variables ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA may disable some of them.
    """
    return effective_instructions(
        torch.backends.cpu.get_cpu_capability(),
        instruction_flags(),
        os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
    )


def effective_instructions(capability: str, flags: Collection[str], limit: str) -> str:
    """Return ``instruction_set`` for given properties of a CPU.

    Args:
        capability: instruction set of PyTorch's kernels, such as "AVX2".
        flags: the CPU's flags in /proc/cpuinfo.
        limit: value of ONEDNN_MAX_CPU_ISA; empty for no limit.
    """
    # AVX-VNNI is the only extension that CPUs without AVX512 have.
    usable = {flag for flag in flags if capability.startswith("AVX512") or flag == "avx_vnni"}
    extensions = (
        name
        for name in _ONEDNN_LIMITS.get(limit.upper(), tuple(_EXTENSIONS))
        if not usable.isdisjoint(_EXTENSIONS[name])
    )
    return ", ".join((capability, *extensions))


def _cpu_name() -> str:
    # platform.processor() is empty or the bare architecture on Linux.
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


BUSY = 0.05
"""CPU share of other processes, 0..1, above which ratios are unreliable."""


class CpuLoad:
    """CPU load of other processes since this object was constructed.

    Shares are of all cores, 0..1. This process and its children that it has waited for do not
    count as others.
    """

    def __init__(self) -> None:
        self._self = psutil.Process()
        self._total, self._busy = _cpu_seconds()
        self._own = self._own_seconds()
        self._processes = _process_seconds()

    def others(self) -> float:
        """Return the CPU share of other processes, including time stolen by a VM's host."""
        total, busy = _cpu_seconds()
        own = self._own_seconds() - self._own
        elapsed = total - self._total
        return max(0.0, busy - self._busy - own) / elapsed if elapsed else 0.0

    def busiest(self, count: int = 3) -> str:
        """Return the ``count`` busiest other processes, as in "python3 (4711) 48%, ..."."""
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
    """Sleep for ``seconds`` and return the load in the meantime."""
    load = CpuLoad()
    time.sleep(seconds)
    return load


def _cpu_seconds() -> tuple[float, float]:
    """Return the total and busy time of all cores since boot, in seconds."""
    times = psutil.cpu_times()._asdict()
    # "user" and "nice" include the time of guests.
    total: float = sum(value for name, value in times.items() if not name.startswith("guest"))
    return total, total - times["idle"] - times.get("iowait", 0.0)


def _process_seconds() -> dict[int, tuple[str, float]]:
    """Return the name and CPU time in seconds of each process by its id."""
    result = {}
    for process in psutil.process_iter(["name", "cpu_times"]):
        times = process.info["cpu_times"]
        if times is not None:  # None without permission to read them
            result[process.pid] = process.info["name"], times.user + times.system
    return result
