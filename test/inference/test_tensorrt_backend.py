"""The TensorRT backend; tests that need a GPU are marked ``gpu``."""

import ast
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import torch

from bisenet_ros.deploy.onnx import ExactRunner, build_onnx
from bisenet_ros.deploy.parity import Parity, ParityCheck
from bisenet_ros.errors import InferenceError, ParityError
from bisenet_ros.inference import cuda
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.engine_cache import EngineCache, cache_folder, pack
from bisenet_ros.inference.selection import load_backend
from bisenet_ros.inference.tensorrt_backend import TensorRTBackend, build_for
from bisenet_ros.inference.tensorrt_library import (
    TENSORRT,
    TENSORRT_RTX,
    Library,
    choose_library,
    target,
)
from bisenet_ros.inference.torch_backend import TorchBackend
from bisenet_ros.model import file as model_file
from bisenet_ros.model.file import Model
from bisenet_ros.resources import model_path
from bisenet_ros.synthetic.street import Street

if TYPE_CHECKING:
    from bisenet_ros.inference.tensorrt_engine import TensorRT


def test_the_guide_lists_each_gpu_test() -> None:
    tests = Path(__file__).parents[1]
    marked = {
        node.name
        for path in tests.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and "pytest.mark.gpu" in map(ast.unparse, node.decorator_list)
    }
    guide = (tests.parent / "docs" / "engines.md").read_text()
    listed = re.findall(r"^\|.*\| `(test_\w+)` \| \S.* \|$", guide, re.MULTILINE)
    assert set(listed) == marked


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Model:
    return model_file.load(tiny_model)


@pytest.fixture
def options(model: Model, tmp_path: Path, request: pytest.FixtureRequest) -> EngineOptions:
    """For one image, or for the number that is the fixture's parameter."""
    return EngineOptions(
        resolution=model.metadata.resolution,
        precision="fp32",
        batch_size=getattr(request, "param", 1),
        engine_cache=tmp_path,
    )


