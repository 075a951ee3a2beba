"""Scoring a model on a dataset, with a progress bar, until it is done or stopped."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tqdm import tqdm

from bisenet_ros.datasets import Dataset
from bisenet_ros.evaluation.metrics import Image, Labels, Scores, evaluate
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.segmenter import Segmenter
from bisenet_ros.model.file import Model


class _Stopped(Exception):
    """Ends an evaluation from within its samples."""


def score(
    model: Model, dataset: Dataset, indices: range, device: str, stop: Callable[[], bool]
) -> Scores | None:
    """Score ``model`` by PyTorch in fp32 on the samples ``indices`` of ``dataset``.

    It takes as many CPU threads as PyTorch has in this process now.

    Returns:
        None if ``stop`` returned True before all samples were seen.

    Raises:
        DatasetError: a file cannot be used, or no pixel has a class.
    """
    threads = torch.get_num_threads()
    with (
        # Weights that change with every iteration have no place in the user's cache.
        TemporaryDirectory() as cache,
        closing(
            Segmenter(
                model,
                EngineOptions(
                    backend="torch",
                    device=device,
                    precision="fp32",
                    threads=threads,
                    engine_cache=Path(cache),
                ),
            )
        ) as segmenter,
        tqdm(indices, desc="score", unit="image", leave=False, disable=None) as bar,
    ):

        def samples() -> Iterator[tuple[Image, Labels]]:
            for index in bar:
                if stop():
                    raise _Stopped
                yield dataset[index]

        try:
            return evaluate(samples(), lambda x: segmenter.segment(x).labels, len(dataset.classes))
        except _Stopped:
            return None
