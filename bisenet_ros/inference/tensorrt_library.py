"""NVIDIA's two libraries of one API, and which of them a GPU takes.

TensorRT is for Jetson and data centers, and serves all other GPUs too. TensorRT for RTX is for
GeForce and RTX: a small download that builds an engine in seconds, without the GPU if need be, and
compiles the kernels for it when the engine is first loaded. What the two do differently is here.
"""

import importlib
import logging
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bisenet_ros.errors import InferenceError

if TYPE_CHECKING:
    import tensorrt as trt

logger = logging.getLogger(__name__)

Capability = tuple[int, int]
"""A GPU's compute capability, (major, minor)."""

NEWEST_OPSET = 20
"""Of ONNX, that NVIDIA documents for TensorRT 10.3; what came after it knows newer ones too."""

_JETSON = (8, 7), (10, 1), (11, 0)
"""Orin, and Thor by its old and its new number."""

_RTX = (7, 5), (8, 6), (8, 9), (12, 0)
"""GPUs that TensorRT for RTX is recommended for, where neither library is installed."""


@dataclass(frozen=True)
class Library:
    """TensorRT, which builds an engine on the GPU that it is for.

    - ``module``: what is imported, and the name in the log, keys and scores.
    - ``title``: NVIDIA's name.
    - ``versions``: the first that works, and the first whose changes are unknown.
    - ``accepted``: the versions in words.
    - ``targets``: GPUs that it builds engines for without having one, such as "sm86"; empty if it
      builds for the GPU at hand alone.
    """

    module: str
    title: str
    versions: tuple[tuple[int, int], tuple[int, int]]
    accepted: str
    targets: tuple[str, ...] = ()

    def version(self) -> str:
        """Return the version of the installed library.

        Raises:
            InferenceError: it cannot be imported, or is of another version.
        """
        try:
            found: str = importlib.import_module(self.module).__version__
        except (ImportError, OSError) as error:  # OSError: its shared libraries are missing
            raise InferenceError(f"{self.title} cannot be imported ({error})") from error
        lowest, beyond = self.versions
        if not lowest <= tuple(map(int, found.split(".")[:2])) < beyond:
            raise InferenceError(f"{self.title} {found} is installed; {self.accepted} is needed")
        return found

    def serves(self, capability: Capability) -> bool:
        """Return whether it may have kernels for such a GPU; what it has not, it says itself."""
        return not self.targets or target(capability) in self.targets

    def set_target(self, api: Any, config: "trt.IBuilderConfig", gpu: str) -> None:
        """Have the engine built for ``gpu``, as in ``targets``."""

    def create_context(
        self, engine: "trt.ICudaEngine", kernels: bytes
    ) -> "tuple[trt.IExecutionContext | None, Callable[[], bytes]]":
        """Return what runs the engine, None for want of memory, and what gives its kernels.

        Args:
            engine: loaded.
            kernels: that were compiled for it before, or empty.
        """
        return engine.create_execution_context(), bytes


class _ForRTX(Library):
    """TensorRT for RTX, which builds for any GPU, and compiles when an engine is loaded."""

    def set_target(self, api: Any, config: Any, gpu: str) -> None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(api.ComputeCapability.__members__[gpu.upper()], 0)

    def create_context(self, engine: Any, kernels: bytes) -> tuple[Any, Callable[[], bytes]]:
        config = engine.create_runtime_config()
        cache = config.create_runtime_cache()
        if kernels and not cache.deserialize(kernels):
            logger.info("the kept kernels are of another driver or GPU, and are compiled anew")
        config.set_runtime_cache(cache)
        return engine.create_execution_context(config), lambda: bytes(cache.serialize())


TENSORRT = Library("tensorrt", "TensorRT", ((10, 3), (12, 0)), "10.3 up to 11.x")
TENSORRT_RTX = _ForRTX(
    "tensorrt_rtx",
    "TensorRT for RTX",
    ((1, 7), (2, 0)),
    "1.7 up to 1.x",
    ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121"),
)


def target(capability: Capability) -> str:
    """Return the name that a GPU has in ``Library.targets``, such as "sm86"."""
    major, minor = capability
    return f"sm{major}{minor}"


def choose_library(capability: Capability, cuda: str | None) -> tuple[Library, str]:
    """Return the library that is installed and serves a GPU, and its version.

    Args:
        capability: of the GPU. TensorRT comes first, since it may be tuned on the GPU itself.
        cuda: version of PyTorch's CUDA, for the error.

    Raises:
        InferenceError: there is none, with the way to get the right one.
    """
    reasons = []
    for library in (TENSORRT, TENSORRT_RTX):
        if not library.serves(capability):
            reasons.append(f"{library.title} is not for {target(capability)}")
            continue
        try:
            return library, library.version()
        except InferenceError as error:
            reasons.append(str(error))
    raise InferenceError(f"{'; '.join(reasons)}: {how_to_install(capability, cuda)}")


def how_to_install(capability: Capability, cuda: str | None) -> str:
    """Return the command that brings the library for a GPU, or a newer one, in quotes.

    Args:
        capability: of the GPU.
        cuda: version of PyTorch's CUDA, such as "13.0".
    """
    if capability in _JETSON:
        return "'sudo apt install python3-libnvinfer'"
    # There are wheels of TensorRT for RTX for no other machine.
    if capability in _RTX and platform.machine() == "x86_64":
        return how_to_install_rtx(cuda)
    return f"'{sys.executable} -m pip install -U tensorrt-{_release(cuda)}'"


def how_to_install_rtx(cuda: str | None = None) -> str:
    """Return the command that brings TensorRT for RTX; see ``how_to_install``."""
    return f"'{sys.executable} -m pip install -U tensorrt-rtx-{_release(cuda)}'"


def _release(cuda: str | None) -> str:
    return f"cu{(cuda or '13').partition('.')[0]}"
