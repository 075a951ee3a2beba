"""Settings: validation errors with name, value and remedy; YAML files, overrides, old names."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bisenet_ros.errors import SettingsError
from bisenet_ros.network import PRESETS
from bisenet_ros.resources import share_directory
from bisenet_ros.training.initialization import new_start
from bisenet_ros.training.settings import Settings, make_settings, read_settings


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("preset", "bisenet", "one of bisenetv2, bisenetv2_paper"),
        ("optimizer", "adam", "one of sgd, adamw"),
        ("precision", "fp8", "one of auto, bf16, fp16, fp32"),
        ("resolution", [100, 64], "divisible by 8"),
        ("resolution", [64], "divisible by 8"),
        ("resolution", ["a", "b"], "a list, each item a whole number"),
        ("resolution", [64.0, 64], "a list, each item a whole number"),
        ("crop", [0, 64], "divisible by 8"),
        ("crop", "64x64", "a list"),
        ("crop", [960, 728], r"at most resolution, \(960, 720\)"),
        ("scales", [], "positive factors"),
        ("scales", [1.0, -1.0], "positive factors"),
        ("scales", [1.0, "x"], "each item a number"),
        ("flip", 1, "true or false"),
        ("color_jitter", 1.0, r"in \[0, 1\)"),
        ("color_jitter", -0.1, r"in \[0, 1\)"),
        ("channel_jitter", 1.0, r"in \[0, 1\)"),
        ("jpeg", -0.5, r"in \[0, 1\]"),
        ("cutmix", 1.5, r"in \[0, 1\]"),
        ("copy_paste", "pole", "a list"),
        ("copy_paste", ["pole", 1], "a list, each item a word"),
        ("synthetic_images", -1, "must not be negative"),
        ("learning_rate", 0, "positive"),
        ("learning_rate", float("nan"), "positive"),
        ("learning_rate", float("inf"), "positive"),
        ("learning_rate", "fast", "a number"),
        ("learning_rate", True, "a number"),
        ("weight_decay", -1e-4, "must not be negative"),
        ("poly_power", -1, "must not be negative"),
        ("warmup_iterations", -1, "must not be negative"),
        ("warmup_iterations", 10_000, "must be less than iterations, 10000"),
        ("resolution", [24, 64], "at least 32x32"),
        ("grad_accum_steps", 5, "batch_size 16 must be"),
        ("grad_accum_steps", 16, "batch_size 16 must be"),
        ("head_channels", -1, r"in 1\.\.4096, or 0 for the preset's"),
        ("head_channels", 4097, r"in 1\.\.4096, or 0"),
        ("ohem", 1.0, r"in \[0, 1\)"),
        ("ema", 1.0, r"in \[0, 1\)"),
        ("dice", -1.0, "must not be negative"),
        ("clip_grad_norm", -1.0, "must not be negative"),
        ("booster_stride", 8, "1, 2 or 4"),
        ("grad_accum_steps", 0, "at least 1"),
        ("batch_size", 1, "at least 2"),
        ("batch_size", 8.0, "a whole number"),
        ("batch_size", True, "a whole number"),
        ("iterations", 0, "at least 1"),
        ("checkpoint_every", 0, "at least 1"),
        ("seed", -1, "must not be negative"),
        ("workers", -1, "must not be negative"),
        ("workers", "2", "a whole number"),
    ],
)
def test_invalid_values_are_rejected(name: str, value: Any, text: str) -> None:
    with pytest.raises(SettingsError, match=rf"setting '{name}' is .*{text}"):
        make_settings({name: value})


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], 1024),
        (["preset=bisenetv2_paper"], 256),
        (["preset=bisenetv2_paper", "head_channels=0"], 256),
        (["preset=bisenetv2_paper", "head_channels=1024"], 1024),
        (["preset=bisenetv2_large"], 512),
        (["head_channels=64"], 64),
    ],
)
def test_head_channels_default_to_the_preset(overrides: list[str], expected: int) -> None:
    settings = read_settings(None, overrides)
    assert settings.head_channels == expected
    assert make_settings(asdict(settings)) == settings
    architecture = new_start(settings, 19).network.architecture
    assert architecture == replace(PRESETS[settings.preset], head_channels=expected)


def test_unknown_setting_error_lists_the_known_ones() -> None:
    with pytest.raises(
        SettingsError, match=r"unknown setting 'lr'; must be one of .*learning_rate"
    ):
        make_settings({"lr": 0.1})


@pytest.mark.parametrize(
    ("old", "name", "value"),
    [
        ("accumulate", "grad_accum_steps", 2),
        ("brightness", "color_jitter", 0.5),
        ("clip_norm", "clip_grad_norm", 1.5),
        ("paste", "copy_paste", ("pole",)),
        ("tint", "channel_jitter", 0.25),
    ],
)
def test_old_setting_names_are_read(tmp_path: Path, old: str, name: str, value: Any) -> None:
    given = list(value) if isinstance(value, tuple) else value
    assert getattr(make_settings({old: given}), name) == value
    path = tmp_path / "recipe.yaml"
    path.write_text(f"{old}: {given}\n")
    assert getattr(read_settings(path), name) == value
    default = getattr(Settings(), name)
    override = f"{name}={list(default) if isinstance(default, tuple) else default}"
    assert getattr(read_settings(path, [override]), name) == default
    with pytest.raises(SettingsError, match=f"'{name}' is given twice, also as '{old}'"):
        make_settings({name: given, old: given})


def test_yaml_file_and_overrides(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("crop: [64, 32]\nlearning_rate: 1\nweight_decay: 1e-3\nscales: [1, 2]\n")
    settings = read_settings(path, ["learning_rate=5e-4", "flip=false", "crop=[128, 64]"])
    assert settings.crop == (128, 64)
    assert settings.learning_rate == 5e-4  # YAML reads it as a string, without a decimal point
    assert settings.weight_decay == 1e-3
    assert settings.scales == (1.0, 2.0)
    assert settings.flip is False
    assert settings.batch_size == Settings().batch_size
    assert isinstance(read_settings(path).learning_rate, float)


def test_settings_round_trip_through_plain_values() -> None:
    settings = Settings(crop=(64, 32), scales=(1.0,))
    assert make_settings(asdict(settings)) == settings


@pytest.mark.parametrize(
    ("override", "text"),
    [("flip", "'flip' is not of the form name=value"), ("crop=[1", "is not a valid YAML value: ")],
)
def test_malformed_overrides(override: str, text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        read_settings(None, [override])


@pytest.mark.parametrize("content", [b"a: [1", b"\xff\xfe\xfa", b"- 1\n- 2\n"])
def test_unreadable_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"bad.yaml") as raised:
        read_settings(path)
    assert "\n" not in str(raised.value)
    with pytest.raises(SettingsError, match=r"missing.yaml"):
        read_settings(tmp_path / "missing.yaml")


def test_empty_file_gives_the_default_settings(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_settings(tmp_path / "empty.yaml") == Settings()


RECIPES = sorted((share_directory() / "config" / "training").glob("*.yaml"))
RECORDS = sorted((share_directory() / "models" / "recipe").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES + RECORDS, ids=lambda path: path.stem)
def test_only_recipes_of_published_results_fix_the_precision(path: Path) -> None:
    """Published results are reproducible; users' recipes adapt to their hardware."""
    is_record = path in RECORDS or path.stem == "ablation"
    assert read_settings(path).precision == ("bf16" if is_record else "auto")


def test_shipped_recipes_are_found() -> None:
    assert {"camvid", "custom", "finetune"} <= {path.stem for path in RECIPES}
    assert len(RECORDS) == 6


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("scales=" + "[" * 10**4, "nested deeper than 20 levels"),
        ("scales=[&a 1, *a]", "line 1 has an alias"),
        ("learning_rate=1" + "0" * 400, "line 1 has a number of 401 characters"),
        ("seed=0x" + "f" * 20, "at most 9223372036854775807"),
        ("resolution=[8200, 8]", "'resolution' is \\(8200, 8\\); must be .* at most 8192"),
    ],
    ids=range(5),
)
def test_unbounded_values_are_rejected(override: str, text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        read_settings(None, [override])


def test_large_and_irregular_files_are_rejected(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "large.yaml").write_text("# nothing\n" * 20_000)
    for name, reason in (("fifo", "is not a regular file"), ("large", "is larger than 128 KiB")):
        with pytest.raises(SettingsError, match=rf"cannot use settings .*{name}\.yaml {reason}"):
            read_settings(tmp_path / f"{name}.yaml")
