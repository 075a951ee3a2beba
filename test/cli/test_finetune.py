"""``bisenet train --init`` with one's own classes keeps what fits, as docs/training.md has it."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bisenet_ros import model_file
from bisenet_ros.classes import SemanticClass
from bisenet_ros.cli.main import main
from bisenet_ros.network import PRESETS, BiSeNetV2
from bisenet_ros.resources import share_directory
from bisenet_ros.synthetic import CLASS_NAMES, TRAINING_SEEDS, Street

CONFIG = share_directory() / "config" / "training" / "finetune.yaml"
SIZE = 128, 96


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four synthetic streets, road or not."""
    root = tmp_path_factory.mktemp("streets")
    (root / "classes.txt").write_text("0 other 60 60 60\n1 road 128 64 128\n")
    for name in ("images", "labels"):
        (root / "train" / name).mkdir(parents=True)
    for seed in TRAINING_SEEDS[:4]:
        image, labels = Street(seed, *SIZE).frame(0)
        road = (labels == CLASS_NAMES.index("road")).astype(np.uint8)
        assert cv2.imwrite(str(root / "train" / "images" / f"{seed}.png"), image[..., ::-1])
        assert cv2.imwrite(str(root / "train" / "labels" / f"{seed}.png"), road)
    return root


@pytest.fixture(scope="module")
def street_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the street's eleven classes, with a narrow head."""
    torch.manual_seed(0)
    architecture = replace(PRESETS["bisenetv2"], num_classes=len(CLASS_NAMES), head_channels=16)
    metadata = model_file.Metadata(
        preset="bisenetv2",
        architecture=architecture,
        classes=tuple(SemanticClass(k, name, (k, k, k)) for k, name in enumerate(CLASS_NAMES)),
        mean=(0.4, 0.45, 0.5),
        std=(0.2, 0.25, 0.3),
        resolution=SIZE,
        recipe={"seed": 7},
    )
    path = tmp_path_factory.mktemp("street") / "street_model.safetensors"
    model_file.save(path, BiSeNetV2(architecture), metadata)
    return path


def test_other_classes_keep_all_but_the_last_layer(
    streets: Path, street_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    line = ["train", "--data", str(streets), "--output", str(tmp_path), "--config", str(CONFIG)]
    line += ["--init", str(street_model)]
    settings = {"iterations": 2, "batch_size": 2, "crop": "[64, 64]", "precision": "fp32"}
    # So small a rate that what was kept stays what it was.
    settings |= {"learning_rate": 1e-9, "weight_decay": 0, "resolution": "[128, 96]", "workers": 1}
    for name, value in settings.items():
        line += ["--set", f"{name}={value}"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main(line) == 0
    finally:
        torch.set_num_threads(threads)
    assert caplog.text.count("not taken from street_model, trained anew: ") == 1
    assert "trained anew: head.2.weight, head.2.bias\n" in caplog.text

    before = model_file.load(street_model)
    after = model_file.load(tmp_path / "model.safetensors")
    assert [entry.name for entry in after.metadata.classes] == ["other", "road"]
    assert after.metadata.mean == before.metadata.mean
    assert after.metadata.architecture == replace(before.metadata.architecture, num_classes=2)
    assert after.metadata.recipe["init"] == {"seed": 7}
    kept = dict(before.network.named_parameters())
    for name, parameter in after.network.named_parameters():
        if name.startswith("head.2"):
            assert parameter.shape[0] == 2
        else:
            assert torch.allclose(parameter, kept[name], atol=1e-6), name