def install(name: str, source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package ``name`` with ``source`` in front of all others."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(sys.modules, name, None)  # so that monkeypatch undoes the next line
    monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


@pytest.mark.parametrize(
    ("capability", "cuda", "command"),
    [
        ((7, 5), "13.0", "-m pip install -U tensorrt-rtx-cu13"),
        ((8, 6), "12.8", "-m pip install -U tensorrt-rtx-cu12"),
        ((8, 9), "13.0", "-m pip install -U tensorrt-rtx-cu13"),
        ((12, 0), "13.0", "-m pip install -U tensorrt-rtx-cu13"),
        ((8, 0), "12.8", "-m pip install -U tensorrt-cu12"),
        ((9, 0), "13.0", "-m pip install -U tensorrt-cu13"),
        ((10, 0), "13.0", "-m pip install -U tensorrt-cu13"),
        ((8, 7), "12.6", "sudo apt install python3-libnvinfer"),
        ((11, 0), "13.0", "sudo apt install python3-libnvinfer"),
    ],
)
def test_what_to_install_depends_on_the_gpu(
    nothing_installed: None, capability: tuple[int, int], cuda: str, command: str
) -> None:
    with pytest.raises(InferenceError, match=r"^TensorRT cannot be imported .*: '") as raised:
        choose_library(capability, cuda)
    assert str(raised.value).endswith(f"{command}'")


def test_tensorrt_for_rtx_has_no_wheels_for_arm(
    nothing_installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(InferenceError, match="pip install -U tensorrt-cu13'"):
        choose_library((12, 0), "13.0")


def test_missing_libraries_are_named_with_the_remedy(
    nothing_installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("tensorrt", "raise OSError('libnvinfer.so.10: cannot open')", tmp_path, monkeypatch)
    with pytest.raises(InferenceError, match=r"libnvinfer\.so\.10.*pip install -U tensorrt-cu13"):
        choose_library((9, 0), "13.0")


@pytest.mark.parametrize(
    ("name", "version", "accepted"),
    [
        *(("tensorrt", each, "10.3 up to 11.x") for each in ("8.6.1", "10.2.0.19", "12.0.0.1")),
        *(("tensorrt_rtx", each, "1.7 up to 1.x") for each in ("1.6.1.120", "2.0.0.1")),
    ],
)
def test_other_versions_are_refused(
    nothing_installed: None,
    name: str,
    version: str,
    accepted: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(name, f"__version__ = '{version}'", tmp_path, monkeypatch)
    with pytest.raises(InferenceError, match=rf"{version} is installed; {re.escape(accepted)}"):
        choose_library((8, 6), "13.0")


@pytest.mark.parametrize(
    ("capability", "installed", "chosen"),
    [
        ((8, 6), {"tensorrt": "10.3.0", "tensorrt_rtx": "1.7.1.116"}, TENSORRT),
        ((8, 6), {"tensorrt": "11.4.1.2"}, TENSORRT),
        ((8, 6), {"tensorrt_rtx": "1.7.1.116"}, TENSORRT_RTX),
        ((8, 6), {"tensorrt": "8.6.1", "tensorrt_rtx": "1.8.0.1"}, TENSORRT_RTX),
        ((9, 0), {"tensorrt": "10.13.0.35", "tensorrt_rtx": "1.7.1.116"}, TENSORRT),
    ],
)
def test_library_is_the_installed_one_that_fits(
    nothing_installed: None,
    capability: tuple[int, int],
    installed: dict[str, str],
    chosen: Library,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, version in installed.items():
        install(name, f"__version__ = '{version}'", tmp_path, monkeypatch)
    assert choose_library(capability, "13.0") == (chosen, installed[chosen.module])


def test_tensorrt_for_rtx_is_not_for_data_centers(
    nothing_installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("tensorrt_rtx", "__version__ = '1.7.1.116'", tmp_path, monkeypatch)
    reason = r"TensorRT for RTX does not support sm90: '.* -m pip install -U tensorrt-cu12'"
    with pytest.raises(InferenceError, match=reason):
        choose_library((9, 0), "12.8")


@pytest.fixture
def geforce(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU in PyTorch of which only the properties are used."""
    gpu = SimpleNamespace(
        name="NVIDIA GeForce RTX 3060", major=8, minor=6, multi_processor_count=28
    )
    monkeypatch.setattr(cuda, "has_cuda_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)


def test_identity_has_library_version_and_gpu(
    geforce: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # as if not installed
    assert TensorRTBackend.identity("auto") == (
        f"tensorrt_rtx {trt.__version__}, NVIDIA GeForce RTX 3060, compute capability 8.6, "
        "28 multiprocessors"
    )


class StandIn:
    """Replaces an engine, which needs a GPU: labels of ONNX Runtime or wrong ones, and kernels."""

    onnx = b""
    right = True
    kept: ClassVar[list[bytes]] = []

    def __init__(
        self, tensorrt: "TensorRT", serialized: bytes, device: torch.device, kernels: bytes = b""
    ) -> None:
        assert len(serialized) > 10_000
        StandIn.kept.append(kernels)

    def run(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        labels = ExactRunner(StandIn.onnx)(images)
        return (labels if StandIn.right else 1 - labels.clip(0, 1),)

    def kernels(self) -> bytes:
        return b"compiled"


@pytest.fixture
def engine_in_onnx_runtime(
    model: Model, options: EngineOptions, geforce: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    from bisenet_ros.inference import tensorrt_engine

    graph = build_onnx(
        model,
        resolution=options.resolution,
        precision=options.precision,
        batch_size=options.batch_size,
    )
    monkeypatch.setattr(StandIn, "onnx", graph.SerializeToString())
    monkeypatch.setattr(StandIn, "kept", [])
    monkeypatch.setattr(tensorrt_engine, "Engine", StandIn)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # as if not installed


class Counting(ParityCheck):
    """Records the results of all comparisons."""

    def __init__(self, model: Model, options: EngineOptions) -> None:
        super().__init__(model, options.resolution, options.batch_size)
        self.compared: list[Parity] = []

    def __call__(self, *arguments: Any) -> Parity:
        self.compared.append(super().__call__(*arguments))
        return self.compared[-1]


@pytest.mark.parametrize("options", [1, 3], ids=["one image", "batch"], indirect=True)
def test_engine_that_was_built_ahead_is_found_and_proven_once(
    model: Model,
    options: EngineOptions,
    engine_in_onnx_runtime: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    build_for(model, options, ["sm86"])
    caplog.clear()
    caplog.set_level(logging.INFO)
    check = Counting(model, options)
    for _ in range(2):
        backend = TensorRTBackend(model, options, check)
        assert [backend.parity] == check.compared
        assert (backend.name, backend.arithmetic) == ("tensorrt_rtx", "tensorrt_rtx sm_86")
        backend.close()
    assert check.compared[0].equal > 0.99
    assert "building an engine" not in caplog.text
    assert StandIn.kept == [b"", b"compiled"]


def test_engine_is_proven_on_each_gpu(
    model: Model,
    options: EngineOptions,
    engine_in_onnx_runtime: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = Counting(model, options)
    TensorRTBackend(model, options, check).close()
    other = SimpleNamespace(name="NVIDIA A10", major=8, minor=6, multi_processor_count=72)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: other)
    TensorRTBackend(model, options, check).close()
    assert len(check.compared) == 2
    assert len(EngineCache(cache_folder(options.engine_cache)).entries()) == 1
    assert StandIn.kept == [b"", b""]  # the first GPU's kernels are not used


def test_engine_that_was_not_proven_is_refused_at_each_start(
    model: Model,
    options: EngineOptions,
    engine_in_onnx_runtime: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(StandIn, "right", False)
    for _ in range(2):
        with pytest.raises(ParityError, match="discarding the TensorRT for RTX engine"):
            TensorRTBackend(model, options)
    monkeypatch.setattr(StandIn, "right", True)
    assert TensorRTBackend(model, options).parity.wrong < 0.01


def test_engine_that_the_gpu_has_no_memory_for_is_an_error() -> None:
    from bisenet_ros.inference.tensorrt_engine import Engine

    runtime = SimpleNamespace(deserialize_cuda_engine=lambda serialized: b"loaded")
    tensorrt: Any = SimpleNamespace(
        api=SimpleNamespace(Runtime=object),
        start=lambda kind: runtime,
        error=lambda: " (out of memory)",
        library=SimpleNamespace(create_context=lambda engine, kernels: (None, bytes)),
    )
    with pytest.raises(
        InferenceError,
        match=r"^cuda:0 has too little memory left for the engine \(out of memory\): ",
    ):
        Engine(tensorrt, b"", torch.device("cuda", 0))


def test_what_is_missing_for_the_gpu_is_named(
    model: Model, options: EngineOptions, geforce: None, nothing_installed: None
) -> None:
    with pytest.raises(InferenceError, match="pip install -U tensorrt-rtx-cu1"):
        load_backend(model, replace(options, backend="tensorrt"))


def test_a_device_that_is_not_there_is_named(model: Model, options: EngineOptions) -> None:
    absent = EngineOptions(resolution=options.resolution, device="cuda:99")
    with pytest.raises(InferenceError, match="device 'cuda:99' not found"):
        TensorRTBackend(model, absent)


@pytest.mark.parametrize("device", ["cpu", "gpu", "cuda:x", "cuda:-1"])
def test_other_devices_are_refused(model: Model, options: EngineOptions, device: str) -> None:
    with pytest.raises(InferenceError, match=rf"device '{device}' is not supported by tensorrt"):
        TensorRTBackend(model, EngineOptions(resolution=options.resolution, device=device))


# On a GPU.


@pytest.fixture(autouse=True)
def _needs(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu") is None:
        return
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    try:
        TensorRTBackend.identity("auto")
    except InferenceError as error:
        pytest.skip(str(error))


@pytest.fixture
def shipped() -> Model:
    return model_file.load(model_path(""))


@pytest.fixture
def backend(shipped: Model, tmp_path: Path) -> Iterator[TensorRTBackend]:
    size = shipped.metadata.resolution
    options = EngineOptions(
        resolution=size, precision="fp32", confidence=True, engine_cache=tmp_path
    )
    backend = TensorRTBackend(shipped, options)
    yield backend
    backend.close()


def street(size: tuple[int, int], frame: int = 0) -> np.ndarray:
    return Street(7, *size).frame(frame)[0]


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.99), ("fp16", 0.99), ("int8", 0.97)])
def test_gpu_labels_are_those_of_torch(
    shipped: Model, tmp_path: Path, precision: str, least: float
) -> None:
    size = shipped.metadata.resolution
    backend = TensorRTBackend(
        shipped, EngineOptions(resolution=size, precision=precision, engine_cache=tmp_path)
    )
    reference = TorchBackend(
        shipped, EngineOptions(resolution=size, device="cpu", precision="fp32")
    )
    image = street(size)
    (labels,) = backend.run(image[None])
    assert (backend.device, backend.precision) == ("cuda:0", precision)
    assert (labels == reference.run(image[None])[0]).mean() >= least
    backend.close()


@pytest.mark.gpu
def test_gpu_batch_is_labeled_like_its_images(
    shipped: Model, backend: TensorRTBackend, tmp_path: Path
) -> None:
    size = shipped.metadata.resolution
    options = EngineOptions(
        resolution=size, precision="fp32", batch_size=3, confidence=True, engine_cache=tmp_path
    )
    images = np.stack([street(size, frame) for frame in (0, 60, 120)])
    together = TensorRTBackend(shipped, options)
    for place, labels in enumerate(together.run(images)[0]):
        (alone,), _ = backend.run(images[place : place + 1])
        assert (labels == alone).mean() >= 0.99
    together.close()


@pytest.mark.gpu
def test_gpu_confidence_is_that_of_torch(shipped: Model, backend: TensorRTBackend) -> None:
    size = shipped.metadata.resolution
    options = EngineOptions(resolution=size, device="cpu", precision="fp32", confidence=True)
    image = street(size)
    _, confidence = backend.run(image[None])
    _, reference = TorchBackend(shipped, options).run(image[None])
    difference = np.abs(confidence.astype(int) - reference)
    assert (difference <= 8).mean() >= 0.99


@pytest.mark.gpu
def test_gpu_results_are_the_caller_s(shipped: Model, backend: TensorRTBackend) -> None:
    size = shipped.metadata.resolution
    first = backend.run(street(size)[None])
    before = [output.copy() for output in first]
    backend.run(street(size, frame=60)[None])
    assert all(np.array_equal(a, b) for a, b in zip(first, before, strict=True))


@pytest.mark.gpu
def test_gpu_engine_is_built_once(
    model: Model, options: EngineOptions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    image = street(options.resolution)
    first = TensorRTBackend(model, options)
    labels = first.run(image[None])
    first.close()
    assert "building an engine with TensorRT" in caplog.text
    caplog.clear()
    second = TensorRTBackend(model, options)
    assert np.array_equal(second.run(image[None]), labels)
    second.close()
    assert "building an engine with TensorRT" not in caplog.text


@pytest.mark.gpu
def test_gpu_engine_that_tensorrt_refuses_is_built_again(
    model: Model, options: EngineOptions, caplog: pytest.LogCaptureFixture
) -> None:
    TensorRTBackend(model, options).close()
    cache = EngineCache(cache_folder(options.engine_cache))
    (key,) = (entry.key for entry in cache.entries())
    assert key is not None
    cache.entries()[0].path.unlink()
    cache.get(key, lambda: pack(asdict(Parity(1, 0)), b"whole, and no engine"), bytes)
    backend = TensorRTBackend(model, options)
    assert "does not load the engine" in caplog.text
    backend.run(street(options.resolution)[None])
    backend.close()
    assert cache.entries()[0].size > 10_000


@pytest.mark.gpu
def test_gpu_engine_that_disagrees_with_torch_is_thrown_away(
    model: Model, options: EngineOptions, tmp_path: Path
) -> None:
    from bisenet_ros.inference.tensorrt_engine import Engine

    def wrong(engine: Engine, image: np.ndarray) -> tuple[np.ndarray, ...]:
        return (image[..., 0],)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "run", wrong)
        # TensorRT's engine is not stored; that of TensorRT for RTX is, and fails at each start.
        for _ in range(2):
            with pytest.raises(InferenceError, match=r"discarding the TensorRT.* engine"):
                TensorRTBackend(model, options)
    for entry in EngineCache(cache_folder(options.engine_cache)).entries():
        assert entry.key is not None
        assert entry.key["backend"].startswith("tensorrt_rtx ")


@pytest.mark.gpu
def test_gpu_file_that_tensorrt_cannot_read_is_an_error() -> None:
    from bisenet_ros.inference.tensorrt_engine import start_tensorrt

    library, _ = choose_library(torch.cuda.get_device_capability(), torch.version.cuda)
    with pytest.raises(InferenceError, match="cannot read the network"):
        start_tensorrt(library).build(b"not an ONNX file", "sm86")


@pytest.fixture
def rtx() -> str:
    """The name of the GPU for TensorRT for RTX, where that is the library."""
    capability = torch.cuda.get_device_capability()
    if choose_library(capability, torch.version.cuda)[0] is not TENSORRT_RTX:
        pytest.skip("TensorRT serves this GPU, not TensorRT for RTX")
    return target(capability)


@pytest.mark.gpu
def test_gpu_engine_that_was_built_ahead_is_found_and_proven_once(
    model: Model, options: EngineOptions, rtx: str, caplog: pytest.LogCaptureFixture
) -> None:
    build_for(model, options, [rtx])
    caplog.clear()
    caplog.set_level(logging.INFO)
    check = Counting(model, options)
    for _ in range(2):
        backend = TensorRTBackend(model, options, check)
        assert [backend.parity] == check.compared
        backend.close()
    assert "building an engine" not in caplog.text


@pytest.mark.gpu
def test_gpu_kernels_are_kept(model: Model, options: EngineOptions, rtx: str) -> None:
    TensorRTBackend(model, options).close()
    (file,) = cache_folder(options.engine_cache).glob("*.kernels")
    assert file.stat().st_size > 1_000


@pytest.mark.gpu
def test_gpu_memory_is_given_back(shipped: Model, tmp_path: Path) -> None:
    def used() -> int:
        """Used memory of the whole GPU: PyTorch's allocator does not count TensorRT's."""
        free, total = torch.cuda.mem_get_info()
        return total - free

    options = EngineOptions(resolution=(1024, 512), precision="fp16", engine_cache=tmp_path)
    TensorRTBackend(shipped, options).close()
    before = used()
    backend = TensorRTBackend(shipped, options)
    taken = used() - before
    backend.close()
    assert taken > 0
    assert used() - before <= taken / 10
