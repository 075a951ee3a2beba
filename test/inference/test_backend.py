"""The selection and log of "auto", and backends that fail while running."""

import logging
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bisenet_ros.errors import InferenceError
from bisenet_ros.inference import cuda
from bisenet_ros.inference.backend import BACKENDS, EngineOptions
from bisenet_ros.inference.selection import load_backend
from bisenet_ros.model import file as model_file
from bisenet_ros.model.file import Model

torch.set_num_threads(1)

OPTIONS = EngineOptions(resolution=(64, 32), device="cpu", precision="fp32", threads=1)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Model:
    return model_file.load(tiny_model)


def test_auto_selects_openvino_on_a_cpu_and_logs_why(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "bisenet_ros.inference.selection"):
        backend = load_backend(model, OPTIONS)
    assert (backend.name, backend.device, backend.precision) == ("openvino", "cpu", "fp32")
    assert re.search(
        r"auto selected openvino on cpu in fp32 \(per 64x32 frame: openvino fp32 [\d.]+ ms, torch "
        r"fp32 [\d.]+ ms\); rejected tensorrt: device 'cpu' is not",
        caplog.text,
    )


def test_auto_skips_a_backend_whose_library_is_missing(
    model: Model, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Importing a module with the entry None raises ImportError.
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "bisenet_ros.inference.openvino_backend", raising=False)
    with caplog.at_level(logging.INFO, "bisenet_ros.inference.selection"):
        assert load_backend(model, OPTIONS).name == "torch"
    assert (
        "rejected openvino: backend 'openvino' needs a library that cannot be imported"
        in caplog.text
    )
    with pytest.raises(InferenceError, match=r"needs a library that cannot be imported .*openvino"):
        load_backend(model, replace(OPTIONS, backend="openvino"))


@pytest.fixture
def broken_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that NVML counts and PyTorch cannot use, as with a driver that is too old."""
    if torch.cuda.is_available():
        pytest.skip("the CUDA of this machine works")

    def start(device: object) -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old")

    monkeypatch.setattr(cuda, "has_cuda_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", start)
    monkeypatch.setattr(torch.cuda, "get_device_capability", start)


def test_auto_tries_all_in_order_and_survives_a_gpu_that_does_not_start(
    model: Model,
    broken_cuda: None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "bisenet_ros.inference.openvino_backend", raising=False)
    with caplog.at_level(logging.INFO, "bisenet_ros.inference.selection"):
        backend = load_backend(model, replace(OPTIONS, device="auto"))
    assert (backend.name, backend.device, backend.precision) == ("torch", "cpu", "fp32")
    fails = r"failed on cuda:0 \(The NVIDIA driver on your system is too old\)"
    assert re.search(
        rf"auto selected torch on cpu in fp32 \(.*\); rejected tensorrt: tensorrt {fails}.*; "
        rf"rejected torch on cuda: torch {fails}.*; rejected openvino on cpu: .*cannot be imported",
        caplog.text,
    )


def test_auto_skips_an_engine_that_loads_and_cannot_run(
    model: Model, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bisenet_ros.inference.openvino_backend import OpenVINOBackend

    def run(self: OpenVINOBackend, image: np.ndarray) -> None:
        raise InferenceError("the device is hot")

    monkeypatch.setattr(OpenVINOBackend, "run", run)
    with caplog.at_level(logging.INFO, "bisenet_ros.inference.selection"):
        assert load_backend(model, OPTIONS).name == "torch"
    assert "rejected openvino fp32: the device is hot" in caplog.text


def test_auto_names_every_reason_where_nothing_works(model: Model) -> None:
    with pytest.raises(InferenceError, match="no backend works on this machine: ") as raised:
        load_backend(model, replace(OPTIONS, device="tpu"))
    for name in BACKENDS:
        assert f"{name}: device 'tpu' is" in str(raised.value)


def test_no_engine_is_imported_before_it_is_loaded() -> None:
    code = (
        "import sys; import bisenet_ros.inference.segmenter; "
        "print(*{'openvino', 'onnx', 'tensorrt', 'tensorrt_rtx'}.intersection(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


OUT_OF_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from bisenet_ros.model import file as model_file
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.selection import load_backend
from bisenet_ros.errors import InferenceError

name, path, cache = sys.argv[1:]
model = model_file.load(Path(path))

def run(width):
    options = EngineOptions(
        backend=name,
        device="cpu",
        precision="fp32",
        resolution=(width, width),
        threads=1,
        engine_cache=Path(cache),
    )
    load_backend(model, options).run(np.zeros((1, width, width, 3), np.uint8))

run(32)  # allocates what a process needs once
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20,) * 2)
run(64)
print("enough for 64x64")
try:
    run(4096)
except InferenceError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_too_little_memory_is_an_error_that_says_so(
    name: str, tiny_model: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", OUT_OF_MEMORY, name, tiny_model, tmp_path]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    enough, error = done.stdout.splitlines()
    assert enough == "enough for 64x64"
    assert "lower the resolution" in error


def test_model_file_replaced_while_running(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(tiny_model.read_bytes())
    image = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
    for name in ("openvino", "torch"):
        backend = load_backend(
            model_file.load(path), replace(OPTIONS, engine_cache=tmp_path, backend=name)
        )
        before = backend.run(image[None])[0]
        path.write_bytes(b"something else")
        np.testing.assert_array_equal(backend.run(image[None])[0], before)
        path.write_bytes(tiny_model.read_bytes())


def test_torch_uses_its_threads_while_it_runs_and_gives_them_back(model: Model) -> None:
    before = torch.get_num_threads()
    options = replace(OPTIONS, threads=before + 2)
    backend = load_backend(model, replace(options, backend="torch"))
    seen = []

    class Threads(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            seen.append(torch.get_num_threads())
            return function(*args, **(kwargs or {}))

    with Threads():
        backend.run(np.zeros((1, 32, 64, 3), np.uint8))
    assert before + 2 in seen
    assert torch.get_num_threads() == before
    backend.close()
