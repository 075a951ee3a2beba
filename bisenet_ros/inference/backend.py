"""What a backend is, and how one is loaded by name."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.inference.errors import InferenceError
from bisenet_ros.inference.torch_backend import TorchBackend
from bisenet_ros.model_file import Model


class Backend(Protocol):
    """An engine, loaded for one model, device, precision and resolution."""

    name: str
    device: str
    precision: str

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """Labels uint8 [H,W], and confidence uint8 [H,W] if loaded with it.

        ``image`` is uint8 [H,W,3] RGB of the engine's resolution. The results are the caller's.
        """
        ...

    def close(self) -> None:
        """Give back the engine's memory; it cannot run afterwards."""
        ...


BACKENDS: dict[str, Callable[..., Backend]] = {"torch": TorchBackend}


def load_backend(
    name: str, model: Model, device: str, precision: str, *, confidence: bool
) -> Backend:
    """Load ``model`` into the backend ``name``; "auto" takes the fastest that works here.

    Raises:
        InferenceError: no such backend, or it cannot serve the device or precision.
    """
    chosen = "torch" if name == "auto" else name
    if chosen not in BACKENDS:
        raise InferenceError(f"backend '{name}' is unknown; there are auto, {', '.join(BACKENDS)}")
    return BACKENDS[chosen](model, device, precision, confidence=confidence)
