"""Fixtures of the node's tests, which import ROS only when used."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from node_fixture import Bench


@pytest.fixture(scope="session")
def shared_bench(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator["Bench"]:
    """One process for many tests, since PyTorch loads for seconds."""
    from node_fixture import Bench, start_process

    log = tmp_path_factory.mktemp("node") / "node.log"
    with start_process(log, {"model": str(tiny_model)}) as process:
        bench = Bench(process, tiny_model)
        yield bench
        bench.close()
        assert process.stop() == 0
    assert "Traceback" not in log.read_text()


@pytest.fixture
def bench(shared_bench: "Bench") -> "Bench":
    """The shared node, unconfigured and with default parameters."""
    shared_bench.reset()
    return shared_bench
