"""A start with an engine in the cache: without PyTorch, and with no outdated engine."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import bisenet_ros
from bisenet_ros.deploy import onnx
from bisenet_ros.deploy.calibration import calibrate
from bisenet_ros.errors import InferenceError
from bisenet_ros.inference import graph
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.engine_cache import EngineCache, cache_folder
from bisenet_ros.inference.graph import Graph, exporter_digest
from bisenet_ros.inference.openvino_backend import OpenVINOBackend
from bisenet_ros.inference.selection import load_backend
from bisenet_ros.model import file as model_file
from bisenet_ros.model.file import Model
from bisenet_ros.synthetic.street import Street

torch.set_num_threads(1)

SIZE = 64, 32

NEEDLESS = {"torch", "onnx", "onnxruntime", "safetensors.torch", "matplotlib", "scipy", "PIL"}
"""Libraries that only building an engine, or other commands, need."""

START = """
import sys
import numpy as np
from bisenet_ros import EngineOptions, Segmenter, load_model

path, cache, backend, precision = sys.argv[1:]
options = EngineOptions(
    backend=backend, precision=precision, device="cpu", resolution=(64, 32), threads=1,
    engine_cache=cache,
)
segmenter = Segmenter(load_model(path), options)
segmenter.segment(np.zeros((32, 64, 3), np.uint8))
print(segmenter.backend.name, segmenter.backend.precision, *sys.modules)
"""


@pytest.fixture(scope="module")
def path(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a model that is calibrated."""
    model = model_file.load(tiny_model)
    ranges = calibrate(model, [Street(seed, *SIZE).frame(0)[0] for seed in (1, 2, 3)])
    path = tmp_path_factory.mktemp("calibrated") / "tiny.safetensors"
    model_file.save(path, model.network, replace(model.metadata, calibration=ranges))
    return path


@pytest.fixture
def model(path: Path) -> Model:
    return model_file.load(path)


@pytest.fixture
def options(tmp_path: Path) -> EngineOptions:
    return EngineOptions(
        resolution=SIZE, device="cpu", precision="fp32", threads=1, engine_cache=tmp_path
    )


