"""PyTorch as it is: the backend that runs everywhere, and the measure for the others."""

import numpy as np
import torch
from numpy.typing import NDArray

from bisenet_ros.cpu import default_threads, has_native_bf16
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.cuda import cuda_device, cuda_number, release_memory
from bisenet_ros.inference.deploy import Deployed
from bisenet_ros.inference.errors import engine_errors
from bisenet_ros.inference.precision import choose_precision
from bisenet_ros.model_file import Model

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchBackend:
    """``Deployed`` in eager PyTorch, on the CPU (fp32, bf16) or on CUDA (fp32, bf16, fp16).

    ``EngineOptions.threads`` is PyTorch's own setting, and so one of the whole process.
    """

    name = "torch"

    def __init__(self, model: Model, options: EngineOptions) -> None:
        self.device = _device(options.device)
        self.precision = choose_precision(
            options.precision,
            _supported(self.device),
            model.metadata.scores,
            f"torch on {self.device}",
        )
        deployed = Deployed(model, confidence=options.confidence, dtype=DTYPES[self.precision])
        width, height = options.resolution
        self._cuda = self.device != "cpu"
        with engine_errors("torch", self.device):
            self._deployed = deployed.on(self.device)
            # Pinned memory is what the GPU copies from by itself.
            self._input = torch.empty(
                (1, height, width, 3), dtype=torch.uint8, pin_memory=self._cuda
            )
            self._on_device = self._input.to(self.device)  # the same tensor on the CPU
        # Last, since nothing gives it back where this fails.
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(options.threads or default_threads())

    @staticmethod
    def native_precisions(device: str) -> tuple[str, ...]:
        """See ``Backend.native_precisions``."""
        name = _device(device)
        if name == "cpu":
            return ("bf16", "fp32") if has_native_bf16() else ("fp32",)
        with engine_errors("torch", name):
            # Before Ampere cuDNN has no convolutions in bf16, and PyTorch's own are slow.
            ampere = torch.cuda.get_device_capability(name) >= (8, 0)
        return ("fp16", "bf16", "fp32") if ampere else ("fp16", "fp32")

    @torch.inference_mode()
    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """See ``Backend.run``."""
        self._input.numpy()[0] = image
        with engine_errors("torch", self.device):
            if self._cuda:
                self._on_device.copy_(self._input, non_blocking=True)
            outputs = self._deployed(self._on_device)
            # Without blocking, PyTorch copies to pinned memory, which it keeps for the next frames.
            results = [output[0].to("cpu", non_blocking=True) for output in outputs]
            if self._cuda:
                torch.cuda.synchronize(self.device)
        return tuple(result.numpy() for result in results)

    def close(self) -> None:
        """See ``Backend.close``."""
        del self._deployed, self._on_device, self._input
        torch.set_num_threads(self._threads_before)
        if self._cuda:
            release_memory()


def _device(device: str) -> str:
    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return device
    return str(cuda_device(cuda_number(device, "torch", "auto, cpu")))


def _supported(device: str) -> tuple[str, ...]:
    """Precisions that can be asked for: the native ones, and bf16, which runs everywhere."""
    native = TorchBackend.native_precisions(device)
    return native if "bf16" in native else (*native, "bf16")
