"""The interface of a backend, and loading one by name."""

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
    # These import torch, which importers such as the launch file must not need.
    from bisenet_ros.deploy.parity import Parity, ParityCheck
    from bisenet_ros.model.file import Model

MAX_BATCH_SIZE = 16


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Options of an engine, named like the node's parameters.

    - ``backend``: auto, or a key of ``BACKENDS``.
    - ``device``: auto, cpu, cuda or cuda:N; gpu or gpu.N for an Intel GPU.
    - ``precision``: auto, or one of ``precision.PRECISIONS``.
    - ``resolution``: (width, height) of the network's input in pixels, see ``check_resolution``;
      None for the model's resolution.
    - ``threads``: CPU threads; 0 for ``cpu.default_threads``.
    - ``engine_cache``: folder whose subfolder engines/ stores compiled engines; None for the
      user's cache folder.
    - ``confidence``: also compute the confidence of each label.
    - ``batch_size``: number of images that the engine labels at once.

    Raises:
        InferenceError: ``threads``, ``resolution`` or ``batch_size`` is out of range.
    """

    backend: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    resolution: tuple[int, int] | None = None
    threads: int = 0
    engine_cache: str | Path | None = None
    confidence: bool = False
    batch_size: int = 1

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise InferenceError(
                f"threads is {self.threads}; give a number of CPU threads, or 0 for one per core"
            )
        if self.resolution is not None:
            check_resolution(self.resolution)
        if not 1 <= self.batch_size <= MAX_BATCH_SIZE:
            raise InferenceError(
                f"batch size {self.batch_size} is not possible; use 1 to {MAX_BATCH_SIZE} images"
            )

    def resolution_for(self, model: "Model") -> tuple[int, int]:
        """Return (width, height) of the network's input in pixels.

        Raises:
            InferenceError: the model's resolution is invalid, see ``check_resolution``.
        """
        if self.resolution is not None:
            return self.resolution
        check_resolution(model.metadata.resolution)
        return model.metadata.resolution

    def input_shape(self, model: "Model") -> tuple[int, int, int, int]:
        """Return [N,H,W,3], the shape of what ``Backend.run`` takes.

        Raises:
            InferenceError: see ``resolution_for``.
        """
        width, height = self.resolution_for(model)
        return self.batch_size, height, width, 3


class Backend(Protocol):
    """An engine loaded for one model and ``EngineOptions`` with a named precision.

    The constructor compares the labels of a new engine with PyTorch's (``ParityCheck``). It raises
    ``InferenceError`` if this machine does not support the options or computes wrong labels.

    - ``device``: the resolved device, never "auto".
    - ``threads``: CPU threads; 0 on other devices.
    - ``instruction_set``: CPU instructions that the kernels use, such as avx2, or kind of GPU.
    - ``arithmetic``: all that the labels depend on besides the precision, such as
      "openvino avx2 7-bit"; stored as ``Score.measured_on``.
    - ``parity``: agreement of its labels with PyTorch's, measured when it was built.
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
        """Return the precisions that ``device`` computes natively, probably fastest first.

        Raises:
            InferenceError: the backend does not support the device, or it does not exist.
        """
        ...

    @staticmethod
    def identity(device: str) -> str:
        """Return what an engine depends on besides its model: library, version and device.

        Raises:
            InferenceError: as ``native_precisions``.
        """
        ...

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """Label a batch of images.

        Args:
            images: uint8 [N,H,W,3] RGB, contiguous, of the engine's batch size and resolution.

        Returns:
            Class ids, uint8 [N,H,W], and with ``EngineOptions.confidence`` the confidence, uint8
            [N,H,W], 0..255 for 0..1. The caller owns the arrays.

        Raises:
            InferenceError: the device failed, usually because memory ran out.
        """
        ...

    def close(self) -> None:
        """Free the engine's memory. Call this once; the engine cannot run afterwards."""
        ...


BACKENDS: Mapping[str, str] = {
    "tensorrt": "TensorRTBackend",
    "openvino": "OpenVINOBackend",
    "torch": "TorchBackend",
}
"""Class of each backend, in the module ``<name>_backend``, which is imported on first use."""


def backend_class(name: str) -> type[Backend]:
    """Return the class of the backend ``name``.

    Raises:
        InferenceError: the backend is unknown, or its library cannot be imported.
    """
    if name not in BACKENDS:
        raise InferenceError(f"backend {quoted(name)} is unknown; use auto, {', '.join(BACKENDS)}")
    try:
        module = import_module(f"bisenet_ros.inference.{name}_backend")
    except ImportError as error:
        raise _missing_library(name, error) from error
    found: type[Backend] = getattr(module, BACKENDS[name])
    return found


def _missing_library(name: str, error: ImportError) -> InferenceError:
    return InferenceError(
        f"backend {quoted(name)} needs a library that cannot be imported ({error}); install "
        "it for this Python, or use another backend"
    )


def native_precisions(name: str, device: str) -> tuple[str, ...]:
    """Return the precisions that the backend ``name`` computes natively on ``device``.

    Args:
        name: a key of ``BACKENDS``.
        device: as in ``EngineOptions``.

    Returns:
        Names in ``precision.PRECISIONS``, probably fastest first.

    Raises:
        InferenceError: the backend is unknown, its library cannot be imported, or it does not
            support the device.
    """
    return backend_class(name).native_precisions(device)


def open_engine(
    model: "Model", options: EngineOptions, check: "ParityCheck | None" = None
) -> Backend:
    """Load ``model`` with the backend and precision that ``options`` name, and run it once.

    The warm-up run allocates memory and selects kernels, so that the first frame is not delayed.
    It also detects engines that load but cannot run.

    Args:
        model: what to load.
        options: with a named backend and precision.
        check: reference labels to share among engines of ``model``; None to compute them.

    Raises:
        InferenceError: see ``Backend``.
    """
    try:
        engine = backend_class(options.backend)(model, options, check)
    except ImportError as error:  # of what only a new engine needs, such as onnx
        raise _missing_library(options.backend, error) from error
    try:
        engine.run(np.zeros(options.input_shape(model), np.uint8))
    except BaseException:
        engine.close()
        raise
    return engine
