"""Training settings: plain values read from YAML and stored in checkpoints and model files."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from math import inf
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from bisenet_ros.documents import parse_yaml, read_text
from bisenet_ros.errors import DocumentError, SettingsError, quoted
from bisenet_ros.images.bit_depth import FULL_DEPTH, MIN_DEPTH
from bisenet_ros.inference.resolution import MAX_SIDE
from bisenet_ros.network import PRESETS

Optimizer: TypeAlias = Literal["sgd", "adamw"]
Precision: TypeAlias = Literal["auto", "bf16", "fp16", "fp32"]

MAX_WHOLE = 2**63 - 1
"""Maximum of integer settings: PyTorch accepts no larger seed."""


@dataclass(frozen=True)
class Settings:
    """A training recipe.

    The defaults are the paper's for CamVid (section 5.1), with the network of the public code.
    Augmentations and losses that the paper does not have are off unless noted.

    Attributes:
        preset: Architecture of a new network.
        head_channels: C_t of the main head; 0 selects the preset's.
        bit_depth: Bits of the values in 16-bit images; 10, 12 or 14 if they are not shifted up to
            fill 16.
        resolution: (width, height) that the network is trained for and will run at.
        crop: (width, height) of the training samples, after scaling.
        scales: Factors of ``resolution``, one of which is drawn for each sample.
        flip: Whether to mirror half of the samples.
        color_jitter: Maximum relative change of brightness, contrast and saturation.
        channel_jitter: Maximum relative change of each color channel, like white balance.
        jpeg: Share of the samples to compress as JPEG with a quality of 50 to 100.
        augment: Import path ``package.module:function`` of a function of the user's, applied to
            each sample after the above; empty for none. See ``custom_augment.CustomAugment``.
        cutmix: Share of the samples that receive a rectangle of another (arXiv 1905.04899).
        copy_paste: Names of classes whose pixels are copied from another sample, each with
            probability 0.5 (based on arXiv 2012.07177).
        synthetic_images: Number of synthetic street frames added to each epoch.
        optimizer: "sgd" or "adamw".
        learning_rate: Initial learning rate.
        weight_decay: Weight decay of the convolution weights.
        poly_power: Exponent of the poly learning-rate schedule.
        warmup_iterations: Iterations of linear warm-up.
        class_weights: Whether to weight classes by 1 / ln(1.1 + share of the labeled pixels).
        ohem: Threshold of online hard example mining: only pixels whose true class has a lower
            probability contribute; 0 disables it. Not stated in the paper; 0.7 in the public code.
        dice: Weight of the main head's Dice loss, added to its cross entropy.
        booster_stride: Stride of the labels that the boosters are compared with. The paper has 1;
            4 shortens an iteration on a CPU by a quarter.
        freeze_batch_norm: Whether to keep the initial batch-norm statistics: the pretrained ones
            with ``--init``, the uninformative 0 and 1 in new layers.
        clip_grad_norm: Maximum norm of the gradient; 0 disables clipping.
        ema: Decay of the weights' moving average, which becomes the result; limited to
            (1 + n) / (10 + n) after n iterations. 0 disables it.
        batch_size: Images per iteration, over all processes.
        grad_accum_steps: Number of micro-batches per process and iteration, to save memory.
        iterations: Length of the run.
        precision: Precision of the activations. "auto" selects bf16 if the device computes it
            natively, else fp16 on CUDA and fp32 on the CPU.
        seed: Seed of initialization, sampling and augmentation.
        workers: Number of processes that prepare samples.
        checkpoint_every: Iterations between checkpoints.
        keep_best: Whether to keep the model with the best validation score, too; it flatters.
    """

    preset: str = "bisenetv2"
    head_channels: int = 0
    bit_depth: int = FULL_DEPTH
    resolution: tuple[int, int] = (960, 720)
    crop: tuple[int, int] = (960, 720)
    scales: tuple[float, ...] = (0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
    flip: bool = True
    color_jitter: float = 0.0
    channel_jitter: float = 0.0
    jpeg: float = 0.0
    augment: str = ""
    cutmix: float = 0.0
    copy_paste: tuple[str, ...] = ()
    synthetic_images: int = 0
    optimizer: Optimizer = "sgd"
    learning_rate: float = 0.05
    weight_decay: float = 5e-4
    poly_power: float = 0.9
    warmup_iterations: int = 0
    class_weights: bool = False
    ohem: float = 0.7
    dice: float = 0.0
    booster_stride: int = 1
    freeze_batch_norm: bool = False
    clip_grad_norm: float = 0.0
    ema: float = 0.0
    batch_size: int = 16
    grad_accum_steps: int = 1
    iterations: int = 10_000
    precision: Precision = "auto"
    seed: int = 0
    workers: int = 2
    checkpoint_every: int = 200
    keep_best: bool = False

    def __post_init__(self) -> None:
        def require(name: str, holds: bool, rule: str) -> None:
            if not holds:
                raise SettingsError(f"setting '{name}' is {quoted(getattr(self, name))}; {rule}")

        for name, valid in (
            ("preset", tuple(PRESETS)),
            ("optimizer", get_args(Optimizer)),
            ("precision", get_args(Precision)),
        ):
            require(name, getattr(self, name) in valid, f"must be one of {', '.join(valid)}")
        rule = "must be in 1..4096, or 0 for the preset's"
        require("head_channels", 0 <= self.head_channels <= 4096, rule)
        if not self.head_channels:
            object.__setattr__(self, "head_channels", PRESETS[self.preset].head_channels)
        rule = f"must be in {MIN_DEPTH}..{FULL_DEPTH}"
        require("bit_depth", MIN_DEPTH <= self.bit_depth <= FULL_DEPTH, rule)
        for name in ("resolution", "crop"):
            size = getattr(self, name)
            usable = len(size) == 2 and all(0 < s <= MAX_SIDE and s % 8 == 0 for s in size)
            rule = f"must be [width, height], both divisible by 8 and at most {MAX_SIDE}"
            require(name, usable, rule)
        require("resolution", min(self.resolution) >= 32, "must be at least 32x32")
        # A crop beyond the scaled image is padded in gray.
        largest = max(1.0, min(self.scales, default=1.0))
        fits = all(c <= largest * r for c, r in zip(self.crop, self.resolution, strict=True))
        rule = f"must be at most resolution, {self.resolution}: samples would be padded in gray"
        require("crop", fits, rule)
        for name in ("iterations", "checkpoint_every", "grad_accum_steps"):
            require(name, getattr(self, name) >= 1, "must be at least 1")
        require("batch_size", self.batch_size >= 2, "batch norm needs at least 2")
        parts = (
            self.batch_size % self.grad_accum_steps == 0
            and self.batch_size >= 2 * self.grad_accum_steps
        )
        require(
            "grad_accum_steps",
            parts,
            f"batch_size {self.batch_size} must be a multiple of it, at least twice it",
        )
        for field in fields(self):
            if type(field.default) is int:
                small = getattr(self, field.name) <= MAX_WHOLE
                require(field.name, small, f"must be at most {MAX_WHOLE}")
        # The finest booster computes at 1/4 of the resolution.
        require("booster_stride", self.booster_stride in (1, 2, 4), "must be 1, 2 or 4")
        for name in ("synthetic_images", "warmup_iterations", "workers", "seed"):
            require(name, getattr(self, name) >= 0, "must not be negative")
        rule = f"must be less than iterations, {self.iterations}"
        require("warmup_iterations", self.warmup_iterations < self.iterations, rule)
        for name in ("color_jitter", "channel_jitter", "ohem", "ema"):
            require(name, 0 <= getattr(self, name) < 1, "must be in [0, 1)")
        for name in ("weight_decay", "poly_power", "clip_grad_norm", "dice"):
            require(name, 0 <= getattr(self, name) < inf, "must not be negative")
        for name in ("jpeg", "cutmix"):
            require(name, 0 <= getattr(self, name) <= 1, "must be in [0, 1]")
        require("learning_rate", 0 < self.learning_rate < inf, "must be positive")
        positive = bool(self.scales) and all(0 < scale < inf for scale in self.scales)
        require("scales", positive, "must be a list of positive factors")


def read_settings(path: str | Path | None, overrides: Sequence[str] = ()) -> Settings:
    """Return settings from a YAML file of ``name: value`` lines and ``name=value`` overrides.

    Raises:
        SettingsError: The file is unreadable, a name is unknown, or a value is invalid.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = parse_yaml(read_text(path)) or {}
        except DocumentError as error:
            raise SettingsError(f"cannot use settings {path}: {error}") from error
        if not isinstance(values, dict):
            raise SettingsError(f"settings {path} must be lines of 'name: value'")
    for override in overrides:
        name, equals, value = override.partition("=")
        if not equals:
            raise SettingsError(f"{quoted(override)} is not of the form name=value")
        try:
            read = parse_yaml(value)
        except DocumentError as error:
            raise SettingsError(
                f"{quoted(override)}: {quoted(value)} is not a valid YAML value: {error}"
            ) from error
        # Replace the file's value under its old or new name.
        now = RENAMED.get(name, name)
        values = {key: old for key, old in values.items() if RENAMED.get(key, key) != now}
        values[name] = read
    return make_settings(values)


