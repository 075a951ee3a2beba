"""PyTorch as it is: the backend that runs everywhere, and the measure for the others."""

import numpy as np
import torch
from numpy.typing import NDArray

from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.deploy import Deployed
from bisenet_ros.inference.errors import InferenceError, torch_memory_errors
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
        if options.threads:
            torch.set_num_threads(options.threads)
        deployed = Deployed(model, confidence=options.confidence, dtype=DTYPES[self.precision])
        width, height = options.resolution
        cuda = self.device != "cpu"
        with torch_memory_errors(self.device):
            deployed.to(self.device)
            self._deployed = deployed.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
            # Pinned memory is what the GPU copies from by itself.
            self._input = torch.empty((1, height, width, 3), dtype=torch.uint8, pin_memory=cuda)
            self._on_device = self._input.to(self.device)  # the same tensor on the CPU

    @torch.inference_mode()
    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """See ``Backend.run``."""
        self._input.numpy()[0] = image
        with torch_memory_errors(self.device):
            if self._on_device is not self._input:
                self._on_device.copy_(self._input, non_blocking=True)
            return tuple(output[0].cpu().numpy() for output in self._deployed(self._on_device))

    def close(self) -> None:
        """See ``Backend.close``."""
        del self._deployed, self._on_device, self._input
        if self.device != "cpu":
            torch.cuda.empty_cache()


def _device(device: str) -> str:
    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return device
    kind, _, number = device.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise InferenceError(f"device '{device}' is none of auto, cpu, cuda, cuda:N")
    count = torch.cuda.device_count()
    if int(number or 0) >= count:
        raise InferenceError(
            f"device '{device}' is not there: this PyTorch sees {count} CUDA devices; use cpu, or "
            "install a PyTorch built for CUDA"
        )
    return f"cuda:{number or 0}"


def _supported(device: str) -> tuple[str, ...]:
    """Precisions, fastest first."""
    if device != "cpu":
        return "fp16", "bf16", "fp32"
    # Elsewhere PyTorch computes bf16 by way of fp32, slower than fp32 itself.
    native: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return ("bf16", "fp32") if native else ("fp32", "bf16")
