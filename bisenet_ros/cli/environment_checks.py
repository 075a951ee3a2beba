"""Checks of the node's environment, each with a remedy."""

import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from bisenet_ros.check import Check
from bisenet_ros.errors import UserError

if TYPE_CHECKING:
    from bisenet_ros.inference.segmenter import Segmenter
    from bisenet_ros.model.file import Model

LIBRARIES = (
    f"run {sys.executable} -m pip install torch -r requirements/runtime.txt in the source folder "
    "of bisenet_ros"
)

FRAMES = 10


def check_ros() -> Check:
    """Check that ROS 2 and the messages of this package can be imported."""
    try:
        import rclpy.utilities

        import bisenet_ros.msg  # noqa: F401
    except ImportError as error:
        return Check(
            "ros",
            ok=False,
            detail=str(error),
            remedy="source ROS 2's setup.bash, then the workspace's install/setup.bash",
        )
    middleware = rclpy.utilities.get_rmw_implementation_identifier()
    launch = "" if shutil.which("ros2") else ", from wheels: without the ros2 command"
    detail = f"{os.environ.get('ROS_DISTRO', 'ROS 2')}, {middleware}{launch}"
    return Check("ros", ok=True, detail=detail)


def check_transport() -> Check:
    """Check that Fast DDS, if used, can get enough shared memory for images."""
    from bisenet_ros.ros.fastdds import shm_unavailable_reason, user_override_reason

    name = "transport"
    reason = user_override_reason(os.environ)
    if reason:
        return Check(name, ok=True, detail=reason)
    reason = shm_unavailable_reason(os.environ)
    if reason:
        return Check(name, ok=False, detail=reason)
    detail = "enough shared memory for images; use it with shared_memory:=true of the launch file"
    return Check(name, ok=True, detail=detail)


def check_model(load: "Callable[[], Model]") -> "tuple[Check, Model | None]":
    """Check that the model can be loaded, and return it if so."""
    try:
        model = load()
        _ = model.network  # checks the weights, too
    except ImportError as error:
        return Check("model", ok=False, detail=str(error), remedy=LIBRARIES), None
    except UserError as error:
        remedy = "use another --model or --classes"
        return Check("model", ok=False, detail=str(error), remedy=remedy), None
    metadata = model.metadata
    width, height = metadata.resolution
    detail = (
        f"{model.name}: {len(metadata.classes)} classes at {width}x{height}, "
        f"{metadata.channel_order} normalized by mean {metadata.mean}, std {metadata.std}"
    )
    return Check("model", ok=True, detail=detail), model


def check_engine(load: "Callable[[], Segmenter]") -> Check:
    """Check that the engine runs as in the node, and measure its time per frame."""
    from bisenet_ros.errors import InferenceError
    from bisenet_ros.synthetic import DEMO_SEEDS, Street

    try:
        segmenter = load()
        image, _ = Street(DEMO_SEEDS[0]).frame(0)
        times = []
        for _ in range(FRAMES):
            started = time.perf_counter()
            segmenter.segment(image)
            times.append(1e3 * (time.perf_counter() - started))
    except InferenceError as error:
        remedy = "use backend auto, or see docs/engines.md"
        return Check("engine", ok=False, detail=str(error), remedy=remedy)
    engine = segmenter.backend
    kernels = engine.arithmetic.removeprefix(f"{engine.name} ")
    threads = f"{engine.threads} thread{'' if engine.threads == 1 else 's'}, "
    detail = (
        f"{engine.name} on {engine.device} in {engine.precision}: {np.median(times):.0f} ms per "
        f"frame, {threads if engine.threads else ''}{kernels}, {engine.parity.equal:.1%} of "
        "labels equal PyTorch's"
    )
    segmenter.close()
    on_cuda = engine.name == "torch" and engine.device != "cpu"
    remedy = _explain_missing_tensorrt(engine.device) if on_cuda else ""
    return Check("engine", ok=True, detail=detail, remedy=remedy)


def _explain_missing_tensorrt(device: str) -> str:
    """Return why TensorRT is not available on ``device``; empty if it is."""
    from bisenet_ros.errors import InferenceError
    from bisenet_ros.inference.backend import native_precisions

    try:
        native_precisions("tensorrt", device)
    except InferenceError as error:
        return f"TensorRT would be faster: {error}"
    return ""
