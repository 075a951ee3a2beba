"""What a backend is, and how one is loaded by name."""

import logging
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.inference.errors import InferenceError
from bisenet_ros.inference.precision import PRECISIONS
from bisenet_ros.model_file import Model

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineOptions:
    """What an engine is made for.

    - ``resolution``: (width, height) of the images, at least 32 and divisible by 8.
    - ``device``: auto, cpu, cuda, cuda:N, or an Intel GPU as gpu, gpu.N.
    - ``precision``: auto, or one of ``precision.PRECISIONS``.
    - ``confidence``: also compute the confidence of each label.
    - ``threads``: of the CPU; 0 for one per core.
    - ``cache``: folder for compiled engines, in its engines/; None for the user's cache folder.
    """

    resolution: tuple[int, int]
    device: str = "auto"
    precision: str = "auto"
    confidence: bool = False
    threads: int = 0
    cache: Path | None = None

    def __post_init__(self) -> None:
        """Raise InferenceError if the number of threads is none."""
        if self.threads < 0:
            raise InferenceError(
                f"threads is {self.threads}; give a number of CPU threads, or 0 for one a core"
            )


class Backend(Protocol):
    """An engine, loaded for one model and ``EngineOptions``.

    The constructor raises ``InferenceError`` where this machine cannot serve what is asked;
    ``device`` and ``precision`` then say what "auto" became.
    """

    name: str
    device: str
    precision: str

    def __init__(self, model: Model, options: EngineOptions) -> None: ...

    @staticmethod
    def native_precisions(device: str) -> tuple[str, ...]:
        """Return what ``device`` computes without emulation, the likely fastest first.

        Raises:
            InferenceError: the backend does not serve this device, or the device is not there.
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


BACKENDS = {
    "tensorrt": "TensorRTBackend",
    "openvino": "OpenVINOBackend",
    "torch": "TorchBackend",
}
"""Class of each backend, in the module ``<name>_backend``, which only loading it imports."""

_AUTO = (("tensorrt", "auto"), ("torch", "cuda"), ("openvino", "auto"), ("torch", "cpu"))
"""What "auto" tries, with the device for each where the user names none."""


def load_backend(name: str, model: Model, options: EngineOptions) -> Backend:
    """Load ``model`` into the backend ``name``; "auto" takes the fastest that works here.

    It has run once then: the first run allocates and chooses kernels, and no frame should wait for
    it; nor does a backend work that loads and cannot run. Which one "auto" took, and why not the
    ones before it, goes to the log.

    Raises:
        InferenceError: no such backend, or it cannot serve the options on this machine.
    """
    if options.precision not in ("auto", *PRECISIONS):
        raise InferenceError(
            f"precision '{options.precision}' is unknown; there are auto, {', '.join(PRECISIONS)}"
        )
    if name != "auto":
        return _load(name, model, options)
    if options.device == "auto":
        candidates = [(each, replace(options, device=device)) for each, device in _AUTO]
    else:
        candidates = [(each, options) for each in BACKENDS]
    reasons = []
    for each, its_options in candidates:
        try:
            backend = _load(each, model, its_options)
        except InferenceError as error:
            reasons.append(f"{each}: {error}")
            continue
        told = f"backend auto is {backend.name} on {backend.device} in {backend.precision}"
        logger.info("; not ".join([told, *reasons]))
        return backend
    raise InferenceError(f"no backend can do this here: {'; '.join(reasons)}")


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
    return _backend_class(name).native_precisions(device)


def _backend_class(name: str) -> type[Backend]:
    if name not in BACKENDS:
        raise InferenceError(f"backend '{name}' is unknown; there are auto, {', '.join(BACKENDS)}")
    try:
        module = import_module(f"bisenet_ros.inference.{name}_backend")
    except ImportError as error:
        raise InferenceError(
            f"backend '{name}' needs a library that cannot be imported ({error}); install it for "
            "this Python, or take another backend"
        ) from error
    found: type[Backend] = getattr(module, BACKENDS[name])
    return found


def _load(name: str, model: Model, options: EngineOptions) -> Backend:
    backend = _backend_class(name)(model, options)
    width, height = options.resolution
    try:
        backend.run(np.zeros((height, width, 3), np.uint8))
    except BaseException:
        backend.close()
        raise
    return backend
