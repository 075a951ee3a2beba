"""The CUDA graph; tests that need a GPU are marked ``gpu``."""

import copy
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from bisenet_ros.deploy.deploy_module import DeployModule
from bisenet_ros.inference.cuda_runner import CudaRunner, fastest_kernels, graphed
from bisenet_ros.inference.torch_engine import DTYPES
from bisenet_ros.model import file as model_file
from bisenet_ros.model.file import Model
from bisenet_ros.resources import model_path
from bisenet_ros.synthetic.street import Street

SIZE = 480, 360
SHAPE = 1, 360, 480, 3

NOT_CAPTURED = """
import logging

import numpy as np
import torch

from bisenet_ros.inference.cuda_runner import CudaRunner

class RedPixels(torch.nn.Module):
    def forward(self, image):
        torch.cuda.current_stream().synchronize()  # not permitted in a capture
        return (image[..., 0].contiguous(),)

logging.basicConfig(format="%(levelname)s %(message)s")
runner = CudaRunner(RedPixels(), (1, 32, 64, 3), "cuda:0")
for seed in range(3):
    image = np.random.default_rng(seed).integers(0, 256, (32, 64, 3), np.uint8)
    (red,) = runner.run(image[None])
    np.testing.assert_array_equal(red, image[..., 0])
assert torch.cuda.current_stream() == torch.cuda.default_stream()
"""


@pytest.fixture(autouse=True)
def _needs_cuda(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")


def test_a_failed_capture_falls_back_to_plain_calls(caplog: pytest.LogCaptureFixture) -> None:
    if torch.cuda.is_available():
        pytest.skip("the CUDA of this machine captures it")
    labels = torch.arange(6)

    def call() -> tuple[Tensor, ...]:
        return (labels,)

    with caplog.at_level(logging.INFO):
        replay = graphed(call, None)  # type: ignore[arg-type]  # there is no stream without CUDA
    assert replay() == (labels,)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    message, _, reason = record.getMessage().partition(": ")
    assert message == "torch runs without a CUDA graph, which is slower"
    assert "CUDA" in reason


def test_fastest_kernels_restores_the_setting() -> None:
    with pytest.raises(KeyError), fastest_kernels():
        assert torch.backends.cudnn.benchmark is True
        raise KeyError
    assert torch.backends.cudnn.benchmark is False


# On a GPU.


@pytest.fixture(scope="module")
def model() -> Model:
    return model_file.load(model_path(""))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", list(DTYPES))
def test_gpu_graph_labels_as_plain_calls_do(
    model: Model, precision: str, caplog: pytest.LogCaptureFixture
) -> None:
    deployed = DeployModule(model, confidence=True, dtype=DTYPES[precision]).on("cuda:0")
    # The runner must keep this copy alive; if it were freed, its memory would be unmapped.
    runner = CudaRunner(copy.deepcopy(deployed), SHAPE, "cuda:0")
    torch.cuda.empty_cache()
    street = Street(7, *SIZE)
    for index in (0, 60, 0):
        image = street.frame(index)[0]
        with torch.inference_mode(), fastest_kernels():
            plain = deployed(torch.from_numpy(image[None]).to("cuda:0"))
        for output, expected in zip(runner.run(image[None]), plain, strict=True):
            np.testing.assert_array_equal(output, expected[0].cpu().numpy())
    assert "without a CUDA graph" not in caplog.text


@pytest.mark.gpu
def test_gpu_stream_is_usable_after_a_capture_that_failed() -> None:
    # In its own process, since some versions of PyTorch cannot free memory afterwards.
    done = subprocess.run(
        [sys.executable, "-c", NOT_CAPTURED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("WARNING torch runs without a CUDA graph, which is slower: ") == 1


@pytest.mark.gpu
def test_gpu_graph_gives_its_memory_back(model: Model) -> None:
    def reserved() -> int:
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved()

    deployed = DeployModule(model, dtype=torch.float16).on("cuda:0")
    CudaRunner(deployed, SHAPE, "cuda:0")  # libraries never free their first allocations
    before = reserved()
    runner = CudaRunner(deployed, SHAPE, "cuda:0")
    assert reserved() > before
    del runner
    assert reserved() == before
