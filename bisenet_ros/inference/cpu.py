"""CPU threads available to this process, and the CPU's instruction sets."""

import hashlib
import os
import platform
import re
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import NamedTuple

import psutil

_LIMITS = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")


def default_threads(root: Path = Path("/")) -> int:
    """Return one thread per physical core that this process may use, at least 1.

    This is the minimum of its CPU affinity, the machine's physical cores and its CPU quota rounded
    up.

    Args:
        root: see ``cpu_quota``.
    """
    usable = len(os.sched_getaffinity(0))
    limits = [usable, psutil.cpu_count(logical=False) or usable]
    quota = cpu_quota(root)
    if quota is not None:
        limits.append(ceil(quota))
    return min(limits)


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the CPU quota of this process's cgroups in CPUs, or None if there is no limit.

    This is the minimum over the process's cgroup and its mounted ancestors, in cgroup v2 and v1.
    Files that are malformed or cannot be read set no limit.

    Args:
        root: folder with proc/self/cgroup, proc/self/mountinfo and the mounted cgroups.
    """
    quotas = (_quota(group) for group in _cgroups(root))
    return min((quota for quota in quotas if quota is not None), default=None)


def instruction_flags(root: Path = Path("/")) -> frozenset[str]:
    """Return the CPU's feature flags in /proc/cpuinfo, such as "avx2"; empty if unknown.

    Args:
        root: folder with proc/cpuinfo.
    """
    for line in _lines(root / "proc/cpuinfo"):
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):  # of x86 and of ARM
            return frozenset(value.split())
    return frozenset()


def cpu_identity(root: Path = Path("/")) -> str:
    """Return a digest of all CPU properties that compiled kernels can depend on.

    These are the instruction sets and the environment variables that limit them in oneDNN and
    PyTorch. The model name is of no use: many virtual machines report only "AMD EPYC".

    Args:
        root: see ``instruction_flags``.
    """
    limits = [f"{name}={os.environ.get(name, '')}" for name in _LIMITS]
    parts = (platform.machine(), *sorted(instruction_flags(root)), *limits)
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12]


def has_native_bf16() -> bool:
    """Return whether PyTorch computes bf16 natively on this CPU.

    Where it is emulated, it is much slower than fp32.
    """
    import torch

    # PyTorch has no types for it.
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not onednn or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    # On x86 oneDNN reports support on every CPU with AVX512.
    return platform.machine() not in ("x86_64", "AMD64") or torch.cpu._is_avx512_bf16_supported()


class _Mount(NamedTuple):
    """A mounted cgroup hierarchy: ``point`` shows the cgroup ``top`` and those below it."""

    top: str
    point: Path


def _cgroups(root: Path) -> Iterator[Path]:
    """Yield the folders of this process's cgroups that can limit CPU time, and their ancestors."""
    for line in _lines(root / "proc/self/cgroup"):
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy != "0" and "cpu" not in controllers.split(","):
            continue
        mounts = list(_mounts(root, unified=hierarchy == "0"))
        inside = [mount for mount in mounts if Path(path).is_relative_to(mount.top)]
        for top, point in inside:
            below = Path(path).relative_to(top)
            yield point / below
            yield from (point / parent for parent in below.parents)
        if not inside:
            # Path and mount belong to different cgroup namespaces, as in some nested containers;
            # the container's own cgroup is mounted there.
            yield from (mount.point for mount in mounts)


def _mounts(root: Path, *, unified: bool) -> Iterator[_Mount]:
    """Yield the mounts of cgroup v2 (``unified``) or of v1's cpu controller."""
    for line in _lines(root / "proc/self/mountinfo"):
        # See proc_pid_mountinfo(5).
        place, _, kind = line.partition(" - ")
        match [*place.split()[3:5], *kind.split()]:
            case [top, point, "cgroup2", *_]:
                fits = unified
            case [top, point, "cgroup", _, options]:
                fits = not unified and "cpu" in options.split(",")
            case _:
                continue
        if fits:
            yield _Mount(_unescape(top), root / _unescape(point).lstrip("/"))


def _unescape(text: str) -> str:
    """Decode the octal escapes of mountinfo, such as those of spaces."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)


def _quota(cgroup: Path) -> float | None:
    """Return the CPU quota of one cgroup, without its ancestors."""
    words = " ".join(_lines(cgroup / "cpu.max")).split()  # v2: quota or "max", period
    if not words:  # v1
        files = (cgroup / "cpu.cfs_quota_us", cgroup / "cpu.cfs_period_us")
        words = [line for file in files for line in _lines(file)]
    try:
        quota, period = map(int, words)
    except ValueError:  # "max", or malformed
        return None
    # In v1, -1 stands for no limit.
    return quota / period if quota > 0 and period > 0 else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
