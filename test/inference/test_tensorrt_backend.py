"""What of the TensorRT backend needs no GPU, and, marked ``gpu``, what does."""

import ast
import importlib
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from bisenet_ros import model_file
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.engine_cache import EngineCache, cache_folder, pack
from bisenet_ros.inference.errors import InferenceError
from bisenet_ros.inference.parity import Parity
from bisenet_ros.inference.selection import load_backend
from bisenet_ros.inference.tensorrt_backend import TensorRTBackend
from bisenet_ros.inference.torch_backend import TorchBackend
from bisenet_ros.model_file import Model
from bisenet_ros.resources import model_path
from bisenet_ros.synthetic.street import Street

SOURCES = ("tensorrt_backend.py", "tensorrt_engine.py")
PACKAGE = Path(importlib.import_module("bisenet_ros.inference").__file__ or "").parent

# What TensorRT 11 has removed, by the class that had it. Sources: "Removed Python APIs and
# Replacements" of NVIDIA's migration guide from 10.x to 11.x
# (docs.nvidia.com/deeplearning/tensorrt/11.4.0/api/migration/
# tensorrt-10x-to-11x-python-api-reference.html), and all that the Python bindings of
# github.com/NVIDIA/TensorRT (python/src) have in release/10.3, 10.13 or 10.16 and not in 11.1.
REMOVED_VALUES = {
    "BuilderFlag": """FP16 INT8 FP8 BF16 INT4 FP4 OBEY_PRECISION_CONSTRAINTS
        PREFER_PRECISION_CONSTRAINTS DIRECT_IO REJECT_EMPTY_ALGORITHMS WEIGHTLESS""",
    "NetworkDefinitionCreationFlag": "EXPLICIT_BATCH",
    "PreviewFeature": "MULTIDEVICE_RUNTIME_10_16 PROFILE_SHARING_0806",
    "TacticSource": "CUBLAS CUBLAS_LT CUDNN",
}
REMOVED_TYPES = [
    "CalibrationAlgoType",
    "IAlgorithm",
    "IAlgorithmContext",
    "IAlgorithmIOInfo",
    "IAlgorithmSelector",
    "IAlgorithmVariant",
    "IInt8Calibrator",
    "IInt8EntropyCalibrator",
    "IInt8EntropyCalibrator2",
    "IInt8LegacyCalibrator",
    "IInt8MinMaxCalibrator",
    "IStreamReader",
    "QuantizationFlag",
]
REMOVED_MEMBERS = {
    "Builder": "platform_has_fast_fp16 platform_has_fast_int8 platform_has_tf32",
    "IBuilderConfig": """int8_calibrator algorithm_selector set_calibration_profile
        get_calibration_profile set_quantization_flag get_quantization_flag clear_quantization_flag
        quantization_flags""",
    "ICudaEngine": """device_memory_size get_device_memory_size_for_profile
        create_execution_context_without_device_memory has_implicit_batch_dimension
        minimum_weight_streaming_budget weight_streaming_budget""",
    "IExecutionContext": "all_shape_inputs_specified",
    "ILayer": """precision precision_is_set reset_precision set_output_type output_type_is_set
        reset_output_type""",
    "INormalizationLayer": "compute_precision",
    "ITensor": "dynamic_range set_dynamic_range reset_dynamic_range",
    "IPluginRegistry": "get_plugin_creator plugin_creator_list",
    "OnnxParser": "parse_with_weight_descriptors supports_model",
    "Refitter": "get_dynamic_range set_dynamic_range get_tensors_with_dynamic_range",
}
OURS = ("self", "options")
"""Objects that TensorRT has no part in, though they have a ``precision`` too."""