RENAMED = {
    "accumulate": "grad_accum_steps",
    "brightness": "color_jitter",
    "clip_norm": "clip_grad_norm",
    "paste": "copy_paste",
    "tint": "channel_jitter",
}
"""Old names of settings (version 0.1), which are still read."""


def make_settings(values: Mapping[str, Any]) -> Settings:
    """Return settings from plain values, checked against the type of each field.

    Raises:
        SettingsError: A name is unknown or given twice, or a value is invalid.
    """
    defaults = {field.name: field.default for field in fields(Settings)}
    checked: dict[str, Any] = {}
    for given, value in values.items():
        name = RENAMED.get(given, given)
        if name in checked:
            raise SettingsError(f"setting '{name}' is given twice, also as '{given}'; remove one")
        if name not in defaults:
            raise SettingsError(
                f"unknown setting {quoted(name)}; must be one of {', '.join(defaults)}"
            )
        try:
            checked[name] = _like(defaults[name], value)
        except ValueError as error:
            raise SettingsError(
                f"setting {quoted(name)} is {quoted(value)}; must be {error}"
            ) from None
    return Settings(**checked)


def _like(default: Any, value: Any) -> Any:
    """Return ``value`` in the type of ``default``, or raise ValueError naming that type."""
    if isinstance(default, tuple):
        if not isinstance(value, list | tuple):
            raise ValueError("a list")
        try:
            # The only list that is empty by default contains names.
            return tuple(_like(default[0] if default else "", item) for item in value)
        except ValueError as error:
            raise ValueError(f"a list, each item {error}") from None
    if type(default) is float:
        # YAML reads 1e-3, without a decimal point, as a string.
        with suppress(ValueError, OverflowError):
            if isinstance(value, int | float | str) and not isinstance(value, bool):
                return float(value)
        raise ValueError("a number")
    if type(value) is not type(default):
        raise ValueError(
            {bool: "true or false", int: "a whole number", str: "a word"}[type(default)]
        )
    return value
