"""What machine and libraries figures come from."""

import platform
from importlib import metadata
from pathlib import Path

import psutil
import torch

_LIBRARIES = (
    *("torch", "openvino", "onnxruntime", "numpy", "opencv-python-headless"),
    # apt's and pip's.
    *("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
)


def describe_machine() -> dict[str, object]:
    """Processor, memory, GPU, system and versions of the libraries that are installed."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": _cpu_name(),
        "cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": versions,
    }


def _cpu_name() -> str:
    # platform.processor() is empty or the bare architecture on Linux.
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
