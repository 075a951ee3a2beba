"""``bisenet engines``: build, list and clear the engine cache."""

import logging
from pathlib import Path

import pytest
from refusal import refusal

from bisenet_ros.cli.main import main
from bisenet_ros.inference.engine_cache import EngineCache, cache_folder

pytestmark = pytest.mark.usefixtures("one_thread")

KEY = {
    "backend": "tensorrt 10.13.0.35",
    "model": "street",
    "resolution": "1024x512",
    "precision": "fp16",
    "confidence": "yes",
    "device": "NVIDIA L4, compute capability 8.9",
    "onnx": "1234",
}


def engines(action: str, cache: Path, *more: str) -> list[str]:
    return ["engines", action, "--engine-cache", str(cache), *more]


def test_empty_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(engines("list", tmp_path)) == 0
    assert main(engines("clear", tmp_path)) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"0 engines, 0.0 MB, in {tmp_path}/engines",
        f"deleted 0 engines from {tmp_path}/engines",
    ]


def test_list_and_clear(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = EngineCache(cache_folder(tmp_path))
    cache.get(KEY, lambda: bytes(2_000_000), bytes)
    assert main(engines("list", tmp_path)) == 0
    (engine,) = (entry.path for entry in cache.entries())
    engine.write_bytes(engine.read_bytes()[:-1_000_000])
    assert main(engines("list", tmp_path)) == 0
    assert main(engines("clear", tmp_path)) == 0
    whole, total, damaged, *_, cleared = capsys.readouterr().out.splitlines()
    assert whole == (
        "     2.0 MB  tensorrt 10.13.0.35, street, 1024x512, fp16, NVIDIA L4, compute capability "
        "8.9, with confidence"
    )
    assert total == f"1 engine, 2.0 MB, in {tmp_path}/engines"
    assert damaged.startswith("     1.0 MB  unusable: its checksum is wrong")
    assert cleared == f"deleted 1 engine from {tmp_path}/engines"
    assert cache.entries() == []


@pytest.mark.parametrize("action", ["list", "clear"])
def test_cache_writable_by_others_is_rejected(
    tmp_path: Path, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cache_folder(tmp_path).mkdir()
    cache_folder(tmp_path).chmod(0o777)
    status, message = refusal(engines(action, tmp_path), capsys)
    assert status == 1
    assert "chmod go-w" in message


def test_engine_is_built_once_for_the_same_options(
    tiny_model: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO)
    options = ["--model", str(tiny_model), "--backend", "openvino", "--precision", "fp32"]
    line = engines("build", tmp_path, *options)
    kinds = (
        ([], ""),
        (["--confidence"], ", with confidence"),
        (["--batch-size", "2", "--confidence"], ", for 2 images at once, with confidence"),
    )
    for more, suffix in kinds:
        assert main([*line, *more]) == 0
        assert capfd.readouterr().out == f"ready: tiny at 128x64 on openvino, cpu, fp32{suffix}\n"
    assert main(engines("list", tmp_path)) == 0
    listed = capfd.readouterr().out.splitlines()
    assert all(", tiny, 128x64, fp32, " in each for each in listed[:-1])
    assert sorted(each.endswith(", with confidence") for each in listed[:-1]) == [False, True, True]
    assert sum(", for 2 images at once" in each for each in listed) == 1
    built = EngineCache(cache_folder(tmp_path)).entries()
    assert main(line) == 0
    assert EngineCache(cache_folder(tmp_path)).entries() == built


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ([], "the following arguments are required: ACTION"),
        (["build", "--backend", "caffe"], "argument --backend: invalid choice: 'caffe'"),
        (["list", "--model", "a"], "unrecognized arguments: --model a"),
    ],
)
def test_wrong_usage(line: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused = refusal(["engines", *line], capsys)
    assert refused.status == 2
    assert refused.message.startswith(message)
