"""Which labels of an engine agree with PyTorch's."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from parity_models import MODELS
from torch import nn

from bisenet_ros.deploy.calibration import calibrate
from bisenet_ros.deploy.deploy_module import DeployModule
from bisenet_ros.deploy.onnx import ExactRunner, build_onnx
from bisenet_ros.deploy.parity import ParityCheck, Run
from bisenet_ros.deploy.reference_images import reference_images
from bisenet_ros.errors import ParityError
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.openvino_backend import OpenVINOBackend
from bisenet_ros.inference.torch_backend import TorchBackend
from bisenet_ros.model import file as model_file
from bisenet_ros.model.file import Model
from bisenet_ros.resources import model_path
from bisenet_ros.synthetic.street import Street

torch.set_num_threads(1)

SIZE = 256, 128


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Model:
    """A calibrated model with random weights, which decides no pixel clearly."""
    model = model_file.load(tiny_model)
    ranges = calibrate(model, [Street(seed, *SIZE).frame(0)[0] for seed in (1, 2, 3)])
    return replace(model, metadata=replace(model.metadata, calibration=ranges))


def engine(model: Model, precision: str, batch_size: int = 1) -> ExactRunner:
    graph = build_onnx(model, resolution=SIZE, precision=precision, batch_size=batch_size)
    return ExactRunner(graph.SerializeToString())


@pytest.mark.parametrize(
    ("precision", "least", "most"), [("fp32", 0.999, 1), ("fp16", 0.99, 0.9999), ("int8", 0.5, 0.9)]
)
def test_right_files_are_accepted(model: Model, precision: str, least: float, most: float) -> None:
    run = engine(model, precision)
    parity = ParityCheck(model, SIZE)(run, precision, "it", run if precision == "int8" else None)
    assert least < parity.equal <= most
    assert parity.wrong <= (0.3 if precision == "int8" else 0.001)


def coarse(model: Model) -> Run:
    """INT8 with a wrong calibration."""
    ranges = {name: 20 * value for name, value in model.metadata.calibration.items()}
    return engine(replace(model, metadata=replace(model.metadata, calibration=ranges)), "int8")


def shifted(run: Run) -> Run:
    return lambda images: np.roll(run(images), 4, axis=2)


def wrong_where_bright(run: Run) -> Run:
    """Correct on an ordinary image only, like saturating INT8."""
    return lambda images: np.where(images.mean(-1) > 250, 0, run(images)).astype(np.uint8)


WRONG: dict[str, tuple[str, Callable[[Model], Run]]] = {
    "fp32 shifted": ("fp32", lambda model: shifted(engine(model, "fp32"))),
    "fp16 shifted": ("fp16", lambda model: shifted(engine(model, "fp16"))),
    "bf16 shifted": ("bf16", lambda model: shifted(engine(model, "fp32"))),
    "int8 shifted": ("int8", lambda model: shifted(engine(model, "int8"))),
    "int8 coarse": ("int8", coarse),
    "int8 bright": ("int8", lambda model: wrong_where_bright(engine(model, "int8"))),
    "constant": ("int8", lambda _: lambda images: images[..., 0] * 0),
    "no classes": ("int8", lambda _: lambda images: images[..., 0] | 128),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_engines_are_refused(model: Model, case: str) -> None:
    precision, wrong = WRONG[case]
    exact = engine(model, "int8") if precision == "int8" else None
    with pytest.raises(ParityError, match=rf"in {precision}, \d.*%.*discarding the engine"):
        ParityCheck(model, SIZE)(wrong(model), precision, "the engine", exact)


@pytest.mark.parametrize("batch_size", [2, 4, 8])
def test_every_place_of_a_batch_is_compared(model: Model, batch_size: int) -> None:
    run = engine(model, "fp32", batch_size)
    check = ParityCheck(model, SIZE, batch_size)
    calls = []

    def counted(images: np.ndarray) -> np.ndarray:
        calls.append(len(images))
        return run(images)

    assert check(counted, "fp32", "the engine").equal > 0.999
    assert calls == [batch_size] * -(-len(check.images) // batch_size)
    for place in range(batch_size):

        def one_wrong(images: np.ndarray, place: int = place) -> np.ndarray:
            labels = run(images)
            labels[place] = np.roll(labels[place], 4, axis=1)
            return labels

        with pytest.raises(ParityError):
            check(one_wrong, "fp32", "the engine")
    with pytest.raises(ParityError):
        check(lambda images: run(images)[::-1], "fp32", "the engine")


def test_a_file_in_int8_is_judged_by_the_street_alone(model: Model) -> None:
    check = ParityCheck(model, SIZE)
    right = engine(model, "int8")
    assert check(right, "int8", "the file").wrong > 0.01  # by the other images
    with pytest.raises(ParityError, match="'street'"):
        check(coarse(model), "int8", "the file")


def test_reference_images_are_of_one_size_and_always_the_same() -> None:
    for size in ((480, 360), (32, 32), (1024, 512), (40, 400)):
        images, again = reference_images(size), reference_images(size)
        assert len(images) == 6
        for name, image in images.items():
            assert (image.shape, image.dtype) == ((size[1], size[0], 3), np.uint8)
            np.testing.assert_array_equal(image, again[name])


def test_reference_images_reach_the_extremes_of_the_calibration() -> None:
    """INT8 clips above the calibrated magnitudes and saturates, if at all, close to them."""
    model = model_file.load(model_path(""))
    largest = dict.fromkeys(model.metadata.calibration, 0.0)
    deployed = DeployModule(model).eval()

    def observe(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            largest[name] = max(largest[name], float(inputs[0].abs().max()))

        return hook

    for name, module in deployed.network.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(observe(name))
    with torch.inference_mode():
        for image in reference_images(model.metadata.resolution).values():
            deployed.logits(torch.from_numpy(image[None]))
    reached = [largest[name] / limit for name, limit in model.metadata.calibration.items()]
    assert min(reached) > 0.75
    assert np.mean([share >= 1 for share in reached]) > 0.9


@pytest.mark.parametrize("name", MODELS)
def test_good_engines_of_any_model_pass(name: str, tmp_path: Path) -> None:
    """Engines of all backends have passed the check."""
    model = MODELS[name]()
    check = ParityCheck(model, SIZE)
    for backend in (OpenVINOBackend, TorchBackend):
        for precision in backend.native_precisions("cpu"):
            options = EngineOptions(
                resolution=SIZE, device="cpu", precision=precision, engine_cache=tmp_path
            )
            found = backend(model, options, check)
            limit = {"fp32": 0.0005, "bf16": 0.005}.get(precision, 1.0)
            assert found.parity.wrong <= limit, (backend, precision)
            found.close()


UNDER_AVX2 = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[2])
from parity_models import MODELS
from bisenet_ros.inference import int8_probe, openvino_backend
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.deploy.parity import ParityError
from bisenet_ros.inference.segmenter import Segmenter

assert torch.backends.cpu.get_cpu_capability() == "AVX2"
cache, size = Path(sys.argv[1]), (256, 128)
probe = int8_probe.exact_weight_bits
for name, make in MODELS.items():
    model = make()
    options = EngineOptions(
        device="cpu", precision="int8", resolution=size, engine_cache=cache / "probed"
    )
    engine = openvino_backend.OpenVINOBackend(model, options)
    print(name, engine.arithmetic)
    int8_probe.exact_weight_bits = lambda run: 8
    options = replace(options, engine_cache=cache / "8 bits")
    try:
        openvino_backend.OpenVINOBackend(model, options)
        print(name, "kept")
    except ParityError:
        print(name, "discarded")
    if name == "shipped":
        chosen = Segmenter(model, replace(options, precision="auto")).backend
        print("auto", chosen.precision)
    int8_probe.exact_weight_bits = probe
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="AVX2 is of x86")
def test_int8_that_saturates_is_discarded(tmp_path: Path) -> None:
    """On a CPU without VNNI, weights of 8 bits overflow the kernels' 16-bit sums."""
    limits = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run(
        [sys.executable, "-c", UNDER_AVX2, tmp_path, Path(__file__).parent],
        capture_output=True,
        text=True,
        env={**os.environ, **limits},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "shipped openvino avx2 7-bit",
        "shipped discarded",
        "auto fp32",
        "random openvino avx2 7-bit",
        "random discarded",
        "narrow openvino avx2 7-bit",
        "narrow discarded",
    ]
