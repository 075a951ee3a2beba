"""What figures come from: the libraries, by whatever name they are installed."""

from pathlib import Path

import pytest
import torch

from bisenet_ros.inference.benchmark.machine import describe_machine


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-cu12", "tensorrt-cu13"])
def test_libraries(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / f"{name.replace('-', '_')}-10.13.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 10.13.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    libraries = describe_machine()["libraries"]
    assert isinstance(libraries, dict)
    assert libraries["torch"] == torch.__version__
    assert libraries[name] == "10.13.0"
