"""The PyTorch backend, which runs everywhere; other backends are compared with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
import torch
from numpy.typing import NDArray

from bisenet_ros.deploy.deploy_module import DeployModule
from bisenet_ros.deploy.parity import Parity, ParityCheck
from bisenet_ros.deploy.precision import check_precision
from bisenet_ros.errors import engine_errors
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.cpu import cpu_identity, default_threads, has_native_bf16
from bisenet_ros.inference.cuda import cuda_device, cuda_number, release_memory
from bisenet_ros.inference.cuda_runner import CudaRunner
from bisenet_ros.inference.engine_cache import EngineCache, cache_folder, engine_key, model_content
from bisenet_ros.model.file import Model

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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
        deployed = DeployModule(model, confidence=options.confidence, dtype=DTYPES[self.precision])
        cuda = self.device != "cpu"
        self.threads = 0 if cuda else options.threads or default_threads()
        with engine_errors("torch", self.device):
            deployed.on(self.device)
            self._runner = (
                CudaRunner(deployed, options.resolution_for(model), self.device)
                if cuda
                else _CpuRunner(deployed, options.resolution_for(model), self.threads)
            )
            self.instruction_set = _instruction_set(self.device)
        self.arithmetic = f"torch {self.instruction_set}"
        self.parity = self._compare(model, options, check)

    @staticmethod
    def native_precisions(device: str) -> tuple[str, ...]:
        """See ``Backend.native_precisions``."""
        name = _device(device)
        if name == "cpu":
            return ("bf16", "fp32") if has_native_bf16() else ("fp32",)
        with engine_errors("torch", name):
            # Before Ampere cuDNN has no bf16 convolutions, and PyTorch's own are slow.
            ampere = torch.cuda.get_device_capability(name) >= (8, 0)
        return ("fp16", "bf16", "fp32") if ampere else ("fp16", "fp32")

    @staticmethod
    def identity(device: str) -> str:
        """See ``Backend.identity``."""
        name = _device(device)
        on = f"instructions {cpu_identity()}" if name == "cpu" else torch.cuda.get_device_name(name)
        return f"PyTorch {torch.__version__}, {on}"

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """See ``Backend.run``."""
        with engine_errors("torch", self.device):
            return self._runner.run(image)

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
            content=model_content(model),
        )
        facts = cache.recall(key)
        if facts is not None:
            return Parity(**facts)
        check = check or ParityCheck(model, options.resolution_for(model))
        parity = check(lambda image: self.run(image)[0], self.precision, "this engine")
        cache.remember(key, asdict(parity))
        return parity


class _CpuRunner:
    """``DeployModule`` on the CPU for images of one resolution, (width, height) in pixels."""

    def __init__(self, deployed: DeployModule, resolution: tuple[int, int], threads: int) -> None:
        width, height = resolution
        self._deployed = deployed
        self._threads = threads
        self._image = torch.empty((1, height, width, 3), dtype=torch.uint8)

    @torch.inference_mode()
    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """See ``Backend.run``."""
        self._image.numpy()[0] = image
        with _threads(self._threads):
            outputs = self._deployed(self._image)
        return tuple(output[0].numpy() for output in outputs)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let PyTorch use ``count`` CPU threads."""
    before = torch.get_num_threads()
    if count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device(device: str) -> str:
    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return device
    return str(cuda_device(cuda_number(device, "torch", "auto, cpu")))


def _instruction_set(device: str) -> str:
    """Return the CPU's instruction set in PyTorch, such as avx2, or a GPU's, such as sm_86."""
    if device == "cpu":
        name: str = torch.backends.cpu.get_cpu_capability()
        return name.lower()
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def _supported(device: str) -> tuple[str, ...]:
    """Return the precisions that can be requested: the native ones, and bf16 in any case."""
    native = TorchBackend.native_precisions(device)
    return native if "bf16" in native else (*native, "bf16")
