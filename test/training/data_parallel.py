"""Script of test_distributed.py: train in one process; rank 0 writes the weights."""

import sys
from pathlib import Path

import torch

from bisenet_ros.datasets import open_dataset
from bisenet_ros.training.distributed import init_distributed, use_threads
from bisenet_ros.training.loop import train
from bisenet_ros.training.settings import read_settings

if __name__ == "__main__":
    data, output, *overrides = sys.argv[1:]
    # Dropout differs between processes; disable it, so that runs of one and two are comparable.
    torch.nn.Dropout.forward = lambda self, features: features
    with use_threads(1), init_distributed("cpu") as processes:
        outcome = train(
            open_dataset(Path(data)),
            read_settings(None, overrides),
            Path(output) / "checkpoint.pt",
            lambda progress, _: print(f"loss {progress.loss:.6f}", flush=True),
            processes=processes,
        )
        if processes.rank == 0:
            torch.save(outcome.network.state_dict(), Path(output) / "weights.pt")
