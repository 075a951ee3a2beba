"""``bisenet train``: output files, stop and resume, and errors."""

import csv
import logging
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
import torch
from refusal import refusal

from bisenet_ros.cli.main import main
from bisenet_ros.evaluation.metrics import Scores, evaluate
from bisenet_ros.inference import torch_backend
from bisenet_ros.model import file as model_file
from bisenet_ros.model.metadata import Score
from bisenet_ros.resources import settings_path
from bisenet_ros.training.checkpoint import read_checkpoint
from bisenet_ros.training.settings import Settings, read_settings
from bisenet_ros.training.trainer import Trainer

ENDLESS = "10000"
"""More iterations than a run completes before it receives a signal."""

SETTINGS = {
    "head_channels": "16",
    "resolution": "[64, 64]",
    "crop": "[64, 64]",
    "scales": "[1.0]",
    "learning_rate": "1e-3",
    "optimizer": "adamw",
    "batch_size": "2",
    "precision": "fp32",
    "workers": "1",
    "iterations": "3",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a dataset of 4 + 2 images, dark where their label is 0 and bright where it is 1."""
    root = tmp_path_factory.mktemp("data") / "two_tone"
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("images", "labels"):
            (root / split / name).mkdir(parents=True)
    (root / "classes.txt").write_text("0 dark 10 20 30\n1 bright 200 210 220\n")
    for number in range(6):
        folder = root / ("train" if number < 4 else "val")
        labels = rng.integers(0, 2, (4, 4), np.uint8).repeat(16, axis=0).repeat(16, axis=1)
        image = 40 + 150 * labels[..., None] + rng.integers(0, 40, (64, 64, 3), np.uint8)
        assert cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
        assert cv2.imwrite(str(folder / "labels" / f"{number}.png"), labels)
    return root


START = "import sys; from bisenet_ros.cli.main import main; sys.exit(main())"


def command(data: Path, output: Path, *more: str, **settings: str) -> list[str]:
    line = [sys.executable, "-c", START, "train", "--data", str(data), "--output", str(output)]
    line += ["--threads", "1"]
    for name, value in {**SETTINGS, **settings}.items():
        line += ["--set", f"{name}={value}"]
    return [*line, *more]


def environment() -> dict[str, str]:
    root = str(Path(model_file.__file__).parents[1])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def log_of(output: Path) -> list[list[str]]:
    with (output / "log.csv").open(newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def trained(data: Path, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run") / "trained"
    line = command(data, output, "--license", "for tests", "--dataset-name", "two tones")
    line += ["--val-data", str(data), "--tensorboard"]
    assert main(line[3:]) == 0
    return output


def test_model_file_has_metadata_and_recipe(trained: Path) -> None:
    model = model_file.load(trained / "model.safetensors")
    metadata = model.metadata
    assert [(c.name, c.color) for c in metadata.classes] == [
        ("dark", (10, 20, 30)),
        ("bright", (200, 210, 220)),
    ]
    assert metadata.resolution == (64, 64)
    assert metadata.architecture.head_channels == 16
    assert (metadata.dataset, metadata.license) == ("two tones", "for tests")
    assert metadata.recipe["learning_rate"] == 1e-3
    assert metadata.recipe["iterations"] == 3
    assert metadata.mean == (0.485, 0.456, 0.406)
    with torch.inference_mode():
        assert model.network(torch.zeros(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def test_init_loads_matching_layers_and_logs_the_others(
    data: Path,
    tiny_model: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    licensed = Path(shutil.copy(tiny_model, tmp_path / "tiny.safetensors"))
    tiny = model_file.load(licensed)
    model_file.update_metadata(licensed, tiny, lambda now: replace(now, license="research only"))
    changes = {"iterations": "1", "learning_rate": "1e-9", "head_channels": "24"}
    line = command(data, tmp_path, "--init", str(licensed), **changes)
    assert main(line[3:]) == 0
    none = "no class has the name of one of tiny: the last layer is initialized, not loaded"
    assert none in caplog.messages
    before, after = model_file.load(tiny_model), model_file.load(tmp_path / "model.safetensors")
    assert after.metadata.architecture == replace(before.metadata.architecture, num_classes=2)
    assert after.metadata.recipe["head_channels"] == before.metadata.architecture.head_channels
    origin = {"model": "tiny", "dataset": before.metadata.dataset, "license": "research only"}
    assert after.metadata.recipe["init"] == {**before.metadata.recipe, **origin}
    assert after.metadata.license == "research only"
    assert f"keeping the license of {licensed}: research only" in capsys.readouterr().out
    # A new head starts with small weights, so that its gradients do not destroy pretrained ones.
    assert float(after.network.head[2].weight.detach().std()) == pytest.approx(0.01, rel=0.3)
    assert float(before.network.head[2].weight.detach().std()) > 0.1
    # The normalization of the pretrained weights, not that of a new network.
    assert after.metadata.mean == before.metadata.mean == (0.4, 0.45, 0.5)
    for name, parameter in before.network.named_parameters():
        if not name.startswith("head.2"):
            assert torch.allclose(after.network.get_parameter(name), parameter, atol=1e-6), name


def test_resume_in_another_precision_is_logged_and_recorded(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Start in bf16 and resume on a machine where auto is fp32."""
    caplog.set_level(logging.INFO)
    file = tmp_path / "model.safetensors"

    def interrupted(self: Trainer, parts: Any) -> float:
        os.kill(os.getpid(), signal.SIGINT)
        return step(self, parts)

    step = Trainer.step
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        line = command(data, tmp_path, workers="0", precision="bf16", checkpoint_every="1")[3:]
        assert main(line) == 130
    recipe = model_file.load(file).metadata.recipe
    assert recipe["precision"] == "bf16"
    assert "resumed" not in recipe

    monkeypatch.setattr(torch_backend, "has_native_bf16", lambda: False)
    caplog.clear()
    line = command(data, tmp_path, workers="0", precision="auto", checkpoint_every="1")[3:]
    assert main([*line, "--resume", "--threads", "2"]) == 0
    resumed = "precision fp32 instead of bf16, threads 2 instead of 1"
    assert caplog.messages[:3:2] == [
        f"resumed with {resumed}: rounding will differ from an uninterrupted run",
        "training on cpu in fp32, 2 threads",
    ]
    recipe = model_file.load(file).metadata.recipe
    assert recipe["precision"] == "fp32"
    assert recipe["resumed"] == [f"after iteration 1: {resumed}"]

    # Rewriting the model file of a finished run keeps the precision that it was trained in.
    file.unlink()
    line = command(data, tmp_path, workers="0", precision="bf16", checkpoint_every="1")[3:]
    assert main([*line, "--resume"]) == 0
    assert model_file.load(file).metadata.recipe == recipe


@pytest.mark.skipif(platform.machine() != "x86_64", reason="limits the instructions of an x86 CPU")
def test_without_native_bf16_auto_is_fp32_and_bf16_warns(data: Path, tmp_path: Path) -> None:
    limits = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}

    def logged(precision: str) -> list[str]:
        line = command(data, tmp_path / precision, precision=precision, iterations="1")
        done = subprocess.run(
            line, env=environment() | limits, capture_output=True, text=True, check=True
        )
        return [each for each in done.stderr.splitlines() if "cpu" in each]

    assert logged("auto") == ["training on cpu in fp32, 1 thread"]
    first, warning = logged("bf16")
    assert first == "training on cpu in bf16, 1 thread"
    assert warning == (
        "precision bf16 is emulated on cpu and many times slower than fp32: set precision: auto "
        "to use a native one"
    )
    for precision, recorded in (("auto", "fp32"), ("bf16", "bf16")):
        model = model_file.load(tmp_path / precision / "model.safetensors")
        assert model.metadata.recipe["precision"] == recorded


