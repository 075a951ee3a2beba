"""What the precision "auto" of a run stands for, where it runs."""

from dataclasses import replace

from bisenet_ros.inference.torch_backend import TorchBackend
from bisenet_ros.training.distributed import DistributedContext
from bisenet_ros.training.settings import Settings


def computes_bf16(device: str) -> bool:
    """Return whether ``device`` computes bf16 natively; elsewhere it is emulated, and slow."""
    return "bf16" in TorchBackend.native_precisions(device)


def resolve_precision(settings: Settings, processes: DistributedContext) -> Settings:
    """Return ``settings`` with what its precision "auto" stands for; any other stays.

    That is bf16 where every one of ``processes`` computes it natively, else fp16 on CUDA and fp32
    on the CPU.
    """
    if settings.precision != "auto":
        return settings
    if not processes.any(not computes_bf16(processes.device)):
        return replace(settings, precision="bf16")
    return replace(settings, precision="fp32" if processes.device == "cpu" else "fp16")
