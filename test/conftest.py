"""What all tests share: a ROS domain of their own, and a small model."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_model import make_model

# ctest runs each folder as a process, and other people's nodes may run beside them: each process
# gets a domain, which the nodes that it starts inherit. Domains above 100 use ports that Linux
# hands out to others.
os.environ["ROS_DOMAIN_ID"] = str(20 + os.getpid() % 81)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Engines of tests, and of the nodes that they start, stay out of the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: on small tensors more of them only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file by ``make_model``."""
    return make_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")
