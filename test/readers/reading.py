"""What holds for the checkpoints of every project."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from coincheung_checkpoint import image
from torch import Tensor

from bisenet_ros.model_file import Model, ModelFileError, load

StateDict = dict[str, Any]

Golden = tuple[tuple[float, float], Mapping[tuple[int, int], list[float]]]
"""Mean and standard deviation of all logits, and the logits of classes 0, 3, .. 18 at some
(row, column)."""

SMALL = {"num_classes": 5, "head_channels": 8}


def write(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


def without(key: str) -> Callable[[StateDict], StateDict]:
    return lambda state: {name: value for name, value in state.items() if name != key}


def assert_logits(model: Model, size: tuple[int, int], golden: Golden) -> None:
    """Those of ``image`` at ``size``, (height, width)."""
    with torch.no_grad():
        logits = model.network(image(*size))[0]
    (mean, std), pixels = golden
    assert logits.shape == (19, *size)
    assert float(logits.mean()) == pytest.approx(mean, abs=1e-4)
    assert float(logits.std()) == pytest.approx(std, abs=1e-4)
    for (row, column), expected in pixels.items():
        assert logits[::3, row, column].tolist() == pytest.approx(expected, abs=1e-4)


def assert_each_once(read: Iterable[Tensor], originals: Iterable[Tensor]) -> None:
    """No two tensors of our checkpoints are alike, so their sums say which one went where."""
    sums = [sorted(t.double().sum().item() for t in tensors) for tensors in (read, originals)]
    assert len(sums[0]) == len(sums[1])
    assert sums[0] == pytest.approx(sums[1])


def assert_refused(path: Path, message: str) -> None:
    """By one line, which names the file."""
    with pytest.raises(ModelFileError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
