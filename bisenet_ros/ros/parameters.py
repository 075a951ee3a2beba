"""The segmentation node's parameters: name, type, default, range and description exist here alone.

``scripts/generate_parameter_docs.py`` writes config/segment.yaml and the README's table from here,
and the launch file describes its arguments from here. So nothing here may import torch or OpenCV:
the Python that runs ``ros2 launch`` may lack them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from bisenet_ros.deploy.precision import MAX_DROP, PRECISIONS
from bisenet_ros.errors import ParameterError, quoted
from bisenet_ros.images.bit_depth import FULL_DEPTH, MIN_DEPTH
from bisenet_ros.images.encoded import MAX_IMAGE_PIXELS
from bisenet_ros.inference.backend import BACKENDS, MAX_BATCH_SIZE, EngineOptions
from bisenet_ros.inference.resolution import (
    MAX_SIDE,
    MIN_SIDE,
    MULTIPLE,
    Fit,
    LabelSize,
    parse_resolution,
)
from bisenet_ros.resources import SHIPPED_MODEL, expand_home
from bisenet_ros.ros.manager_bond import heartbeat_period_field
from bisenet_ros.ros.parameter_set import ParameterSet
from bisenet_ros.ros.parameter_set import parameter_field as _parameter
from bisenet_ros.ros.qos import DURABILITY, RELIABILITY

OUTPUTS = {"label": "mono8", "confidence": "mono8", "overlay": "rgb8", "color": "rgb8"}
"""Images that the node can publish, with their encoding in sensor_msgs/Image."""


MAX_CAMERAS = MAX_BATCH_SIZE


def parse_cameras(names: Sequence[str]) -> tuple[str, ...]:
    """Return ``names`` if each can be part of a topic's name, or if there is only one, "".

    Raises:
        ParameterError: one cannot, two are equal, or there are more than ``MAX_CAMERAS``.
    """
    if list(names) in ([], [""]):
        return ("",)
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or len(name) > 100:
            raise ParameterError(
                f"{quoted(name)} cannot be part of a topic's name: use letters, digits and _, and "
                "begin with a letter"
            )
    if len(set(names)) < len(names):
        raise ParameterError(f"two cameras have the same name: {', '.join(names)}")
    if len(names) > MAX_CAMERAS:
        raise ParameterError(f"there are {len(names)} cameras and {MAX_CAMERAS} are possible")
    return tuple(names)


def parse_roi(values: Sequence[int]) -> tuple[int, int, int, int] | None:
    """Return x, y, width, height [px], or None for the whole image.

    Raises:
        ParameterError: they are not four integers from 0, or only one of width and height is 0.
    """
    if len(values) != 4 or min(values) < 0 or (values[2] == 0) != (values[3] == 0):
        given = ", ".join(map(str, values))
        raise ParameterError(f"[{quoted(given)[1:-1]}] is not x, y, width, height in pixels from 0")
    x, y, width, height = values
    return (x, y, width, height) if width else None


@dataclass(frozen=True)
class Parameters:
    """Values of all parameters."""

    model: str = _parameter(
        "",
        f"Path of a model file, or name of a shipped model; by default {SHIPPED_MODEL}.",
        effect="reload",
    )
    classes: str = _parameter(
        "",
        "Path of a class file, or camvid, cityscapes or cocostuff, whose names and colors replace "
        "those in the model file.",
        effect="reload",
    )
    backend: str = _parameter(
        "auto",
        "Inference engine; auto = TensorRT, else PyTorch on CUDA, else the faster of OpenVINO and "
        "PyTorch on the CPU.",
        choices=("auto", *BACKENDS),
        effect="reload",
    )
    device: str = _parameter(
        "auto",
        "Device that runs the network; auto = the NVIDIA GPU if there is one, else the CPU.",
        form="auto, cpu, cuda or cuda:N (NVIDIA), gpu or gpu.N (Intel)",
        effect="reload",
    )
    precision: str = _parameter(
        "auto",
        "Arithmetic of the network; auto = the fastest that costs the model less than "
        f"{100 * MAX_DROP:g} points of mIoU.",
        choices=("auto", *PRECISIONS),
        effect="reload",
    )
    threads: int = _parameter(
        0,
        "CPU threads of the engine; 0 = one per core that the node's CPU affinity and quota allow.",
        minimum=0,
        maximum=1024,
        effect="reload",
    )
    engine_cache: str = _parameter(
        "",
        "Folder for compiled engines, in engines/; by default ~/.cache/bisenet_ros.",
        effect="reload",
    )
    resolution: str = _parameter(
        "",
        "Network input size [px]; by default the model's.",
        form=f"WxH, both multiples of {MULTIPLE} from {MIN_SIDE} to {MAX_SIDE}",
        parse=parse_resolution,
        effect="reload",
    )
    label_size: LabelSize = _parameter(  # noqa: RUF009  # it is a field
        "input",
        "Size of the published images: that of the input image or that of the network.",
        choices=get_args(LabelSize),
    )
    cameras: tuple[str, ...] = _parameter(
        ("",),
        "Names of the cameras that share the engine: each has the topics CAMERA/image, "
        "CAMERA/camera_info, ~/CAMERA/label and so on; one without a name has image, ~/label, ...",
        form=f"up to {MAX_CAMERAS} different names of letters, digits and _, or one empty name",
        parse=parse_cameras,
    )
    batch_cameras: bool = _parameter(
        False,
        "Label the newest images of all cameras in one run of the engine, which is built for their "
        "number; this may label more images per second on a GPU, but each waits for the whole run.",
    )
    fit: Fit = _parameter(  # noqa: RUF009  # it is a field
        "stretch",
        "How an image of another aspect than the network's is fitted to its input: letterbox = "
        "between bars of the model's mean color.",
        choices=get_args(Fit),
    )
    roi: tuple[int, ...] = _parameter(
        (0, 0, 0, 0),
        "Part of the image that the network sees: x, y, width, height [px]; outside, labels are "
        "255. Width and height 0 = the whole image.",
        form="four integers from 0",
        parse=parse_roi,
        per_camera=True,
    )
    ignore_mask: str = _parameter(
        "",
        "Path of an image of the camera's size in which pixels that are not black get the label "
        "255, such as those of the robot itself; PNG or another format without loss, opaque.",
        per_camera=True,
    )
    max_age: float = _parameter(
        0.0,
        "Age from which an image is dropped when it arrives [s], by the stamp in its header; 0 = "
        "never.",
        minimum=0.0,
        maximum=3600.0,
        effect="always",
    )
    lazy: bool = _parameter(
        True,
        "Leave the topic of a camera's images while none of its image outputs has a subscriber.",
        effect="always",
    )
    input_transport: str = _parameter(
        "raw",
        "Image transport; compressed = subscribe to the image topic's name + /compressed.",
        choices=("raw", "compressed"),
    )
    outputs: tuple[str, ...] = _parameter(
        ("label", "overlay", "color"),
        "Images to publish, each on ~/NAME; overlay and color also as JPEG, on ~/NAME/compressed.",
        choices=tuple(OUTPUTS),
    )
    max_rate: float = _parameter(
        0.0,
        "Maximum inference rate of each camera [Hz]; 0 = unlimited.",
        minimum=0.0,
        maximum=1000.0,
        smallest_nonzero=0.01,
        effect="always",
        per_camera=True,
    )
    max_image_pixels: int = _parameter(
        MAX_IMAGE_PIXELS,
        "Largest image that is decoded, width x height [px]; larger ones are rejected.",
        minimum=1024,
        maximum=1024**3,
        effect="always",
    )
    bit_depth: int = _parameter(
        FULL_DEPTH,
        "Bits of the values in 16-bit images (mono16, rgb16, Bayer 16); 10, 12 or 14 if the camera "
        "driver does not shift them up to fill 16.",
        minimum=MIN_DEPTH,
        maximum=FULL_DEPTH,
        effect="always",
    )
    overlay_alpha: float = _parameter(
        0.5,
        "Opacity of the class colors in the overlay.",
        minimum=0.0,
        maximum=1.0,
        effect="always",
    )
    confidence_threshold: float = _parameter(
        0.0,
        "Probability below which a pixel is labeled 255 (no class); 0 = never.",
        minimum=0.0,
        maximum=1.0,
        effect="with confidence",
    )
    image_reliability: str = _parameter(
        "best_effort",
        "Reliability of the image subscription; best_effort matches every publisher and has no old "
        "images resent.",
        name="image_qos.reliability",
        choices=tuple(RELIABILITY),
    )
    image_durability: str = _parameter(
        "volatile",
        "Durability of the image subscription; transient_local (latched images) needs reliable.",
        name="image_qos.durability",
        choices=tuple(DURABILITY),
    )
    image_depth: int = _parameter(
        1,
        "Queue depth of the image subscription [messages]; only the newest image is processed.",
        name="image_qos.depth",
        minimum=1,
        maximum=100,
    )
    output_reliability: str = _parameter(
        "reliable",
        "Reliability of the image publishers; reliable matches every subscriber.",
        name="output_qos.reliability",
        choices=tuple(RELIABILITY),
    )
    output_durability: str = _parameter(
        "volatile",
        "Durability of the image publishers; transient_local (latched images) needs reliable.",
        name="output_qos.durability",
        choices=tuple(DURABILITY),
    )
    output_depth: int = _parameter(
        2,
        "Queue depth of each image publisher [messages].",
        name="output_qos.depth",
        minimum=1,
        maximum=100,
    )
    bond_heartbeat_period: float = heartbeat_period_field()
    autostart: bool = _parameter(
        False, "Configure and activate at startup, without a lifecycle manager.", effect="start"
    )

    def conflicts(self) -> list[str]:
        """Return what is wrong with values that are each valid."""
        problems = [
            f"{end}.durability is transient_local and {end}.reliability best_effort: what was "
            f"published before is sent to reliable subscribers only, so set {end}.reliability to "
            "reliable"
            for end, reliability, durability in (
                ("image_qos", self.image_reliability, self.image_durability),
                ("output_qos", self.output_reliability, self.output_durability),
            )
            if (reliability, durability) == ("best_effort", "transient_local")
        ]
        if self.label_size == "network" and self.fit == "letterbox":
            problems.append(
                "label_size is network and fit letterbox: no label belongs to the bars, so set "
                "label_size to input, or fit to stretch"
            )
        return problems

    @property
    def with_confidence(self) -> bool:
        """True if the engine has to compute the confidence of each label."""
        return "confidence" in self.outputs or self.confidence_threshold > 0

    @property
    def engine_options(self) -> EngineOptions:
        """The engine that the parameters select."""
        return EngineOptions(
            backend=self.backend,
            device=self.device,
            precision=self.precision,
            resolution=parse_resolution(self.resolution) if self.resolution else None,
            threads=self.threads,
            engine_cache=expand_home(self.engine_cache) if self.engine_cache else None,
            confidence=self.with_confidence,
            batch_size=len(parse_cameras(self.cameras)) if self.batch_cameras else 1,
        )


PARAMETERS = ParameterSet(Parameters)

DEFINITIONS = PARAMETERS.definitions
"""Every parameter by its name in ROS, in the order of the parameter file."""


def is_fixed(name: str, with_confidence: bool) -> bool:
    """Return whether parameter ``name`` is read at configure alone."""
    definition = PARAMETERS.definition(name)
    effect = definition.effect if definition else "always"
    return effect == "configure" or (effect == "with confidence" and not with_confidence)
