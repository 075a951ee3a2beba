"""BiSeNet V2 (arXiv 2004.02147), one module per figure of the paper.

What needs torch is imported when it is first used: readers of model files need ``Architecture``
alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bisenet_ros.network.architecture import PRESETS, Architecture

if TYPE_CHECKING:
    from bisenet_ros.network.bisenetv2 import BiSeNetV2, upsample

__all__ = ["PRESETS", "Architecture", "BiSeNetV2", "upsample"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("bisenet_ros.network.bisenetv2"), name)
