"""The peak of the matrix product: a figure for what the machine can, None for the rest."""

import pytest
import torch

from bisenet_ros.inference.benchmark import matrix_peak as module
from bisenet_ros.inference.benchmark.matrix_peak import matrix_peak


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_cpu(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.0)
    threads = torch.get_num_threads()
    peak = matrix_peak("cpu", precision, 1, sizes=[32, 64])
    assert peak is not None
    assert 0 < peak < 1e5
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(("device", "precision"), [("cpu", "fp16"), ("gpu", "fp32")])
def test_unknown(device: str, precision: str) -> None:
    assert matrix_peak(device, precision, 1, sizes=[32, 64]) is None


def test_fp32_on_cuda_is_tf32_as_in_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []

    def look(product: object, device: str) -> float:
        used.append(torch.get_float32_matmul_precision())
        return 1.0

    monkeypatch.setattr(module, "_torch_product", lambda device, precision, size: None)
    monkeypatch.setattr(module, "_fastest", look)
    before = torch.get_float32_matmul_precision()
    assert matrix_peak("cuda:0", "fp32", 1, sizes=[1000]) == 1
    matrix_peak("cpu", "bf16", 1, sizes=[1000])
    assert used == ["high", before]
    assert torch.get_float32_matmul_precision() == before
