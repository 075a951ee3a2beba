"""What "auto" stands for on each kind of device."""

import pytest

from bisenet_ros.inference.cpu import has_native_bf16
from bisenet_ros.inference.torch_backend import TorchBackend
from bisenet_ros.training.distributed import DistributedContext
from bisenet_ros.training.precision import resolve_precision
from bisenet_ros.training.settings import Precision, Settings


def test_auto_on_this_cpu_is_what_it_computes_natively() -> None:
    native = "bf16" if has_native_bf16() else "fp32"
    assert Settings().precision == "auto"
    assert resolve_precision(Settings(), DistributedContext("cpu")).precision == native


@pytest.mark.parametrize(
    ("device", "native", "expected"),
    [
        ("cpu", ("bf16", "fp32"), "bf16"),
        ("cpu", ("fp32",), "fp32"),
        ("cuda:0", ("fp16", "bf16", "fp32"), "bf16"),
        ("cuda:0", ("fp16", "fp32"), "fp16"),
    ],
)
def test_auto_by_what_a_device_has(
    monkeypatch: pytest.MonkeyPatch, device: str, native: tuple[str, ...], expected: str
) -> None:
    monkeypatch.setattr(TorchBackend, "native_precisions", lambda device: native)
    assert resolve_precision(Settings(), DistributedContext(device)).precision == expected


@pytest.mark.parametrize("asked", ["bf16", "fp16", "fp32"])
def test_a_precision_that_is_named_stays(asked: Precision) -> None:
    settings = Settings(precision=asked)
    assert resolve_precision(settings, DistributedContext("cpu")) == settings
