"""Facts about installed libraries that need no import of them."""

import ctypes
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_AMD_GPU = Path("/dev/kfd")


def library_version(name: str) -> str:
    """Return the version of a library, "none" if it is not installed.

    The library is imported only if pip does not know it.
    """
    try:
        return version(name)
    except PackageNotFoundError:
        pass
    try:
        found: str = import_module(name).__version__
    except ImportError:
        return "none"
    return found


def has_cuda_driver() -> bool:
    """Return False if PyTorch can find no GPU, since neither NVIDIA's nor AMD's driver is there."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return _AMD_GPU.exists()
    return True
