"""OpenVINO on this CPU: agreement with PyTorch, cached engines, and failures."""

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bisenet_ros.deploy.calibration import calibrate
from bisenet_ros.deploy.deploy_module import DeployModule
from bisenet_ros.deploy.parity import Parity
from bisenet_ros.errors import InferenceError
from bisenet_ros.inference import openvino_backend
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.cpu import default_threads
from bisenet_ros.inference.engine_cache import EngineCache, cache_folder, pack
from bisenet_ros.inference.openvino_backend import OpenVINOBackend
from bisenet_ros.model import file as model_file
from bisenet_ros.model.file import Model
from bisenet_ros.resources import model_path

torch.set_num_threads(1)

NATIVE = OpenVINOBackend.native_precisions("cpu")


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Model:
    return model_file.load(tiny_model)


def blocks(seed: int, width: int = 136, height: int = 72) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return pixels.repeat(8, 0).repeat(8, 1)


def options(cache: Path, precision: str = "fp32", *, confidence: bool = False) -> EngineOptions:
    return EngineOptions(
        resolution=(136, 72),
        device="cpu",
        precision=precision,
        confidence=confidence,
        threads=1,
        engine_cache=cache,
    )


def torch_labels(model: Model, image: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return DeployModule(model)(torch.from_numpy(image[None]))[0][0].numpy()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core cannot be shared out")
def test_threads_of_two_processes_do_not_meet_on_one_core(model: Model, tmp_path: Path) -> None:
    cores = os.sched_getaffinity(0)
    backend = OpenVINOBackend(model, options(tmp_path))  # one thread
    image = blocks(0)
    seen = set()
    others = set(Path("/proc/self/task").iterdir())  # of engines that other tests made
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: [backend.run(image[None]) for _ in range(200)])
        while not running.done():
            for task in set(Path("/proc/self/task").iterdir()) - others:
                with suppress(ProcessLookupError):
                    seen.add(frozenset(os.sched_getaffinity(int(task.name))))
    assert seen == {frozenset(cores)}