def test_training_and_scoring_use_the_given_threads(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, before, seen = Trainer.step, torch.get_num_threads(), []

    def observed_step(self: Trainer, parts: Any) -> float:
        seen.append(torch.get_num_threads())
        return step(self, parts)

    def observed_evaluate(*arguments: Any) -> Any:
        seen.append(torch.get_num_threads())
        return evaluate(*arguments)

    monkeypatch.setattr(Trainer, "step", observed_step)
    monkeypatch.setattr("bisenet_ros.evaluation.evaluate.evaluate", observed_evaluate)
    line = command(data, tmp_path, "--threads", str(before + 2), workers="0", iterations="1")
    assert main(line[3:]) == 0
    assert seen == [before + 2] * 2
    assert torch.get_num_threads() == before


def test_log_has_a_row_per_iteration(trained: Path) -> None:
    header, *rows = log_of(trained)
    assert header == ["iteration", "loss", "learning_rate", "images_per_s", "waited_share"]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert float(rows[0][2]) == 1e-3


def test_bit_depth_is_used_and_recorded(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    deep = Path(shutil.copytree(data, tmp_path / "deep"))
    for path in deep.glob("*/images/*"):
        pixels = np.rint(cv2.imread(str(path)) * (4095 / 255)).astype(np.uint16)
        assert cv2.imwrite(str(path), pixels)
    for root, more in ((data, []), (deep, ["--bit-depth", "12"])):
        line = command(root, tmp_path / f"run_{root.name}", "--val-data", str(root), *more)
        assert main(line[3:]) == 0
    runs = [tmp_path / f"run_{root.name}" for root in (data, deep)]
    losses = [[row[1] for row in log_of(run)] for run in runs]
    assert losses[0] == losses[1]
    models = [model_file.load(run / "model.safetensors") for run in runs]
    assert [model.metadata.recipe["bit_depth"] for model in models] == [16, 12]
    assert "is dark" not in capfd.readouterr().err
    # Main process and two workers read the pictures, but one says so.
    line = command(deep, tmp_path / "dark", "--val-data", str(deep), workers="2")
    shown = subprocess.run(line, env=environment(), capture_output=True, text=True, check=True)
    assert shown.stderr.count("is dark") == 1
    assert "has 12 bits, pass --bit-depth 12" in shown.stderr
    assert main([*line[3:], "--resume", "--bit-depth", "12"]) == 1
    assert "(bit_depth was 16, now 12)" in capfd.readouterr().err


def test_validation_log_has_a_row_per_validation(trained: Path) -> None:
    with (trained / "validation.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["iteration", "miou", "dark", "bright"]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    for row in rows:
        miou, *iou = map(float, row[1:])
        assert miou == pytest.approx(sum(iou) / 2, abs=1e-4)


def test_plots_and_tensorboard_events_are_written(trained: Path) -> None:
    for name in ("curves.png", "confusion_val.png"):
        assert cv2.imread(str(trained / name)) is not None
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained))
    events.Reload()
    logged = [(event.step, f"{event.value:.4f}") for event in events.Scalars("loss")]
    assert logged == [(int(row[0]), row[1]) for row in log_of(trained)[1:]]
    with (trained / "validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for tag, column in (
        ("validation_miou", "miou"),
        ("validation_iou/dark", "dark"),
        ("validation_iou/bright", "bright"),
    ):
        logged = [(event.step, f"{event.value:.4f}") for event in events.Scalars(tag)]
        assert logged == [(int(row["iteration"]), row[column]) for row in rows]


def test_missing_modules_are_told_before_anything_is_read(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(data, tmp_path / "faulty"))
    (root / "val" / "images" / "4.png").write_bytes(b"no image")
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    line = command(root, tmp_path / "run", "--val-data", str(root), "--tensorboard")
    message = reason(line, capsys)
    assert message.startswith("TensorBoard cannot be imported (")
    assert "pip install tensorboard, or omit --tensorboard; log.csv and validation.csv" in message
    message = reason(
        command(root, tmp_path / "run", "--val-data", str(root), augment="a:b"), capsys
    )
    assert message.startswith(
        "setting 'augment' is 'a:b', but importing a raises ModuleNotFoundErr"
    )
    assert not (tmp_path / "run").exists()


def test_best_model_is_kept_and_says_that_its_score_flatters(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scores of the three validations are given, 0.4, 0.7 and 0.6: the second is the best."""
    given = iter([(4, 3), (14, 3), (6, 2)])

    def score(*_: Any) -> Scores:
        right, wrong = next(given)
        return Scores(np.array([[right, wrong, 0], [wrong, right, 0]]))

    monkeypatch.setattr("bisenet_ros.training.run.score", score)
    output = tmp_path / "run"
    line = command(data, output, "--val-data", str(data), keep_best="true", checkpoint_every="1")
    weights: list[torch.Tensor] = []
    save = model_file.save

    def watched(path: Path, network: Any, metadata: Any) -> None:
        if path.name == "model.safetensors":
            weights.append(network.state_dict()["head.2.weight"].half().float())
        save(path, network, metadata)

    monkeypatch.setattr("bisenet_ros.training.run.save", watched)
    assert main(line[3:]) == 0
    best = model_file.load(output / "best.safetensors")
    assert torch.equal(best.network.head[2].weight, weights[1])
    assert not torch.equal(best.network.head[2].weight, weights[2])
    selected = best.metadata.recipe["selected"]
    assert (selected["iteration"], selected["miou"]) == (2, 0.7)
    assert "flatters" in selected["by"]
    assert "selected" not in model_file.load(output / "model.safetensors").metadata.recipe
    (output / "checkpoint.pt").unlink()
    (output / "checkpoint_previous.pt").unlink()
    (output / "model.safetensors").unlink()
    assert "best.safetensors already exists" in reason(line, capsys)


def test_best_model_is_kept_over_a_resume(data: Path, tmp_path: Path) -> None:
    line = command(data, tmp_path, "--val-data", str(data), keep_best="true", workers="0")[3:]
    assert main(line) == 0
    file = tmp_path / "best.safetensors"
    best = model_file.load(file)
    iou = [row["miou"] for row in csv.DictReader((tmp_path / "validation.csv").open())]
    assert f"{best.metadata.recipe['selected']['miou']:.4f}" == max(iou)
    for wins in (False, True):
        # A recorded score that no other, or each, exceeds.
        recipe = dict(best.metadata.recipe)
        recipe["selected"] = {**recipe["selected"], "miou": 0.0 if wins else 1.0}
        model_file.save(file, best.network, replace(best.metadata, recipe=recipe))
        before = file.read_bytes()
        assert main([*line, "--resume"]) == 0
        assert (file.read_bytes() != before) == wins
    assert model_file.load(file).metadata.recipe["selected"]["iteration"] == 3


def test_best_model_needs_validation_data(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = reason(command(data, tmp_path / "run", keep_best="true"), capsys)
    assert message == (
        "setting 'keep_best' is true, but there are no images to score: add --val-data"
    )
    assert not (tmp_path / "run").exists()


def stop(line: list[str], after: int, number: signal.Signals) -> int:
    """Send a signal to a run after some iterations; return the iteration of its checkpoint.

    SIGINT is sent to the process group, as by a terminal, SIGTERM to all processes, as by systemd.
    """
    process = subprocess.Popen(
        line, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stderr is not None
        shown = ""
        while f" {after}/{ENDLESS}" not in shown:
            character = process.stderr.read(1)
            assert character, f"the run ended before the signal: {shown}"
            shown += character
        if number == signal.SIGTERM:
            workers = psutil.Process(process.pid).children(recursive=True)
            assert workers
            for worker in workers:
                worker.send_signal(number)
        os.killpg(process.pid, number)
        _, shown = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert process.returncode == 130, shown
    assert shown.endswith("\nstopped; repeat the command with --resume to continue\n")
    assert "Traceback" not in shown
    iteration = read_checkpoint(Path(line[line.index("--output") + 1]) / "checkpoint.pt").iteration
    assert iteration >= after
    return iteration


def test_run_stops_at_a_signal_and_resumes(data: Path, tmp_path: Path) -> None:
    line = command(data, tmp_path, iterations=ENDLESS, checkpoint_every=ENDLESS)
    first = stop(line, 1, signal.SIGTERM)
    numbers = [str(k + 1) for k in range(first)]
    assert [row[0] for row in log_of(tmp_path)[1:]] == numbers

    # A killed run has logged iterations after its last checkpoint.
    with (tmp_path / "log.csv").open("a") as file:
        file.write(f"{first + 1},9.9,0.1,1.0,0.5\n{first + 2},9.")
    second = stop([*line, "--resume"], first + 1, signal.SIGINT)
    header, *rows = log_of(tmp_path)
    assert header[0] == "iteration"
    assert [row[0] for row in rows] == [str(k + 1) for k in range(second)]
    assert rows[first][1] != "9.9"


def test_signal_also_stops_scoring(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scored = []

    def interrupted(samples: Iterator[Any], *more: Any) -> Any:
        def seen() -> Iterator[Any]:
            for sample in samples:
                scored.append(sample)
                os.kill(os.getpid(), signal.SIGINT)
                yield sample

        return evaluate(seen(), *more)

    monkeypatch.setattr("bisenet_ros.evaluation.evaluate.evaluate", interrupted)
    line = command(data, tmp_path, "--val-data", str(data), iterations="20", workers="0")
    assert main(line[3:]) == 130
    assert "repeat the command with --resume to continue" in capsys.readouterr().err
    assert len(scored) == 1
    assert len((tmp_path / "validation.csv").read_text().splitlines()) == 1
    assert read_checkpoint(tmp_path / "checkpoint.pt").iteration == 2


@pytest.mark.parametrize(("after", "validated"), [(2, ["1"]), (3, ["1", "2"])])
def test_signal_just_before_scoring_stops_the_run(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    after: int,
    validated: list[str],
) -> None:
    step, steps = Trainer.step, []

    def interrupted(self: Trainer, parts: Any) -> float:
        steps.append(parts)
        if len(steps) == after:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, parts)

    def rows() -> list[str]:
        with (tmp_path / "validation.csv").open(newline="") as file:
            return [row[0] for row in csv.reader(file)][1:]

    monkeypatch.setattr(Trainer, "step", interrupted)
    line = command(data, tmp_path, "--val-data", str(data), workers="0")
    assert main(line[3:]) == 130
    assert "repeat the command with --resume to continue" in capsys.readouterr().err
    assert rows() == validated
    assert main([*line[3:], "--resume"]) == 0
    assert rows()[-1] == "3"
    # Resuming the finished run keeps scores that were added to its model file.
    model = tmp_path / "model.safetensors"
    added = model_file.load(model)
    score = Score("val", "miou", "bf16", 0.5, "torch avx512")
    model_file.update_metadata(model, added, lambda now: replace(now, scores=(score,)))
    assert main([*line[3:], "--resume"]) == 0
    assert rows().count("3") == 1
    assert model_file.load(model).metadata.scores == (score,)
    assert main([*line[3:], "--resume", "--license", "mine"]) == 0
    assert model_file.load(model).metadata.license == "mine"
    assert model_file.load(model).metadata.scores == (score,)

    # A model file with other weights, as left by a run that failed to write it, is replaced.
    bias = added.network.head[2].bias
    right = bias.detach().clone()
    with torch.no_grad():
        bias.add_(1)
    model_file.save(model, added.network, added.metadata)
    assert main([*line[3:], "--resume"]) == 0
    assert torch.equal(model_file.load(model).network.head[2].bias, right)


def reason(line: list[str], capsys: pytest.CaptureFixture[str], status: int = 1) -> str:
    refused = refusal(line[3:], capsys)
    assert refused.status == status
    return refused.message


def test_invalid_runs_are_rejected(
    data: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in trained.iterdir()}
    file = tmp_path / "file"
    file.touch()
    message = reason(command(data, file / "run"), capsys)
    assert message == f"cannot write into {file}/run: {file} is a file; give a folder"
    message = reason(command(data, trained, "--resume", learning_rate="0.5"), capsys)
    assert "a different run (learning_rate was 0.001, now 0.5): resume with the same" in message
    message = reason(command(data, trained), capsys)
    assert "checkpoint.pt already exists: continue with --resume" in message
    kept = tmp_path / "kept"
    kept.mkdir()
    shutil.copy(trained / "model.safetensors", kept)
    message = reason(command(data, kept), capsys)
    assert "model.safetensors already exists" in message
    assert {path: path.read_bytes() for path in trained.iterdir()} == before

    line = command(data, tmp_path / "new", "--val-data", str(data), "--val-split", "train")
    message = reason(line, capsys)
    assert f"4 of the 4 images of --val-data {data} are training images (0.png, ...)" in message
    message = reason(command(data, tmp_path / "new", "--resume"), capsys)
    assert message.startswith("no checkpoint ")
    message = reason(command(tmp_path / "nowhere", tmp_path / "new"), capsys)
    assert "no folder" in message
    message = reason(command(data, tmp_path / "new", crop="[60, 60]"), capsys)
    assert "setting 'crop' is (60, 60); must be [width, height], both divisible by 8" in message
    message = reason(command(data, tmp_path / "new", "--threads", "-1"), capsys, 2)
    assert "--threads: '-1' is not a whole number from 0 to 1024" in message
    assert not (tmp_path / "new").exists()


def test_val_data_is_checked_before_training(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(data, tmp_path / "faulty"))
    (root / "val" / "images" / "4.png").write_bytes(b"no image")
    message = reason(command(root, tmp_path / "run", "--val-data", str(root)), capsys)
    assert "val/images/4.png is not an image" in message
    assert not (tmp_path / "run").exists()


def test_what_the_check_of_a_dataset_refuses_is_not_trained_on(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(data, tmp_path / "faulty"))
    labels = root / "train" / "labels"
    # One iteration would not read this file, let alone find the second fault.
    assert cv2.imwrite(str(labels / "3.png"), np.full((64, 64), 7, np.uint8))
    line = command(root, tmp_path / "run", iterations="1", warmup_iterations="0")
    message = reason(line, capsys)
    assert "labels/3.png has label 7 (4096 pixels); labels are 0 to 1" in message
    for number in range(4):
        assert cv2.imwrite(str(labels / f"{number}.png"), np.zeros((64, 64), np.uint8))
    assert reason(line, capsys).startswith(f"all pixels of {root} are 'dark' or unlabeled")
    assert not (tmp_path / "run").exists()


def test_number_of_images_and_classes_are_logged(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = Path(shutil.copytree(data, tmp_path / "data"))
    (root / "train" / "images" / "day").mkdir()
    (root / "train" / "labels" / "day").mkdir()
    for kind in ("images", "labels"):
        folder = root / "train" / kind
        (folder / "0.png").rename(folder / "day" / "0.png")
    with (root / "classes.txt").open("a") as file:
        file.write("2 absent 0 0 0\n")
    line = command(root, tmp_path / "run", iterations="1", warmup_iterations="0")
    assert main(line[3:]) == 0
    read = f"training on 4 of 4 images in {root}/train/images, after reading them all"
    assert f"{read}; 3 classes: dark, bright, absent" in caplog.messages
    assert "classes in no training image: absent" in caplog.messages


def test_finished_checkpoint_resumes_in_another_folder(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    shutil.copy(trained / "checkpoint.pt", tmp_path)
    assert main([*command(data, tmp_path)[3:], "--resume"]) == 0
    before, after = (model_file.load(f / "model.safetensors") for f in (trained, tmp_path))
    assert model_file.has_weights_of(after, before.network)
    assert not (tmp_path / "curves.png").exists()  # without a log


def test_unpaired_files_are_rejected(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(data, tmp_path / "faulty"))
    (root / "train" / "images" / "0.png").unlink()
    message = reason(command(root, tmp_path / "run"), capsys)
    assert message.endswith("labels/0.png has no image; 'bisenet dataset check' names every one")


def test_layout_and_split_select_the_dataset(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = command(data, tmp_path / "new", "--layout", "cityscapes", "--split", "val")
    message = reason(line, capsys)
    assert "no folder" in message
    assert message.split(";")[0].endswith("leftImg8bit/val")


def test_shipped_settings_are_found_by_name(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # outside the source folder
    changes = {"iterations": "1", "warmup_iterations": "0"}
    line = command(data, tmp_path / "named", "--config", "finetune", **changes)
    assert main(line[3:]) == 0
    recipe = model_file.load(tmp_path / "named" / "model.safetensors").metadata.recipe
    finetune = read_settings(settings_path("finetune"))
    assert recipe["weight_decay"] == finetune.weight_decay != Settings().weight_decay
    message = reason(command(data, tmp_path / "new", "--config", "finetuning"), capsys)
    assert message.startswith("there are no settings 'finetuning'; give the path of a YAML file, ")
    assert "custom, finetune, camvid_480, " in message
    assert not (tmp_path / "new").exists()
