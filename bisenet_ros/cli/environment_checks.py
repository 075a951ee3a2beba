"""Checks of what the node needs, each with what to do where it fails."""

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
    f"{sys.executable} -m pip install torch -r requirements/runtime.txt, in the folder of "
    "bisenet_ros's sources"
)

FRAMES = 10


def check_ros() -> Check:
    """Whether ROS 2 and this package's messages can be imported."""
    try:
        import rclpy.utilities

        import bisenet_ros.msg  # noqa: F401  # whether it is there
    except ImportError as error:
        return Check(
            "ros",
            ok=False,
            detail=str(error),
            remedy="source ROS 2's setup.bash, and after it the workspace's install/setup.bash",
        )
    middleware = rclpy.utilities.get_rmw_implementation_identifier()
    launch = "" if shutil.which("ros2") else ", from wheels: there is no ros2 command here"
    detail = f"{os.environ.get('ROS_DISTRO', 'ROS 2')}, {middleware}{launch}"
    return Check("ros", ok=True, detail=detail)


def check_transport() -> Check:
    """Whether Fast DDS, where it is used, can be given shared memory for whole images."""
    from bisenet_ros.ros.fastdds import shm_unavailable_reason, user_override_reason

    name = "transport"
    reason = user_override_reason(os.environ)
    if reason:
        return Check(name, ok=True, detail=reason)
    reason = shm_unavailable_reason(os.environ)
    if reason:
        return Check(name, ok=False, detail=reason)
    detail = "room for whole images in shared memory; the launch file's shared_memory:=true uses it"
    return Check(name, ok=True, detail=detail)


def check_model(load: "Callable[[], Model]") -> "tuple[Check, Model | None]":
    """Whether the model file is whole, and what it takes an image for; the model if it is."""
    try:
        model = load()
    except ImportError as error:
        return Check("model", ok=False, detail=str(error), remedy=LIBRARIES), None
    except UserError as error:
        remedy = "give another --model or --classes"
        return Check("model", ok=False, detail=str(error), remedy=remedy), None
    metadata = model.metadata
    width, height = metadata.resolution
    detail = (
        f"{model.name}: {len(metadata.classes)} classes at {width}x{height}, "
        f"{metadata.channel_order} normalized by mean {metadata.mean}, std {metadata.std}"
    )
    return Check("model", ok=True, detail=detail), model


def check_engine(load: "Callable[[], Segmenter]") -> Check:
    """Whether the network runs here as the node would run it, and how long a frame takes."""
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
        remedy = "see docs/engines.md, or take backend auto"
        return Check("engine", ok=False, detail=str(error), remedy=remedy)
    engine = segmenter.backend
    kernels = engine.arithmetic.removeprefix(f"{engine.name} ")
    threads = f"{engine.threads} thread{'' if engine.threads == 1 else 's'}, "
    detail = (
        f"{engine.name} on {engine.device} in {engine.precision}: {np.median(times):.0f} ms a "
        f"frame, {threads if engine.threads else ''}{kernels}, labels checked against PyTorch: "
        f"{engine.parity.equal:.1%}"
    )
    segmenter.close()
    on_cuda = engine.name == "torch" and engine.device != "cpu"
    remedy = _explain_missing_tensorrt(engine.device) if on_cuda else ""
    return Check("engine", ok=True, detail=detail, remedy=remedy)


def _explain_missing_tensorrt(device: str) -> str:
    """Why PyTorch runs ``device`` in TensorRT's place; empty where both libraries are there."""
    from bisenet_ros.errors import InferenceError
    from bisenet_ros.inference.backend import native_precisions

    try:
        native_precisions("tensorrt", device)
    except InferenceError as error:
        return f"TensorRT would be faster: {error}"
    return ""
