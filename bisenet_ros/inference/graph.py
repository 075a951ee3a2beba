"""The graph that an engine is compiled from, exported only where it is needed.

An export takes seconds and PyTorch. The cache remembers the digest of each exported file, under
all that it is made from, so that a start with an engine in the cache exports nothing.
"""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.engine_cache import EngineCache, Key, model_digest
from bisenet_ros.inference.libraries import library_version
from bisenet_ros.model.file import Model

if TYPE_CHECKING:
    from bisenet_ros.deploy.onnx import ExactRunner

_SOURCES = ("network", "model", "deploy")
"""Folders of this package whose code decides what is exported."""

_LIBRARIES = ("torch", "onnx", "onnxruntime", "numpy")
"""Libraries that decide, too."""


class Graph:
    """``DeployModule`` of a model as an ONNX file.

    Args:
        model: what to export.
        options: only resolution, batch size and confidence are used.
        cache: remembers the digest.
        precision: see ``build_onnx``, as for the others.
        fp16_rest: see there.
        weight_bits: see there.
    """

    def __init__(
        self,
        model: Model,
        options: EngineOptions,
        cache: EngineCache,
        *,
        precision: str,
        fp16_rest: bool = False,
        weight_bits: int = 8,
    ) -> None:
        self._model = model
        self._options = options
        self._cache = cache
        self._precision = precision
        self._fp16_rest = fp16_rest
        self._weight_bits = weight_bits

    @cached_property
    def digest(self) -> str:
        """SHA-256 of ``content``, which is exported only if the cache does not know its digest.

        Raises:
            InferenceError: see ``content``.
        """
        key = self._key()
        known = self._cache.recall(key)
        if isinstance(known, str):
            return known
        digest = hashlib.sha256(self.content).hexdigest()
        self._cache.remember(key, digest)
        return digest

    @cached_property
    def content(self) -> bytes:
        """Content of the file.

        Raises:
            InferenceError: see ``build_onnx``.
            ModelFileError: the weights do not match the architecture.
        """
        from bisenet_ros.deploy.onnx import build_onnx

        content: bytes = build_onnx(
            self._model,
            resolution=self._options.resolution_for(self._model),
            precision=self._precision,
            batch_size=self._options.batch_size,
            confidence=self._options.confidence,
            fp16_rest=self._fp16_rest,
            weight_bits=self._weight_bits,
        ).SerializeToString()
        return content

    def exact_runner(self) -> "ExactRunner":
        """Return exact evaluation of the file."""
        from bisenet_ros.deploy.onnx import ExactRunner

        return ExactRunner(self.content)

    def _key(self) -> Key:
        width, height = self._options.resolution_for(self._model)
        return {
            "digest of": "ONNX file",
            "exporter": exporter_digest(),
            "model": model_digest(self._model),
            "resolution": f"{width}x{height}",
            "batch size": str(self._options.batch_size),
            "precision": self._precision,
            "rest": "fp16" if self._fp16_rest else "fp32",
            "weight bits": str(self._weight_bits),
            "confidence": "yes" if self._options.confidence else "no",
        }


def exporter_digest(package: Path = Path(__file__).parents[1]) -> str:
    """Return the SHA-256 of what turns a model into an ONNX file.

    These are the sources of this package's part in it, and the versions of the libraries. If one
    changes, graphs are exported again; engines are compiled again only if that changes the graph.

    Args:
        package: folder of the sources.
    """
    digest = hashlib.sha256()
    for path in sorted(path for each in _SOURCES for path in (package / each).rglob("*.py")):
        digest.update(f"{path.relative_to(package)} ".encode())
        digest.update(path.read_bytes())
    digest.update(str({name: library_version(name) for name in _LIBRARIES}).encode())
    return digest.hexdigest()
