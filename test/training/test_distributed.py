"""Data-parallel training: same samples, loss and weights as in a single process."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch

from bisenet_ros.datasets import open_dataset
from bisenet_ros.errors import TrainingError
from bisenet_ros.inference.cpu import default_threads
from bisenet_ros.training.checkpoint import read_checkpoint
from bisenet_ros.training.distributed import DistributedContext, use_threads
from bisenet_ros.training.loop import train
from bisenet_ros.training.settings import Settings
from bisenet_ros.training.train_dataset import sample_indices

# On a CPU batch norm is not synchronized between processes, so freeze it for the comparison.
SETTINGS = {
    "head_channels": "16",
    "resolution": "[64, 64]",
    "crop": "[64, 64]",
    "scales": "[1.0]",
    "optimizer": "sgd",
    "learning_rate": "0.01",
    "ohem": "0",
    "freeze_batch_norm": "true",
    "batch_size": "8",
    "precision": "fp32",
    "workers": "0",
    "iterations": "3",
}

ROOT = Path(__file__).parents[2]


def run(processes: int, data: Path, output: Path, **settings: str) -> tuple[dict, list[float]]:
    """Run data_parallel.py and return its weights and losses."""
    output.mkdir()
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    overrides = [f"{name}={value}" for name, value in {**SETTINGS, **settings}.items()]
    script = str(Path(__file__).with_name("data_parallel.py"))
    done = subprocess.run(
        [sys.executable, *launcher, script, str(data), str(output), *overrides],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    losses = [float(loss) for loss in re.findall(r"loss (\S+)", done.stdout)]
    return torch.load(output / "weights.pt"), losses


def distance(one: dict, other: dict) -> float:
    """Return the largest difference of a weight relative to the largest one of its tensor."""
    assert one.keys() == other.keys()
    return max(
        float((one[name] - other[name]).abs().max() / one[name].abs().max().clamp(min=1e-6))
        for name in one
        if one[name].is_floating_point()
    )


def test_two_processes_train_the_same_weights_as_one(two_tone: Path, tmp_path: Path) -> None:
    # Distribute ignored pixels unevenly, so that averaging the processes' means would be wrong.
    labels = cv2.imread(str(two_tone / "labels" / "000.png"), cv2.IMREAD_UNCHANGED)
    labels[:, 8:] = 255
    assert cv2.imwrite(str(two_tone / "labels" / "000.png"), labels)

    alone, losses = run(1, two_tone, tmp_path / "one")
    together, same_losses = run(2, two_tone, tmp_path / "two")
    assert len(losses) == 3
    assert same_losses == pytest.approx(losses, rel=1e-4)
    assert distance(alone, together) < 1e-3

    shorter, _ = run(1, two_tone, tmp_path / "shorter", iterations="2")
    assert distance(alone, shorter) > 1e-2  # one step changes the weights far more


def test_batches_are_split_among_processes() -> None:
    settings = Settings(batch_size=8, grad_accum_steps=2, iterations=2)
    assert sample_indices(settings, 0, DistributedContext()) == list(range(16))
    first = sample_indices(settings, 0, DistributedContext(rank=0, size=2))
    second = sample_indices(settings, 0, DistributedContext(rank=1, size=2))
    assert first == [0, 1, 4, 5, 8, 9, 12, 13]
    assert second == [2, 3, 6, 7, 10, 11, 14, 15]
    assert sample_indices(settings, 1, DistributedContext(rank=1, size=2)) == second[4:]


def test_indivisible_batch_is_rejected(two_tone: Path, tmp_path: Path) -> None:
    three = DistributedContext(size=3)
    with pytest.raises(TrainingError, match=r"cannot divide a batch of 8 into 3 equal parts"):
        train(
            open_dataset(two_tone),
            Settings(batch_size=8),
            tmp_path / "c.pt",
            lambda p, n: None,
            processes=three,
        )


def test_use_threads_sets_and_restores_the_number() -> None:
    before = torch.get_num_threads()
    with use_threads(before + 2):
        assert torch.get_num_threads() == before + 2
    with use_threads():
        assert torch.get_num_threads() == default_threads()
    assert torch.get_num_threads() == before


SHARE = """
import os
import torch
from bisenet_ros.training.distributed import init_distributed, use_threads

with use_threads(), init_distributed("cpu"):
    os.write(1, f"{torch.get_num_threads()}\\n".encode())  # one write per line
"""

AGREE = """
import os
from bisenet_ros.inference import torch_backend
from bisenet_ros.training.distributed import init_distributed
from bisenet_ros.training.trainer import resolve_precision
from bisenet_ros.training.settings import Settings

with init_distributed("cpu") as processes:
    for supporting in (1, 2):
        torch_backend.has_native_bf16 = lambda: processes.rank < supporting
        os.write(1, f"{resolve_precision(Settings(), processes).precision}\\n".encode())
"""


def printed_by_two(program: str, folder: Path) -> list[str]:
    """Run ``program`` in two processes and return the printed words in any order."""
    script = folder / "program.py"
    script.write_text(program)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.check_output(
        [sys.executable, *launcher], env=environment, text=True, timeout=300
    ).split()


def test_local_processes_share_the_cpu_threads(tmp_path: Path) -> None:
    assert printed_by_two(SHARE, tmp_path) == [str(max(1, default_threads() // 2))] * 2


def test_auto_precision_is_native_to_all_processes(tmp_path: Path) -> None:
    """Simulate bf16 support in one of two processes, then in both."""
    assert sorted(printed_by_two(AGREE, tmp_path)) == ["bf16", "bf16", "fp32", "fp32"]


def test_all_processes_stop_when_one_is_stopped(two_tone: Path, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    overrides = [f"{name}={value}" for name, value in SETTINGS.items()]
    program = f"""
import os
from pathlib import Path
from bisenet_ros.datasets import open_dataset
from bisenet_ros.training.distributed import init_distributed, use_threads
from bisenet_ros.training.loop import train
from bisenet_ros.training.settings import read_settings

with use_threads(1), init_distributed("cpu") as processes:
    outcome = train(
        open_dataset(Path({str(two_tone)!r})),
        read_settings(None, {overrides!r}),
        Path({str(path)!r}),
        lambda progress, network: None,
        processes=processes,
        stop=iter([False, processes.rank == 1]).__next__,
    )
    os.write(1, f"{{processes.rank}}:{{outcome.iteration}}:{{outcome.stopped}}\\n".encode())
"""
    assert sorted(printed_by_two(program, tmp_path)) == ["0:2:True", "1:2:True"]
    assert read_checkpoint(path).iteration == 2
