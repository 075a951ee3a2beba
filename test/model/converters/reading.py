"""Helpers shared by the tests of all converters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from coincheung_checkpoint import image
from torch import Tensor, nn

from bisenet_ros.errors import ModelFileError
from bisenet_ros.model.file import Model, load

StateDict = dict[str, Any]

Golden = tuple[tuple[float, float], Mapping[tuple[int, int], list[float]]]
"""Mean and standard deviation of all logits, and logits of classes 0, 3, .. 18 by (row, column)."""

ROUNDING_MARGIN = 3
"""Tolerance in units of ``rounding_error``. Measured errors are 0.1 to 0.9 of it with AVX512, AVX2
and SSE4.1; a batch norm epsilon of 2e-5 instead of 1e-5 gives 5 to 17."""

SMALL = {"num_classes": 5, "head_channels": 8}


def write(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


def without(key: str) -> Callable[[StateDict], StateDict]:
    return lambda state: {name: value for name, value in state.items() if name != key}


def assert_logits(model: Model, size: tuple[int, int], golden: Golden) -> None:
    """Compare float64 and float32 logits of ``image`` at ``size`` (height, width) to ``golden``."""
    pixels = image(*size)
    with torch.no_grad():
        fp32 = model.network(pixels)[0]
        exact = deepcopy(model.network).double()(pixels.double())[0]
    (mean, std), golden_logits = golden
    bound = ROUNDING_MARGIN * rounding_error(model.network, std)
    expected = torch.tensor(list(golden_logits.values()), dtype=torch.float64)
    found = torch.stack([exact[::3, row, column] for row, column in golden_logits])
    assert exact.shape == (19, *size)
    assert float(exact.mean()) == pytest.approx(mean, abs=bound)
    assert float(exact.std()) == pytest.approx(std, abs=bound)
    assert root_mean_square(found - expected) < bound
    assert root_mean_square(fp32 - exact) < bound


def rounding_error(network: nn.Module, spread: float) -> float:
    """Estimate the RMS rounding error of fp32 logits with a standard deviation of ``spread``."""
    # A convolution sums as many products as a filter has weights; each addition rounds by about
    # 2**-24 of the sum. The order of summation depends on the instruction set, so the errors are
    # modelled as independent: variances add up within a layer and, because batch norm gives all
    # layers a similar spread, across layers.
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    products = sum(convolution.weight[0].numel() for convolution in convolutions)
    return 2**-24 * math.sqrt(products) * spread


def root_mean_square(error: Tensor) -> float:
    # Unlike the maximum, the RMS does not grow with the number of pixels.
    return float(error.square().mean().sqrt())


def assert_each_once(read: Iterable[Tensor], originals: Iterable[Tensor]) -> None:
    """Compare tensors by their sums, which differ for all tensors of the test checkpoints."""
    sums = [sorted(t.double().sum().item() for t in tensors) for tensors in (read, originals)]
    assert len(sums[0]) == len(sums[1])
    assert sums[0] == pytest.approx(sums[1])


def assert_refused(path: Path, message: str) -> None:
    """Check that loading fails with a one-line message that names the file."""
    with pytest.raises(ModelFileError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
