"""What ``bisenet export`` does with the engine cache."""

from pathlib import Path

import pytest

from bisenet_ros.cli.cached_engines import clear_engines, list_engines, prebuild
from bisenet_ros.errors import EngineCacheError
from bisenet_ros.inference.engine_cache import EngineCache, cache_folder

KEY = {
    "backend": "tensorrt 10.13.0.35",
    "model": "street",
    "resolution": "1024x512",
    "precision": "fp16",
    "confidence": "yes",
    "device": "NVIDIA L4, compute capability 8.9",
    "onnx": "1234",
}


def test_an_empty_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    list_engines(tmp_path)
    clear_engines(tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        f"0 engines, 0.0 MB, in {tmp_path}/engines",
        f"0 engines deleted from {tmp_path}/engines",
    ]


def test_engines_are_listed_and_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = EngineCache(cache_folder(tmp_path))
    cache.get(KEY, lambda: bytes(2_000_000), bytes)
    list_engines(tmp_path)
    (engine,) = (entry.path for entry in cache.entries())
    engine.write_bytes(engine.read_bytes()[:-1_000_000])
    list_engines(tmp_path)
    clear_engines(tmp_path)
    whole, total, damaged, *_, cleared = capsys.readouterr().out.splitlines()
    assert whole == (
        "     2.0 MB  tensorrt 10.13.0.35, street, 1024x512, fp16, NVIDIA L4, compute capability "
        "8.9, with confidence"
    )
    assert total == f"1 engine, 2.0 MB, in {tmp_path}/engines"
    assert damaged.startswith("     1.0 MB  unusable: its checksum is wrong")
    assert cleared == f"1 engine deleted from {tmp_path}/engines"
    assert cache.entries() == []


def test_an_unsafe_cache_is_an_error(tmp_path: Path) -> None:
    cache_folder(tmp_path).mkdir()
    cache_folder(tmp_path).chmod(0o777)
    with pytest.raises(EngineCacheError, match="chmod go-w"):
        list_engines(tmp_path)
    with pytest.raises(EngineCacheError, match="chmod go-w"):
        clear_engines(tmp_path)


def test_an_engine_is_built_in_advance(
    tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from bisenet_ros.inference.backend import EngineOptions
    from bisenet_ros.model import file as model_file

    model = model_file.load(tiny_model)
    options = EngineOptions(
        resolution=model.metadata.resolution, precision="fp32", engine_cache=tmp_path
    )
    prebuild("openvino", model, options)
    assert capfd.readouterr().out == ("openvino has an engine of tiny for cpu in fp32 at 128x64\n")
    list_engines(tmp_path)
    assert ", tiny, 128x64, fp32, " in capfd.readouterr().out
    (built,) = EngineCache(cache_folder(tmp_path)).entries()
    prebuild("openvino", model, options)
    assert EngineCache(cache_folder(tmp_path)).entries() == [built]
