"""What a backend is, and how one is loaded by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.errors import InferenceError, quoted
from bisenet_ros.inference.resolution import check_resolution

if TYPE_CHECKING:
    # They import torch, which the launch file, for one, has to do without.
    from bisenet_ros.deploy.parity import Parity, ParityCheck
    from bisenet_ros.model.file import Model


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Which engine to load, by the names that the node's parameters have.

    - ``backend``: auto, or a name in ``BACKENDS``.
    - ``device``: auto, cpu, cuda, cuda:N, or an Intel GPU as gpu, gpu.N.
    - ``precision``: auto, or one of ``precision.PRECISIONS``.
    - ``resolution``: (width, height) of the network's input, see ``check_resolution``; None for
      the model's own.
    - ``threads``: CPU threads; 0 for ``cpu.default_threads``.
    - ``engine_cache``: folder for compiled engines, in its engines/; None for the user's cache
      folder.
    - ``confidence``: also compute the confidence of each label.

    Raises:
        InferenceError: ``threads`` or ``resolution`` is out of range.
    """

    backend: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    resolution: tuple[int, int] | None = None
    threads: int = 0
    engine_cache: str | Path | None = None
    confidence: bool = False

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise InferenceError(
                f"threads is {self.threads}; give a number of CPU threads, or 0 for one a core"
            )
        if self.resolution is not None:
            check_resolution(self.resolution)

    def resolution_for(self, model: "Model") -> tuple[int, int]:
        """Return (width, height) in pixels of the network's input.

        Raises:
            InferenceError: no engine can have the model's own resolution.
        """
        if self.resolution is not None:
            return self.resolution
        check_resolution(model.metadata.resolution)
        return model.metadata.resolution


class Backend(Protocol):
    """An engine, loaded for one model and ``EngineOptions`` with a named precision.

    The constructor compares a new engine's labels with PyTorch's (``ParityCheck``) and raises
    ``InferenceError`` where this machine cannot serve what is asked or computes it wrongly.

    - ``device``: what "auto" became.
    - ``threads``: of the CPU; 0 on other devices.
    - ``instruction_set``: of the CPU that the kernels use, such as avx2, or the kind of GPU.
    - ``arithmetic``: all that the labels depend on besides the precision, such as
      "openvino avx2 7-bit"; what ``Score.measured_on`` holds.
    - ``parity``: how its labels compared with PyTorch's when it was built.
    """

    name: str
    device: str
    precision: str
    threads: int
    instruction_set: str
    arithmetic: str
    parity: "Parity"

    def __init__(
        self, model: "Model", options: EngineOptions, check: "ParityCheck | None" = None
    ) -> None: ...

    @staticmethod
    def native_precisions(device: str) -> tuple[str, ...]:
        """Return what ``device`` computes without emulation, the likely fastest first.

        Raises:
            InferenceError: the backend does not serve this device, or the device is not there.
        """
        ...

    @staticmethod
    def identity(device: str) -> str:
        """Return all that an engine depends on besides its model: library, version and device.

        Raises:
            InferenceError: as ``native_precisions``.
        """
        ...

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """Labels uint8 [H,W], and confidence uint8 [H,W] if loaded with it.

        ``image`` is uint8 [H,W,3] RGB, contiguous, of the engine's resolution. The results are the
        caller's.

        Raises:
            InferenceError: the device failed, mostly for want of memory.
        """
        ...

    def close(self) -> None:
        """Give back the engine's memory, once; it cannot run afterwards."""
        ...


BACKENDS: Mapping[str, str] = {
    "tensorrt": "TensorRTBackend",
    "openvino": "OpenVINOBackend",
    "torch": "TorchBackend",
}
"""Class of each backend, in the module ``<name>_backend``, which only loading it imports."""


def backend_class(name: str) -> type[Backend]:
    """Return the class of the backend ``name``.

    Raises:
        InferenceError: no such backend, or its library cannot be imported.
    """
    if name not in BACKENDS:
        raise InferenceError(
            f"backend {quoted(name)} is unknown; there are auto, {', '.join(BACKENDS)}"
        )
    try:
        module = import_module(f"bisenet_ros.inference.{name}_backend")
    except ImportError as error:
        raise InferenceError(
            f"backend {quoted(name)} needs a library that cannot be imported ({error}); install "
            "it for this Python, or take another backend"
        ) from error
    found: type[Backend] = getattr(module, BACKENDS[name])
    return found


def native_precisions(name: str, device: str) -> tuple[str, ...]:
    """Return what the backend ``name`` computes on ``device`` without emulation.

    Args:
        name: a key of ``BACKENDS``.
        device: as in ``EngineOptions``.

    Returns:
        Names in ``precision.PRECISIONS``, the likely fastest first.

    Raises:
        InferenceError: no such backend, its library is missing, or it does not serve the device.
    """
    return backend_class(name).native_precisions(device)


def open_engine(
    model: "Model", options: EngineOptions, check: "ParityCheck | None" = None
) -> Backend:
    """Load ``model`` into the backend and precision that ``options`` name, and run it once.

    The first run allocates and chooses kernels, and no frame should wait for it; nor does a backend
    work that loads and cannot run.

    Raises:
        InferenceError: see ``Backend``.
    """
    engine = backend_class(options.backend)(model, options, check)
    width, height = options.resolution_for(model)
    try:
        engine.run(np.zeros((height, width, 3), np.uint8))
    except BaseException:
        engine.close()
        raise
    return engine
