"""BiSeNet V2 semantic segmentation for ROS 2, and its door for Python programs.

    from bisenet_ros import Segmenter, load_model

docs/python.md has an example of each public name. They are imported when they are first used, so
that ``bisenet --help`` answers at once.
"""

import os
from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bisenet_ros.inference.backend import EngineOptions
    from bisenet_ros.inference.segmenter import Segmenter
    from bisenet_ros.model.file import load_model

__all__ = ["EngineOptions", "Segmenter", "load_model"]

# The generated messages (bisenet_ros.msg) exist only where colcon installed them. Joining all
# folders of this name on sys.path lets a source tree and the built overlay act as one package.
__path__ = extend_path(__path__, __name__)

# ONNX Runtime sends telemetry and keeps a device id in the user's cache folder, unless this is set
# before it is imported. A robot must do neither unasked.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_MODULES = {
    "EngineOptions": "bisenet_ros.inference.backend",
    "Segmenter": "bisenet_ros.inference.segmenter",
    "load_model": "bisenet_ros.model.file",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
