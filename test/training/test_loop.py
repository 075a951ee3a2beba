"""Training loop: learning, checkpoints, exact resume, and errors."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from bisenet_ros.datasets import open_dataset
from bisenet_ros.errors import CheckpointError, DatasetError, DeviceError, TrainingError
from bisenet_ros.inference.cpu import has_native_bf16
from bisenet_ros.network import BiSeNetV2
from bisenet_ros.training.checkpoint import read_checkpoint, resume_from
from bisenet_ros.training.distributed import ALONE, DistributedContext, init_distributed
from bisenet_ros.training.initialization import new_start
from bisenet_ros.training.loop import Progress, train
from bisenet_ros.training.settings import Precision, Settings
from bisenet_ros.training.trainer import learning_rate

SETTINGS = Settings(
    head_channels=16,
    resolution=(64, 64),
    crop=(64, 64),
    scales=(1.0, 1.25),
    color_jitter=0.1,
    optimizer="adamw",
    learning_rate=2e-3,
    warmup_iterations=1,
    class_weights=True,
    ohem=0.0,
    batch_size=2,
    iterations=4,
    precision="fp32",
    workers=0,
    checkpoint_every=100,
)


def silent(progress: Progress, network: BiSeNetV2) -> None:
    pass


def state(network: BiSeNetV2) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different


@pytest.mark.parametrize(
    "variant",
    [
        {"optimizer": "adamw"},
        {"optimizer": "sgd", "workers": 1},
        {"precision": "bf16", "ema": 0.5},
        {"precision": "fp16", "batch_size": 4, "grad_accum_steps": 2, "clip_grad_norm": 1.0},
    ],
)
def test_resumed_run_equals_an_uninterrupted_one(
    street_like: Path, tmp_path: Path, variant: dict[str, Any]
) -> None:
    folder = open_dataset(street_like)
    settings = replace(SETTINGS, synthetic_images=1, **variant)
    path = tmp_path / "checkpoint.pt"
    reported: list[Progress] = []
    outcome = train(folder, settings, path, lambda p, _: reported.append(p))
    unbroken = state(outcome.network)
    assert (outcome.iteration, outcome.stopped) == (4, False)
    path.unlink()

    stopped = train(folder, settings, path, silent, stop=iter([False, True]).__next__)
    assert (stopped.iteration, stopped.stopped) == (2, True)
    torch.rand(7)  # advance the global generator: resuming must not depend on it
    resume = read_checkpoint(path)
    assert resume.iteration == 2
    again: list[Progress] = []
    resumed = train(folder, settings, path, lambda p, _: again.append(p), resume=resume)
    assert (resumed.iteration, resumed.stopped) == (4, False)
    assert_equal(state(resumed.network), unbroken)
    assert [(p.iteration, p.loss) for p in again] == [(p.iteration, p.loss) for p in reported[2:]]
    assert read_checkpoint(path).iteration == 4


@pytest.mark.parametrize(("first", "then"), [("bf16", "fp32"), ("fp16", "fp32"), ("fp32", "fp16")])
def test_run_resumed_in_another_precision_stays_close_to_an_uninterrupted_one(
    two_tone: Path, tmp_path: Path, first: Precision, then: Precision
) -> None:
    """Only an fp16 run stores the state of the loss scaler."""
    folder, path = open_dataset(two_tone), tmp_path / "checkpoint.pt"
    gentle = replace(SETTINGS, learning_rate=1e-4)  # so that rounding stays small
    settings = replace(gentle, precision=first)
    unbroken: list[Progress] = []
    train(folder, settings, path, lambda p, _: unbroken.append(p))
    path.unlink()
    assert train(folder, settings, path, silent, stop=iter([False, True]).__next__).stopped

    settings = replace(gentle, precision=then)
    fingerprint = new_start(settings, 2).fingerprint(folder, ALONE)
    resume = resume_from(path, settings, fingerprint, ALONE)
    rest: list[Progress] = []
    train(folder, settings, path, lambda p, _: rest.append(p), resume=resume)
    assert [p.iteration for p in rest] == [3, 4]
    losses, expected = ([p.loss for p in run] for run in (rest, unbroken[2:]))
    assert losses == pytest.approx(expected, rel=0.1)
    assert losses != expected  # computed in another precision
    written = read_checkpoint(path)
    assert written.settings.precision == then
    assert bool(written.scaler) == (then == "fp16")
    assert written.changes == (f"after iteration 2: precision {then} instead of {first}",)
    assert written.threads == 1


def test_auto_precision_is_native_logged_and_stored(
    two_tone: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = replace(
        SETTINGS, precision="auto", iterations=1, warmup_iterations=0, class_weights=False
    )
    train(open_dataset(two_tone), settings, tmp_path / "c.pt", silent)
    native = "bf16" if has_native_bf16() else "fp32"
    assert caplog.messages == [f"training on cpu in {native}, 1 thread"]
    assert read_checkpoint(tmp_path / "c.pt").settings.precision == native


def test_report_receives_iteration_learning_rate_and_times(two_tone: Path, tmp_path: Path) -> None:
    reported: list[Progress] = []
    train(open_dataset(two_tone), SETTINGS, tmp_path / "c.pt", lambda p, _: reported.append(p))
    assert [p.iteration for p in reported] == [1, 2, 3, 4]
    assert [p.learning_rate for p in reported] == [learning_rate(i, SETTINGS) for i in range(4)]
    assert all(0 <= p.waited <= p.seconds for p in reported)


def test_loss_decreases(two_tone: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, iterations=14, scales=(1.0,), batch_size=4, color_jitter=0.0)
    losses: list[float] = []
    outcome = train(
        open_dataset(two_tone), settings, tmp_path / "c.pt", lambda p, _: losses.append(p.loss)
    )
    assert outcome.network.training
    assert losses[-1] < 0.4 * losses[0]


def test_moving_average_of_the_weights_has_a_growing_decay(two_tone: Path, tmp_path: Path) -> None:
    path, name = tmp_path / "c.pt", "head.2.weight"
    steps: list[torch.Tensor] = []

    def look(progress: Progress, network: BiSeNetV2) -> None:
        steps.append(read_checkpoint(path).network[name])

    settings = replace(SETTINGS, ema=0.2, checkpoint_every=1)
    result = state(train(open_dataset(two_tone), settings, path, look).network)[name]
    average = steps[0]
    for decay, step in zip((2 / 11, 0.2, 0.2), steps[1:], strict=True):
        average = decay * average + (1 - decay) * step
    torch.testing.assert_close(result, average)
    assert not torch.equal(result, steps[-1])


def test_frozen_batch_norm_keeps_its_statistics(two_tone: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, freeze_batch_norm=True)
    network = train(open_dataset(two_tone), settings, tmp_path / "c.pt", silent).network
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            assert not buffer.any(), name


def test_stop_after_the_last_iteration_has_no_effect(two_tone: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    answers = iter([False, False, False, True])
    outcome = train(open_dataset(two_tone), SETTINGS, path, silent, stop=lambda: next(answers))
    assert (outcome.iteration, outcome.stopped) == (4, False)
    assert read_checkpoint(path).iteration == 4


def test_exception_between_iterations_writes_a_checkpoint(two_tone: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"

    def fail(progress: Progress, network: BiSeNetV2) -> None:
        if progress.iteration == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(open_dataset(two_tone), SETTINGS, path, fail)
    assert read_checkpoint(path).iteration == 3


def test_checkpoints_are_written_at_intervals_before_the_report(
    two_tone: Path, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.pt"
    seen: list[int | None] = []

    def look(progress: Progress, network: BiSeNetV2) -> None:
        seen.append(read_checkpoint(path).iteration if path.exists() else None)

    train(open_dataset(two_tone), replace(SETTINGS, checkpoint_every=2), path, look)
    assert seen == [None, 2, 2, 4]
    assert read_checkpoint(path).iteration == 4


def test_resuming_a_finished_run_trains_no_iteration(two_tone: Path, tmp_path: Path) -> None:
    path, folder = tmp_path / "c.pt", open_dataset(two_tone)
    finished = state(train(folder, SETTINGS, path, silent).network)
    reported: list[Progress] = []
    before = read_checkpoint(path)
    again = train(folder, SETTINGS, path, lambda p, _: reported.append(p), resume=before)
    assert (again.iteration, again.stopped) == (4, False)
    assert_equal(state(again.network), finished)
    assert not reported


@pytest.mark.parametrize(("completed", "total"), [(2, 3), (2, 9), (4, 6)])
def test_run_resumed_with_other_iterations_is_on_their_schedule(
    two_tone: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    completed: int,
    total: int,
) -> None:
    """4 are planned: 3 shorten an unfinished run, 9 extend it, 6 extend a finished one."""
    caplog.set_level(logging.INFO)
    path, folder = tmp_path / "c.pt", open_dataset(two_tone)
    stop = iter([False, True, False, False]).__next__ if completed == 2 else lambda: False
    assert train(folder, SETTINGS, path, silent, stop=stop).iteration == completed
    settings = replace(SETTINGS, iterations=total)
    fingerprint = new_start(settings, 2).fingerprint(folder, ALONE)
    caplog.clear()
    reported: list[Progress] = []
    train(
        folder,
        settings,
        path,
        lambda p, _: reported.append(p),
        resume=resume_from(path, settings, fingerprint, ALONE),
    )
    assert [p.iteration for p in reported] == list(range(completed + 1, total + 1))
    # Poly, after a warm-up of one iteration: 2e-3 * (1 - i / total) ** 0.9.
    expected = [2e-3 * (1 - i / total) ** 0.9 for i in range(completed, total)]
    assert [p.learning_rate for p in reported] == pytest.approx(expected, rel=1e-12)
    written = read_checkpoint(path)
    assert (written.iteration, written.settings.iterations) == (total, total)
    assert written.changes == (f"after iteration {completed}: iterations {total} instead of 4",)
    before = 2e-3 * (1 - completed / 4) ** 0.9
    assert caplog.messages == [
        f"resumed with iterations {total} instead of 4",
        "training on cpu in fp32, 1 thread",
        "reading all labels to compute class_weights",
        f"the learning rate of iteration {completed + 1} is {expected[0]:.3g} instead of "
        f"{before:.3g}, on a schedule that decays to 0 at {total} instead of 4",
    ]


def test_an_extended_run_resumes_like_an_uninterrupted_one(two_tone: Path, tmp_path: Path) -> None:
    folder, path, copy = open_dataset(two_tone), tmp_path / "c.pt", tmp_path / "copy.pt"
    train(folder, SETTINGS, path, silent)
    copy.write_bytes(path.read_bytes())
    longer = replace(SETTINGS, iterations=6)
    unbroken = train(folder, longer, copy, silent, resume=read_checkpoint(copy))
    stopped = train(folder, longer, path, silent, resume=read_checkpoint(path), stop=lambda: True)
    assert (stopped.iteration, stopped.stopped) == (5, True)
    again = train(folder, longer, path, silent, resume=read_checkpoint(path))
    assert (again.iteration, again.stopped) == (6, False)
    assert_equal(state(again.network), state(unbroken.network))


def test_checkpoint_of_other_classes_and_processes_is_rejected(
    two_tone: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.pt"
    settings = replace(SETTINGS, iterations=1, warmup_iterations=0)
    train(open_dataset(two_tone), settings, path, silent)
    same = new_start(settings, 2).fingerprint(open_dataset(two_tone), ALONE)
    assert resume_from(path, settings, same, ALONE).iteration == 1
    with (two_tone / "classes.txt").open("a") as file:
        file.write("2 third 0 0 0\n")
    other = new_start(settings, 3).fingerprint(open_dataset(two_tone), DistributedContext(size=2))
    differences = (
        "different architecture; different list of classes; number of processes was 1, now 2"
    )
    with pytest.raises(CheckpointError, match=differences):
        resume_from(path, settings, other, ALONE)


def test_diverged_run_raises_and_keeps_the_checkpoint(two_tone: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    settings = replace(SETTINGS, optimizer="sgd", checkpoint_every=1)

    def break_weights(progress: Progress, network: BiSeNetV2) -> None:
        if progress.iteration == 2:
            with torch.no_grad():
                network.head[-1].weight.fill_(float("inf"))

    def stop_at_one(progress: Progress, network: BiSeNetV2) -> None:
        if progress.iteration == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(open_dataset(two_tone), settings, path, stop_at_one)
    good = path.read_bytes()
    settings = replace(settings, checkpoint_every=100)
    with pytest.raises(TrainingError, match=r"loss is (nan|inf) at iteration 3: lower the"):
        train(open_dataset(two_tone), settings, path, break_weights, resume=read_checkpoint(path))
    assert path.read_bytes() == good


def test_checkpoint_is_not_overwritten_with_nan_weights(two_tone: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"

    def spoil(progress: Progress, network: BiSeNetV2) -> None:
        if progress.iteration == 2:  # the next loss is finite, but its gradient is NaN
            network.head[2].bias.register_hook(lambda gradient: gradient * torch.nan)

    settings = replace(SETTINGS, checkpoint_every=1)
    with pytest.raises(TrainingError, match="weights are not finite at iteration 3: lower"):
        train(open_dataset(two_tone), settings, path, spoil)
    assert read_checkpoint(path).iteration == 2


@pytest.mark.parametrize("class_weights", [True, False])
def test_dataset_without_labeled_pixels_is_rejected(
    two_tone: Path, tmp_path: Path, class_weights: bool
) -> None:
    for path in (two_tone / "labels").iterdir():
        assert cv2.imwrite(str(path), np.full((64, 64), 255, np.uint8))
    settings = replace(SETTINGS, class_weights=class_weights)
    with pytest.raises(TrainingError, match=r"no pixel of .* is labeled with a class"):
        train(open_dataset(two_tone), settings, tmp_path / "c.pt", silent)


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_image_stops_the_run_and_is_named(
    two_tone: Path, tmp_path: Path, workers: int
) -> None:
    folder = open_dataset(two_tone)
    (two_tone / "images" / "003.png").write_bytes(b"no image")
    settings = replace(SETTINGS, class_weights=False, workers=workers)
    with pytest.raises(DatasetError, match=r"003\.png is not an image") as raised:
        train(folder, settings, tmp_path / "c.pt", silent)
    assert "\n" not in str(raised.value)  # without the worker's traceback
    path = two_tone / "labels" / "003.png"
    assert cv2.imwrite(str(path), np.full((64, 64), 7, np.uint8))
    with pytest.raises(DatasetError) as raised:
        train(folder, settings, tmp_path / "d.pt", silent)
    assert str(raised.value) == (
        f"{path} has label 7 (4096 pixels); labels are 0 to 1 and 255 for no class"
    )


def test_unavailable_device_is_rejected() -> None:
    for device in ("cuda:99", "gpu"):
        with (
            pytest.raises(DeviceError, match=f"cannot use device '{device}' .*use cpu"),
            init_distributed(device),
        ):
            pass
