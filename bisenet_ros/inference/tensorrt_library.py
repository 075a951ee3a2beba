"""NVIDIA's two libraries with the TensorRT API, and the choice between them.

TensorRT targets Jetson and data centers, and supports all other GPUs as well. TensorRT for RTX
targets GeForce and RTX: a small download that builds engines in seconds, with or without the GPU,
and compiles kernels when an engine is first loaded. This module has the differences.
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
"""Newest ONNX opset that TensorRT 10.3 supports; later versions support newer ones."""

_JETSON = (8, 7), (10, 1), (11, 0)
"""Orin, and Thor by its old and its new compute capability."""

_RTX = (7, 5), (8, 6), (8, 9), (12, 0)
"""GPUs for which TensorRT for RTX is recommended if neither library is installed."""


@dataclass(frozen=True)
class Library:
    """TensorRT, which builds engines on the GPU that runs them.

    - ``module``: Python module, also used in logs, cache keys and scores.
    - ``title``: NVIDIA's name.
    - ``versions``: lowest supported version, and lowest version that is too new.
    - ``accepted``: the supported versions in words.
    - ``targets``: GPUs for which it builds engines without having them, such as "sm86"; empty if
      it builds only for the present GPU.
    """

    module: str
    title: str
    versions: tuple[tuple[int, int], tuple[int, int]]
    accepted: str
    targets: tuple[str, ...] = ()

    def version(self) -> str:
        """Return the version of the installed library.

        Raises:
            InferenceError: it cannot be imported, or its version is not supported.
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
        """Return whether it may support such a GPU; TensorRT itself reports when it does not."""
        return not self.targets or target(capability) in self.targets

    def set_target(self, api: Any, config: "trt.IBuilderConfig", gpu: str) -> None:
        """Configure a build for ``gpu``, one of ``targets``."""

    def create_context(
        self, engine: "trt.ICudaEngine", kernels: bytes
    ) -> "tuple[trt.IExecutionContext | None, Callable[[], bytes]]":
        """Return an execution context, or None if memory ran out, and a getter of its kernels.

        Args:
            engine: the loaded engine.
            kernels: kernels compiled for it before, or empty.
        """
        return engine.create_execution_context(), bytes


class _ForRTX(Library):
    """TensorRT for RTX, which builds for any GPU and compiles kernels when an engine is loaded."""

    def set_target(self, api: Any, config: Any, gpu: str) -> None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(api.ComputeCapability.__members__[gpu.upper()], 0)

    def create_context(self, engine: Any, kernels: bytes) -> tuple[Any, Callable[[], bytes]]:
        config = engine.create_runtime_config()
        cache = config.create_runtime_cache()
        if kernels and not cache.deserialize(kernels):
            logger.info("cached kernels are for another driver or GPU; compiling them again")
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
    """Return the name of a GPU in ``Library.targets``, such as "sm86"."""
    major, minor = capability
    return f"sm{major}{minor}"


def choose_library(capability: Capability, cuda: str | None) -> tuple[Library, str]:
    """Return the installed library that supports a GPU, and its version.

    TensorRT is preferred, since it tunes engines on the GPU itself.

    Args:
        capability: of the GPU.
        cuda: version of PyTorch's CUDA, for the error.

    Raises:
        InferenceError: no library is installed; the message has the command that installs one.
    """
    reasons = []
    for library in (TENSORRT, TENSORRT_RTX):
        if not library.serves(capability):
            reasons.append(f"{library.title} does not support {target(capability)}")
            continue
        try:
            return library, library.version()
        except InferenceError as error:
            reasons.append(str(error))
    raise InferenceError(f"{'; '.join(reasons)}: {how_to_install(capability, cuda)}")


def how_to_install(capability: Capability, cuda: str | None) -> str:
    """Return the command that installs or upgrades the library for a GPU, in quotes.

    Args:
        capability: of the GPU.
        cuda: version of PyTorch's CUDA, such as "13.0".
    """
    if capability in _JETSON:
        return "'sudo apt install python3-libnvinfer'"
    # TensorRT for RTX has wheels only for x86-64.
    if capability in _RTX and platform.machine() == "x86_64":
        return how_to_install_rtx(cuda)
    return f"'{sys.executable} -m pip install -U tensorrt-{_release(cuda)}'"


def how_to_install_rtx(cuda: str | None = None) -> str:
    """Return the command that installs TensorRT for RTX; see ``how_to_install``."""
    return f"'{sys.executable} -m pip install -U tensorrt-rtx-{_release(cuda)}'"


def _release(cuda: str | None) -> str:
    return f"cu{(cuda or '13').partition('.')[0]}"
