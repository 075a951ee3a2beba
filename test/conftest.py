"""Fixtures of all tests: their own ROS domain, a small model and small datasets."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_model import make_model

from bisenet_ros.synthetic import CLASS_NAMES

Sample = tuple[NDArray[np.uint8], NDArray[np.uint8]]
Write = Callable[[list[Sample]], Path]

# ctest runs several files and folders in parallel, perhaps beside other users' nodes: each process
# claims its own domain, which the nodes that it starts inherit. Domains above 100 overlap with
# Linux's ephemeral ports.
DOMAINS = range(20, 101)


def take_domain() -> tuple[int, socket.socket]:
    """Return a domain that no other test process uses, and the socket that claims it."""
    # Start at varying domains: nodes of a process that has just ended are discovered for a while.
    first = os.getpid() % len(DOMAINS)
    for domain in (*DOMAINS[first:], *DOMAINS[:first]):
        claim = socket.socket(socket.AF_UNIX)
        try:
            # An abstract address is unique in its network namespace, like the ports of a domain,
            # and is released whenever its process ends.
            claim.bind(f"\0bisenet_ros test domain {domain}")
        except OSError:
            claim.close()
        else:
            return domain, claim
    raise RuntimeError(f"all domains from {DOMAINS[0]} to {DOMAINS[-1]} are used by other tests")


domain, domain_claim = take_domain()
os.environ["ROS_DOMAIN_ID"] = str(domain)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

# Under nohup or in the background (&) these signals are ignored. Child processes would inherit
# that, but they do not inherit a handler.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep engines of tests, and of nodes that they start, out of the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Limit PyTorch to one thread: with small tensors more threads only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model file written by ``make_model``."""
    return make_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture
def write_folder(tmp_path: Path) -> Write:
    """Return a function that writes samples as a dataset of two classes and returns its root."""

    def write(samples: list[Sample]) -> Path:
        root = tmp_path / "data"
        for name in ("images", "labels"):
            (root / name).mkdir(parents=True)
        (root / "classes.txt").write_text("0 dark 10 20 30\n1 bright 200 210 220\n")
        for number, (image, labels) in enumerate(samples):
            assert cv2.imwrite(str(root / "images" / f"{number:03}.png"), image[..., ::-1])
            assert cv2.imwrite(str(root / "labels" / f"{number:03}.png"), labels)
        return root

    return write


@pytest.fixture
def two_tone(write_folder: Write) -> Path:
    """Write five noisy 64x64 images of 16-pixel blocks, labeled 0 if dark and 1 if bright."""
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(5):
        labels = rng.integers(0, 2, (4, 4), np.uint8).repeat(16, axis=0).repeat(16, axis=1)
        noise = rng.integers(0, 40, (64, 64, 3), np.uint8)
        samples.append((np.uint8(40) + np.uint8(150) * labels[..., None] + noise, labels))
    return write_folder(samples)


@pytest.fixture
def street_like(two_tone: Path) -> Path:
    """Write ``two_tone`` with the classes of the synthetic street, so that both can be mixed."""
    lines = [f"{id_} {name} {id_} 0 0\n" for id_, name in enumerate(CLASS_NAMES)]
    (two_tone / "classes.txt").write_text("".join(lines))
    return two_tone
