"""What ``bisenet export`` does with the engine cache: fill it, list it, clear it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bisenet_ros.inference.engine_cache import EngineCache, cache_folder

if TYPE_CHECKING:
    from bisenet_ros.inference.backend import EngineOptions
    from bisenet_ros.model.file import Model

_TOLD = ("backend", "model", "resolution", "precision", "device")
"""Fields of a key that tell one engine from another to a reader; all backends use them."""


def prebuild(backend: str, model: "Model", options: "EngineOptions") -> None:
    """Put an engine into the cache, unless it is there.

    Raises:
        InferenceError: there is no such engine on this machine.
    """
    from bisenet_ros.inference.selection import load_backend

    engine = load_backend(model, replace(options, backend=backend))
    width, height = options.resolution_for(model)
    print(
        f"{engine.name} has an engine of {model.name} for {engine.device} in {engine.precision} "
        f"at {width}x{height}{' with confidence' if options.confidence else ''}"
    )
    engine.close()


def prebuild_for(gpus: "Sequence[str]", model: "Model", options: "EngineOptions") -> None:
    """Put engines for GPUs that are elsewhere into the cache, unless they are there.

    In precision "auto" all between which that machine chooses, where they work: fp16, and int8 if
    the model is calibrated.

    Args:
        gpus: such as "sm86".
        model: what to build.
        options: ``device`` does not matter.

    Raises:
        InferenceError: TensorRT for RTX is missing, or cannot build one.
    """
    from bisenet_ros.inference.tensorrt_backend import build_for

    precisions = [options.precision]
    if options.precision == "auto":
        precisions = ["int8", "fp16"] if model.metadata.calibration else ["fp16"]
    width, height = options.resolution_for(model)
    for precision in precisions:
        build_for(model, replace(options, precision=precision), gpus)
        print(
            f"tensorrt_rtx has an engine of {model.name} for {', '.join(gpus)} in {precision} at "
            f"{width}x{height}{' with confidence' if options.confidence else ''}; the GPU compares "
            "it with PyTorch when it first loads it"
        )


def list_engines(cache: Path | None = None) -> None:
    """Print what the engine cache holds, a line each.

    Raises:
        EngineCacheError: it cannot be read, or others could write in it.
    """
    folder = cache_folder(cache)
    entries = EngineCache(folder).entries()
    for entry in entries:
        what = f"unusable: {entry.problem}" if entry.key is None else _describe(entry.key)
        print(f"{entry.size / 1e6:8.1f} MB  {what}")
    total = sum(entry.size for entry in entries) / 1e6
    print(f"{_count(len(entries))}, {total:.1f} MB, in {folder}")


def clear_engines(cache: Path | None = None) -> None:
    """Delete what the engine cache holds.

    Raises:
        EngineCacheError: it cannot be deleted, or others could write in the folder.
    """
    folder = cache_folder(cache)
    print(f"{_count(EngineCache(folder).clear())} deleted from {folder}")


def _describe(key: Mapping[str, str]) -> str:
    told = [key[name] for name in _TOLD if name in key]
    return ", ".join([*told, "with confidence"] if key.get("confidence") == "yes" else told)


def _count(number: int) -> str:
    return f"{number} engine{'' if number == 1 else 's'}"