def start(path: Path, options: EngineOptions, backend: str, precision: str) -> list[str]:
    """Return backend, precision and imported modules of a process that labels an image."""
    given = [path, options.engine_cache, backend, precision]
    command = [sys.executable, "-c", START, *map(str, given)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.split()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_engine_in_the_cache_needs_no_pytorch(
    path: Path, options: EngineOptions, precision: str
) -> None:
    built = start(path, options, "openvino", precision)
    again = start(path, options, "openvino", precision)
    assert built[:2] == again[:2] == ["openvino", precision]
    assert "torch" in built
    assert not NEEDLESS.intersection(again)


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_the_choice_of_auto_needs_no_pytorch(
    path: Path, model: Model, options: EngineOptions, precision: str
) -> None:
    def timer(engines: Any, image: object) -> list[float]:
        return [2.0 if engine.name == "torch" else 1.0 for engine in engines]

    load_backend(model, replace(options, precision=precision), timer).close()
    again = start(path, options, "auto", precision)
    assert again[0] == "openvino"
    assert not NEEDLESS.intersection(again)


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The precision of each graph that was exported."""
    exported: list[str] = []
    original = onnx.build_onnx

    def build(model: Model, **arguments: Any) -> Any:
        exported.append(arguments["precision"])
        return original(model, **arguments)

    monkeypatch.setattr(onnx, "build_onnx", build)
    return exported


def other_weights(model: Model, options: EngineOptions) -> tuple[Model, EngineOptions]:
    with torch.no_grad():
        model.network.head[2].bias += 1
    return model, options


def other_metadata(**changes: Any) -> Callable[..., tuple[Model, EngineOptions]]:
    def change(model: Model, options: EngineOptions) -> tuple[Model, EngineOptions]:
        return replace(model, metadata=replace(model.metadata, **changes)), options

    return change


def other_options(**changes: Any) -> Callable[..., tuple[Model, EngineOptions]]:
    return lambda model, options: (model, replace(options, **changes))


CHANGES = {
    "weights": other_weights,
    "mean": other_metadata(mean=(0.1, 0.2, 0.3)),
    "channel order": other_metadata(channel_order="bgr"),
    "resolution": other_options(resolution=(64, 64)),
    "confidence": other_options(confidence=True),
    "int8": other_options(precision="int8"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changes_the_engine_gives_another_one(
    path: Path,
    model: Model,
    options: EngineOptions,
    exports: list[str],
    change: Callable[..., tuple[Model, EngineOptions]],
) -> None:
    OpenVINOBackend(model, options).close()
    OpenVINOBackend(model_file.load(path), options).close()
    assert exports == ["fp32"]
    changed, with_options = change(model, options)
    OpenVINOBackend(changed, with_options).close()
    assert len(exports) == 2
    assert len(EngineCache(cache_folder(options.engine_cache)).entries()) == 2


def test_another_calibration_gives_another_int8_engine(
    model: Model, options: EngineOptions, exports: list[str]
) -> None:
    ranges = {name: 2 * value for name, value in model.metadata.calibration.items()}
    twice = replace(model, metadata=replace(model.metadata, calibration=ranges))
    for each in (model, twice, model, twice):
        OpenVINOBackend(each, replace(options, precision="int8")).close()
    assert exports == ["int8", "int8"]
    assert len(EngineCache(cache_folder(options.engine_cache)).entries()) == 2


@pytest.mark.parametrize("library", ["torch", "onnx", "onnxruntime", "numpy"])
def test_another_version_of_the_exporter_exports_again(
    model: Model,
    options: EngineOptions,
    exports: list[str],
    monkeypatch: pytest.MonkeyPatch,
    library: str,
) -> None:
    OpenVINOBackend(model, options).close()
    (engine,) = EngineCache(cache_folder(options.engine_cache)).entries()
    before = engine.path.stat()
    installed = graph.library_version
    monkeypatch.setattr(
        graph, "library_version", lambda name: "999" if name == library else installed(name)
    )
    for _ in range(2):
        OpenVINOBackend(model, options).close()
    assert len(exports) == 2
    # The graph is the same, so its engine need not be compiled again, which may take minutes.
    (engine,) = EngineCache(cache_folder(options.engine_cache)).entries()
    assert engine.path.stat().st_ino == before.st_ino


def test_another_graph_of_a_changed_exporter_gives_another_engine(
    model: Model, options: EngineOptions, exports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    OpenVINOBackend(model, options).close()
    original = onnx.build_onnx

    def build(model: Model, **arguments: Any) -> Any:
        changed = original(model, **arguments)
        changed.doc_string = "changed"
        return changed

    monkeypatch.setattr(onnx, "build_onnx", build)
    monkeypatch.setattr(graph, "exporter_digest", lambda: "changed")
    OpenVINOBackend(model, options).close()
    assert len(exports) == 2
    assert len(EngineCache(cache_folder(options.engine_cache)).entries()) == 2


@pytest.mark.parametrize("folder", ["network", "model", "deploy"])
def test_each_source_of_the_exporter_counts(tmp_path: Path, folder: str) -> None:
    package = Path(bisenet_ros.__file__).parent
    for path in package.rglob("*.py"):
        copy = tmp_path / path.relative_to(package)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    before = exporter_digest(tmp_path)
    assert before == exporter_digest(package)
    changed = sorted((tmp_path / folder).glob("*.py"))[-1]
    changed.write_text(changed.read_text() + "# changed\n")
    assert exporter_digest(tmp_path) != before


def test_without_a_cache_the_graph_is_exported(
    model: Model, options: EngineOptions, exports: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    cache = EngineCache(tmp_path / "file" / "engines")
    one, two = (Graph(model, options, cache, precision="fp32") for _ in range(2))
    assert one.digest == two.digest
    assert one.content == two.content
    assert len(exports) == 2


def test_a_new_engine_without_onnx_is_an_error_and_a_cached_one_needs_none(
    path: Path, model: Model, options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = replace(options, backend="openvino")
    load_backend(model, named).close()
    monkeypatch.setitem(sys.modules, "bisenet_ros.deploy.onnx", None)
    load_backend(model_file.load(path), named).close()
    with pytest.raises(InferenceError, match="'openvino' needs a library that cannot be imported"):
        load_backend(model, replace(named, resolution=(64, 64)))