def test_threads_are_those_that_the_process_may_use(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_default = replace(options(tmp_path), threads=0)
    assert OpenVINOBackend(model, by_default).threads == default_threads()
    # OpenVINO respects the CPU affinity, but not a container's quota.
    monkeypatch.setattr(openvino_backend, "cpu_quota", lambda: 0.5)
    monkeypatch.setattr(openvino_backend, "default_threads", lambda: 1)
    assert OpenVINOBackend(model, by_default).threads == 1


def test_labels_and_confidence_are_those_of_torch(model: Model, tmp_path: Path) -> None:
    backend = OpenVINOBackend(model, options(tmp_path, confidence=True))
    assert (backend.name, backend.device, backend.precision) == ("openvino", "cpu", "fp32")
    deployed = DeployModule(model, confidence=True)
    for seed in range(3):
        image = blocks(seed)
        image.flags.writeable = False
        (labels,), (confidence,) = backend.run(image[None])
        assert (labels.shape, labels.dtype) == ((72, 136), np.uint8)
        assert (confidence.shape, confidence.dtype) == ((72, 136), np.uint8)
        with torch.inference_mode():
            expected = [o[0].numpy() for o in deployed(torch.from_numpy(image.copy()[None]))]
        assert (labels == expected[0]).mean() >= 0.999
        assert np.abs(confidence.astype(int) - expected[1]).max() <= 1
    backend.close()


def test_results_are_the_callers(model: Model, tmp_path: Path) -> None:
    backend = OpenVINOBackend(model, options(tmp_path))
    (first,) = backend.run(blocks(0)[None])
    kept = first.copy()
    (second,) = backend.run(blocks(1)[None])
    assert (first != second).any()
    np.testing.assert_array_equal(first, kept)
    first[:] = 9
    np.testing.assert_array_equal(backend.run(blocks(0)[None])[0], kept)


def assert_refused(model: Model, options: EngineOptions) -> None:
    message = (
        f"precision '{options.precision}' is not supported by openvino on this cpu; use auto, "
    )
    with pytest.raises(InferenceError, match=message + ", ".join(NATIVE)):
        OpenVINOBackend(model, options)


def test_bf16_is_another_arithmetic(model: Model, tmp_path: Path) -> None:
    if "bf16" not in NATIVE:
        assert_refused(model, options(tmp_path, "bf16"))
        return
    backend = OpenVINOBackend(model, options(tmp_path, "bf16"))
    assert backend.precision == "bf16"
    equal = np.mean(
        [
            (backend.run(blocks(s)[None])[0] == torch_labels(model, blocks(s))).mean()
            for s in range(4)
        ]
    )
    assert 0.93 < equal < 1  # random weights leave many pixels undecided


def test_int8_needs_a_calibration_and_takes_it(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match="has no calibration, which int8 needs"):
        OpenVINOBackend(model, options(tmp_path, "int8"))
    ranges = calibrate(model, [blocks(seed) for seed in range(4)])
    ready = Model(model.name, model.network, replace(model.metadata, calibration=ranges))
    backend = OpenVINOBackend(ready, options(tmp_path, "int8"))
    assert backend.precision == "int8"
    assert 0.85 < (backend.run(blocks(5)[None])[0] == torch_labels(model, blocks(5))).mean() < 1


def test_an_engine_is_compiled_once(
    model: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = OpenVINOBackend(model, options(tmp_path)).run(blocks(0)[None])
    (stored,) = (tmp_path / "engines").glob("*.engine")
    held = tmp_path / "held"
    held.hardlink_to(stored)  # keeps the inode, which a new file could reuse
    again = OpenVINOBackend(model, options(tmp_path)).run(blocks(0)[None])
    np.testing.assert_array_equal(again, first)
    assert stored.samefile(held)
    # Other weights or sizes need other engines.
    with torch.no_grad():
        other = model_file.Model(model.name, model.network, replace(model.metadata, mean=(0, 0, 0)))
    OpenVINOBackend(other, options(tmp_path))
    OpenVINOBackend(model, replace(options(tmp_path), resolution=(64, 64)))
    assert len(list((tmp_path / "engines").glob("*.engine"))) == 3
    assert caplog.text == ""


def test_a_damaged_engine_is_compiled_again(
    model: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = OpenVINOBackend(model, options(tmp_path)).run(blocks(0)[None])
    (stored,) = (tmp_path / "engines").glob("*.engine")
    data = bytearray(stored.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1000] = bytes(1000)  # OpenVINO's own cache would load this
    stored.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        again = OpenVINOBackend(model, options(tmp_path)).run(blocks(0)[None])
    assert "its checksum is wrong" in caplog.text
    np.testing.assert_array_equal(again, first)


def test_an_engine_that_openvino_refuses_is_compiled_again(
    model: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = OpenVINOBackend(model, options(tmp_path)).run(blocks(0)[None])
    cache = EngineCache(cache_folder(tmp_path))
    (entry,) = cache.entries()
    entry.path.unlink()
    assert entry.key is not None
    cache.get(entry.key, lambda: pack(asdict(Parity(1, 0)), b"whole, and no engine"), bytes)
    again = OpenVINOBackend(model, options(tmp_path)).run(blocks(0)[None])
    assert "cannot be used and will be rebuilt: openvino cannot load the engine" in caplog.text
    np.testing.assert_array_equal(again, first)
    assert cache.entries()[0].size > 10_000


def test_a_device_that_stores_no_engine_runs_without_the_cache(
    model: Model,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = OpenVINOBackend(model, options(tmp_path / "with")).run(blocks(0)[None])

    def refuse(*_: object) -> None:
        raise RuntimeError("not for this device")

    monkeypatch.setattr("openvino.Core.import_model", refuse)
    found = OpenVINOBackend(model, options(tmp_path / "without")).run(blocks(0)[None])
    assert "compiling the engine without the cache" in caplog.text
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"device": "cuda"},
            "device 'cuda' is not supported by openvino; use auto, cpu, gpu or gpu.N",
        ),
        ({"device": "gpu.x"}, "device 'gpu.x' not found: openvino sees "),
        ({"device": "gpu.7"}, "device 'gpu.7' not found: openvino sees "),
        (
            {"precision": "fp64"},
            "precision 'fp64' is not supported by openvino on this cpu; use auto, ",
        ),
    ],
)
def test_what_this_machine_cannot_serve_is_refused(
    model: Model, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(InferenceError, match=message):
        OpenVINOBackend(model, replace(options(tmp_path), **changes))


@pytest.mark.parametrize(
    ("precision", "least"),
    [("fp32", 0.999), ("bf16", 0.99)],
)
def test_labels_of_the_shipped_model_are_those_of_torch(
    tmp_path: Path, precision: str, least: float
) -> None:
    if "BISENET_DATA" not in os.environ:
        pytest.skip("BISENET_DATA is not set: no CamVid on this machine")
    model = model_file.load(model_path(""))
    asked = EngineOptions(
        resolution=model.metadata.resolution,
        device="cpu",
        precision=precision,
        threads=1,
        engine_cache=tmp_path,
    )
    if precision not in NATIVE:
        assert_refused(model, asked)
        return
    backend = OpenVINOBackend(model, asked)
    images = sorted((Path(os.environ["BISENET_DATA"]) / "camvid/val/images").iterdir())[::25]
    equal = []
    for path in images:
        image = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
        equal.append((backend.run(image[None])[0] == torch_labels(model, image)).mean())
    assert np.mean(equal) >= least


SIGNALS = """
import os, signal, sys
from pathlib import Path
from bisenet_ros.model import file as model_file
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.openvino_backend import OpenVINOBackend

signal.signal(signal.SIGUSR1, lambda number, frame: print("handled", flush=True))
model = model_file.load(Path(sys.argv[1]))
cache = Path(sys.argv[2])
first, second = (
    OpenVINOBackend(
        model,
        EngineOptions(device="cpu", precision="fp32", resolution=size, engine_cache=cache),
    )
    for size in ((64, 32), (64, 64))
)
first.close()
second.close()
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_signals_are_handled_after_engines_are_gone(tiny_model: Path, tmp_path: Path) -> None:
    """With several Cores, OpenVINO may leave a thread with a freed signal stack."""
    command = [sys.executable, "-X", "faulthandler", "-c", SIGNALS, tiny_model, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("handled\n", 0), done.stderr