def removed_names(source: str) -> set[str]:
    """The names in Python code that TensorRT 11 has no more."""
    found = set()
    members = {name for names in REMOVED_MEMBERS.values() for name in names.split()}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name | ast.alias):
            name, owner = (node.id if isinstance(node, ast.Name) else node.name), ""
        elif isinstance(node, ast.Attribute):
            name, owner = node.attr, ast.unparse(node.value).rpartition(".")[2]
        else:
            continue
        if (
            name in REMOVED_TYPES
            or name in REMOVED_VALUES.get(owner, "").split()
            or (isinstance(node, ast.Attribute) and name in members and owner not in OURS)
        ):
            found.add(name)
    return found


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("config.set_flag(trt.BuilderFlag.FP16)", "FP16"),
        ("from tensorrt import IInt8Calibrator", "IInt8Calibrator"),
        ("class Calibrator(trt.IInt8EntropyCalibrator2): pass", "IInt8EntropyCalibrator2"),
        ("config.int8_calibrator = None", "int8_calibrator"),
        ("network.get_layer(0).precision = trt.float16", "precision"),
        ("flags = 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)", "EXPLICIT_BATCH"),
    ],
)
def test_removed_names_are_found(source: str, name: str) -> None:
    assert removed_names(source) == {name}


def test_names_that_remain_are_not_removed_ones() -> None:
    assert (
        removed_names("trt.DataType.FP8; trt.float16; self.precision; network.mark(FP16)") == set()
    )


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_is_used_that_tensorrt_11_has_removed(name: str) -> None:
    assert removed_names((PACKAGE / name).read_text()) == set()


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


def test_nothing_but_the_engine_imports_tensorrt_at_once() -> None:
    importers = [
        path.name
        for path in PACKAGE.glob("*.py")
        if any(
            isinstance(node, ast.Import) and node.names[0].name == "tensorrt"
            for node in ast.parse(path.read_text()).body
        )
    ]
    assert importers == ["tensorrt_engine.py"]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Model:
    return model_file.load(tiny_model)


@pytest.fixture
def options(model: Model, tmp_path: Path) -> EngineOptions:
    return EngineOptions(model.metadata.resolution, precision="fp32", cache=tmp_path)


