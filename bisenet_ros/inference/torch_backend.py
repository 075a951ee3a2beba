"""The PyTorch backend, which runs everywhere; other backends are compared with it."""

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.deploy.parity import Parity, ParityCheck
from bisenet_ros.deploy.precision import check_precision
from bisenet_ros.errors import engine_errors
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.cpu import cpu_identity, default_threads, has_native_bf16
from bisenet_ros.inference.cuda import (
    cuda_device,
    cuda_device_count,
    cuda_number,
    release_memory,
)
from bisenet_ros.inference.engine_cache import EngineCache, cache_folder, engine_key, model_digest
from bisenet_ros.inference.libraries import library_version
from bisenet_ros.model.file import Model


class TorchBackend:
    """``DeployModule`` in PyTorch, on the CPU (fp32, bf16) or on CUDA (fp32, bf16, fp16).

    On CUDA it replays a CUDA graph, see ``CudaRunner``. In PyTorch the number of threads is global
    to the process, so ``EngineOptions.threads`` is set only while an image runs.
    """

    name = "torch"

    def __init__(
        self, model: Model, options: EngineOptions, check: ParityCheck | None = None
    ) -> None:
        self.device = _device(options.device)
        self.precision = options.precision
        check_precision(self.precision, _supported(self.device), f"torch on {self.device}")
        from bisenet_ros.inference.torch_engine import start_runner

        self.threads = 0 if self.device != "cpu" else options.threads or default_threads()
        with engine_errors("torch", self.device):
            self._runner = start_runner(model, options, self.device, self.threads)
            self.instruction_set = _instruction_set(self.device)
        self.arithmetic = f"torch {self.instruction_set}"
        self.parity = self._compare(model, options, check)

    @staticmethod
    def native_precisions(device: str) -> tuple[str, ...]:
        """See ``Backend.native_precisions``."""
        name = _device(device)
        if name == "cpu":
            return ("bf16", "fp32") if has_native_bf16() else ("fp32",)
        import torch

        with engine_errors("torch", name):
            # Before Ampere cuDNN has no bf16 convolutions, and PyTorch's own are slow.
            ampere = torch.cuda.get_device_capability(name) >= (8, 0)
        return ("fp16", "bf16", "fp32") if ampere else ("fp16", "fp32")

    @staticmethod
    def identity(device: str) -> str:
        """See ``Backend.identity``."""
        name = _device(device)
        return f"PyTorch {library_version('torch')}, {_hardware(name)}"

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """See ``Backend.run``."""
        with engine_errors("torch", self.device):
            return self._runner.run(images)

    def close(self) -> None:
        """See ``Backend.close``."""
        del self._runner
        if self.device != "cpu":
            release_memory()

    def _compare(self, model: Model, options: EngineOptions, check: ParityCheck | None) -> Parity:
        """Return the agreement with fp32 on the CPU, measured once per model and machine."""
        if (self.device, self.precision) == ("cpu", "fp32"):
            return Parity(equal=1.0, wrong=0.0)  # this is the reference
        cache = EngineCache(cache_folder(options.engine_cache))
        key = engine_key(
            model,
            options,
            engine="torch",
            precision=self.precision,
            device=self.identity(self.device),
            content=model_digest(model),
        )
        facts = cache.recall(key)
        if facts is not None:
            return Parity(**facts)
        check = check or ParityCheck(model, options.resolution_for(model), options.batch_size)
        parity = check(lambda images: self.run(images)[0], self.precision, "this engine")
        cache.remember(key, asdict(parity))
        return parity


def _device(device: str) -> str:
    if device == "auto":
        return "cuda:0" if cuda_device_count() else "cpu"
    if device == "cpu":
        return device
    return str(cuda_device(cuda_number(device, "torch", "auto, cpu")))


def _hardware(device: str) -> str:
    if device == "cpu":
        return f"instructions {cpu_identity()}"
    import torch

    with engine_errors("torch", device):
        return torch.cuda.get_device_name(device)


def _instruction_set(device: str) -> str:
    """Return the CPU's instruction set in PyTorch, such as avx2, or a GPU's, such as sm_86."""
    import torch

    if device == "cpu":
        name: str = torch.backends.cpu.get_cpu_capability()
        return name.lower()
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def _supported(device: str) -> tuple[str, ...]:
    """Return the precisions that can be requested: the native ones, and bf16 in any case."""
    native = TorchBackend.native_precisions(device)
    return native if "bf16" in native else (*native, "bf16")
