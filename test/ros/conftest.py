"""Fixtures of the node's tests. Nothing of ROS is imported where no test asks for it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from node_fixture import Bench


@pytest.fixture(scope="session")
def shared_bench(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator["Bench"]:
    """One process for all tests that leave the node as they found it: PyTorch loads for seconds."""
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
    """The node, unconfigured and with default parameters, whatever the last test did."""
    shared_bench.reset()
    return shared_bench