def install(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a package tensorrt of ``source`` the one that is imported."""
    (folder / "tensorrt").mkdir()
    (folder / "tensorrt" / "__init__.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # so that the next line is undone fully
    monkeypatch.delitem(sys.modules, "tensorrt")


def test_a_missing_tensorrt_is_named_with_the_remedy(
    model: Model, options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # as if not installed
    with pytest.raises(InferenceError, match=r"cannot be imported .*pip install tensorrt-cu13"):
        load_backend("tensorrt", model, options)


def test_missing_libraries_are_named_with_the_remedy(
    model: Model, options: EngineOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("raise OSError('libnvinfer.so.10: cannot open')", tmp_path, monkeypatch)
    with pytest.raises(InferenceError, match=r"libnvinfer\.so\.10.*pip install tensorrt-cu13"):
        TensorRTBackend(model, options)


@pytest.mark.parametrize("version", ["8.6.1", "10.2.0.19", "12.0.0.1"])
def test_other_versions_are_refused(
    model: Model,
    options: EngineOptions,
    version: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(f"__version__ = '{version}'", tmp_path, monkeypatch)
    with pytest.raises(InferenceError, match=rf"{version} is installed; 10\.3 up to 11\.x"):
        TensorRTBackend(model, options)


@pytest.mark.parametrize("version", ["10.3.0", "10.13.0.35", "11.4.1.2"])
def test_a_device_that_is_not_there_is_named(
    model: Model,
    options: EngineOptions,
    version: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(f"__version__ = '{version}'", tmp_path, monkeypatch)
    absent = EngineOptions(options.resolution, device="cuda:99")
    with pytest.raises(InferenceError, match="device 'cuda:99' is not there"):
        TensorRTBackend(model, absent)


@pytest.mark.parametrize("device", ["cpu", "gpu", "cuda:x", "cuda:-1"])
def test_other_devices_are_refused(model: Model, options: EngineOptions, device: str) -> None:
    with pytest.raises(InferenceError, match=rf"device '{device}' is not for tensorrt"):
        TensorRTBackend(model, EngineOptions(options.resolution, device=device))


# On a GPU.


@pytest.fixture(autouse=True)
def _needs(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu") is None:
        return
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")


@pytest.fixture
def shipped() -> Model:
    return model_file.load(model_path(""))


@pytest.fixture
def backend(shipped: Model, tmp_path: Path) -> Iterator[TensorRTBackend]:
    size = shipped.metadata.resolution
    options = EngineOptions(size, precision="fp32", confidence=True, cache=tmp_path)
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
    backend = TensorRTBackend(shipped, EngineOptions(size, precision=precision, cache=tmp_path))
    reference = TorchBackend(shipped, EngineOptions(size, device="cpu", precision="fp32"))
    image = street(size)
    (labels,) = backend.run(image)
    assert (backend.device, backend.precision) == ("cuda:0", precision)
    assert (labels == reference.run(image)[0]).mean() >= least
    backend.close()


@pytest.mark.gpu
def test_gpu_confidence_is_that_of_torch(shipped: Model, backend: TensorRTBackend) -> None:
    size = shipped.metadata.resolution
    options = EngineOptions(size, device="cpu", precision="fp32", confidence=True)
    image = street(size)
    _, confidence = backend.run(image)
    _, reference = TorchBackend(shipped, options).run(image)
    difference = np.abs(confidence.astype(int) - reference)
    assert (difference <= 8).mean() >= 0.99


@pytest.mark.gpu
def test_gpu_results_are_the_caller_s(shipped: Model, backend: TensorRTBackend) -> None:
    size = shipped.metadata.resolution
    first = backend.run(street(size))
    before = [output.copy() for output in first]
    backend.run(street(size, frame=60))
    assert all(np.array_equal(a, b) for a, b in zip(first, before, strict=True))


@pytest.mark.gpu
def test_gpu_engine_is_built_once(
    model: Model, options: EngineOptions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    image = street(options.resolution)
    first = TensorRTBackend(model, options)
    labels = first.run(image)
    first.close()
    assert "building a TensorRT engine" in caplog.text
    caplog.clear()
    second = TensorRTBackend(model, options)
    assert np.array_equal(second.run(image), labels)
    second.close()
    assert "building a TensorRT engine" not in caplog.text


@pytest.mark.gpu
def test_gpu_engine_that_tensorrt_refuses_is_built_again(
    model: Model, options: EngineOptions, caplog: pytest.LogCaptureFixture
) -> None:
    TensorRTBackend(model, options).close()
    cache = EngineCache(cache_folder(options.cache))
    (key,) = (entry.key for entry in cache.entries())
    assert key is not None
    cache.entries()[0].path.unlink()
    cache.get(key, lambda: pack(asdict(Parity(1, 0)), b"whole, and no engine"), bytes)
    backend = TensorRTBackend(model, options)
    assert "is not used and built again: TensorRT does not load the engine" in caplog.text
    backend.run(street(options.resolution))
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
        with pytest.raises(InferenceError, match="discarding the TensorRT engine"):
            TensorRTBackend(model, options)
    assert EngineCache(cache_folder(options.cache)).entries() == []


@pytest.mark.gpu
def test_gpu_file_that_tensorrt_cannot_read_is_an_error() -> None:
    from bisenet_ros.inference.tensorrt_engine import build_engine

    with pytest.raises(InferenceError, match="cannot read the network"):
        build_engine(b"not an ONNX file")


@pytest.mark.gpu
def test_gpu_memory_is_given_back(shipped: Model, tmp_path: Path) -> None:
    import torch

    def used() -> int:
        """Of the whole GPU, since TensorRT does not ask PyTorch for its memory."""
        free, total = torch.cuda.mem_get_info()
        return total - free

    options = EngineOptions((1024, 512), precision="fp16", cache=tmp_path)
    TensorRTBackend(shipped, options).close()
    before = used()
    backend = TensorRTBackend(shipped, options)
    taken = used() - before
    backend.close()
    assert taken > 0
    assert used() - before <= taken / 10
