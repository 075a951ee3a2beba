"""Which labels of an engine count as PyTorch's."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from bisenet_ros import model_file
from bisenet_ros.inference.agreement import check_agreement
from bisenet_ros.inference.calibration import calibrate
from bisenet_ros.inference.errors import InferenceError
from bisenet_ros.inference.onnx_export import build_onnx
from bisenet_ros.model_file import Model
from bisenet_ros.synthetic.street import Street

torch.set_num_threads(1)

SIZE = 256, 128
Run = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Model:
    """Calibrated, with random weights: it is sure of nothing."""
    model = model_file.load(tiny_model)
    ranges = calibrate(model, [Street(seed, *SIZE).frame(0)[0] for seed in (1, 2, 3)])
    return replace(model, metadata=replace(model.metadata, calibration=ranges))


def engine(model: Model, precision: str) -> Run:
    graph = build_onnx(model, resolution=SIZE, precision=precision).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"image": image[None]})[0][0]


@pytest.mark.parametrize(("precision", "at_most"), [("fp32", 1), ("fp16", 0.9999), ("int8", 0.97)])
def test_right_engines_are_accepted(model: Model, precision: str, at_most: float) -> None:
    equal = check_agreement(engine(model, precision), model, SIZE, precision, "it")
    assert 0.75 < equal <= at_most


def coarse(model: Model) -> Run:
    """INT8 by a wrong calibration."""
    ranges = {name: 20 * value for name, value in model.metadata.calibration.items()}
    return engine(replace(model, metadata=replace(model.metadata, calibration=ranges)), "int8")


def shifted(run: Run) -> Run:
    return lambda image: np.roll(run(image), 4, axis=1)


@pytest.mark.parametrize(
    ("precision", "wrong"),
    [
        ("fp32", lambda model: shifted(engine(model, "fp32"))),
        ("fp16", lambda model: shifted(engine(model, "fp16"))),
        ("int8", lambda model: shifted(engine(model, "int8"))),
        ("int8", coarse),
        ("int8", lambda _: lambda image: image[..., 0] * 0),
        ("int8", lambda _: lambda image: image[..., 0] | 128),  # no classes
    ],
    ids=["fp32 shifted", "fp16 shifted", "int8 shifted", "int8 coarse", "constant", "no classes"],
)
def test_wrong_engines_are_refused(
    model: Model, precision: str, wrong: Callable[[Model], Run]
) -> None:
    with pytest.raises(InferenceError, match=rf"in {precision} \d.*%.*the file is thrown away"):
        check_agreement(wrong(model), model, SIZE, precision, "the file")
