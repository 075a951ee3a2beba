"""PyTorch on CUDA, marked ``gpu``; on the CPU it is the reference of the other tests."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.selection import load_backend
from bisenet_ros.inference.torch_backend import TorchBackend
from bisenet_ros.model import file as model_file
from bisenet_ros.model.file import Model
from bisenet_ros.resources import model_path
from bisenet_ros.synthetic.street import Street

SIZE = 480, 360


@pytest.fixture(autouse=True)
def _needs_cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")


@pytest.fixture(scope="module")
def model() -> Model:
    return model_file.load(model_path(""))


def street(frame: int = 0) -> np.ndarray:
    return Street(7, *SIZE).frame(frame)[0]


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.999), ("fp16", 0.99), ("bf16", 0.99)])
def test_gpu_torch_labels_are_those_of_the_cpu(model: Model, precision: str, least: float) -> None:
    backend = TorchBackend(
        model, EngineOptions(resolution=SIZE, device="cuda", precision=precision, confidence=True)
    )
    reference = TorchBackend(
        model, EngineOptions(resolution=SIZE, device="cpu", precision="fp32", confidence=True)
    )
    labels, confidence = backend.run(street()[None])
    expected_labels, expected_confidence = reference.run(street()[None])
    assert (backend.device, backend.precision) == ("cuda:0", precision)
    assert (labels == expected_labels).mean() >= least
    difference = np.abs(confidence.astype(int) - expected_confidence)
    assert (difference <= 8).mean() >= 0.99
    backend.close()


@pytest.mark.gpu
def test_gpu_torch_batch_is_labeled_like_its_images(model: Model) -> None:
    options = EngineOptions(resolution=SIZE, device="cuda", precision="fp32")
    alone = TorchBackend(model, options)
    together = TorchBackend(model, replace(options, batch_size=3))
    images = np.stack([street(frame) for frame in (0, 60, 120)])
    for place, labels in enumerate(together.run(images)[0]):
        ((expected,),) = alone.run(images[place : place + 1])
        assert (labels == expected).mean() >= 0.999
    together.close()
    alone.close()


@pytest.mark.gpu
def test_gpu_torch_results_are_the_caller_s(model: Model) -> None:
    backend = TorchBackend(model, EngineOptions(resolution=SIZE, device="cuda", precision="fp32"))
    (first,) = backend.run(street()[None])
    before = first.copy()
    assert (backend.run(street(60)[None])[0] != before).any()
    np.testing.assert_array_equal(first, before)
    backend.close()


@pytest.mark.gpu
def test_gpu_auto_takes_cuda_where_tensorrt_is_missing(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)  # as if not installed
    backend = load_backend(model, EngineOptions(resolution=SIZE, engine_cache=tmp_path))
    assert (backend.name, backend.device) == ("torch", "cuda:0")
    backend.close()
