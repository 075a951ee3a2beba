"""``bisenet evaluate``: scores on data with known ground truth, and errors."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from refusal import refusal

from bisenet_ros.cli.main import main
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.segmenter import Segmenter
from bisenet_ros.model import file as model_file

pytestmark = pytest.mark.usefixtures("one_thread")

LINES = "0 sky 1 1 1\n1 road 2 2 2\n2 pole 3 3 3\n3 tree 4 4 4\n4 car 5 5 5\n"
"""Class file of ``tiny_model``."""
SIZE = 160, 96
"""(width, height) of the images, unlike the model's resolution."""


@pytest.fixture(scope="module")
def labeled(tiny_model: Path) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return three images with the labels that ``tiny_model`` predicts."""
    model = model_file.load(tiny_model)
    segmenter = Segmenter(model, EngineOptions(backend="torch", device="cpu", precision="fp32"))
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(3):
        blocks = rng.integers(0, 256, (SIZE[1] // 16, SIZE[0] // 16, 3), np.uint8)
        image = blocks.repeat(16, axis=0).repeat(16, axis=1)
        pairs.append((image, segmenter.segment(image).labels))
    segmenter.close()
    return pairs


@pytest.fixture
def data(labeled: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]], tmp_path: Path) -> Path:
    """Write ``labeled`` as a dataset."""
    root = tmp_path / "data"
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    (root / "classes.txt").write_text(LINES)
    for number, (image, labels) in enumerate(labeled):
        assert labels.shape == (SIZE[1], SIZE[0])
        assert cv2.imwrite(str(root / "images" / f"{number}.png"), image[..., ::-1])
        assert cv2.imwrite(str(root / "labels" / f"{number}.png"), labels)
    return root


def command(data: Path, model: Path, *more: str) -> list[str]:
    line = ["evaluate", "--data", str(data), "--model", str(model), "--device", "cpu"]
    return [*line, "--backend", "torch", "--precision", "fp32", *more]


def evaluate(data: Path, model: Path, *more: str) -> int:
    return main(command(data, model, *more))


def test_14_bit_pictures_score_as_their_8_bits(
    data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (data / "images").iterdir():
        deep = np.rint(cv2.imread(str(path)) * (16383 / 255)).astype(np.uint16)
        assert cv2.imwrite(str(path), deep)
    more = ["--json", str(tmp_path / "scores.json")]
    assert evaluate(data, tiny_model, "--bit-depth", "14", *more) == 0
    assert json.loads((tmp_path / "scores.json").read_text())["pixel_accuracy"] == 1
    assert evaluate(data, tiny_model, *more) == 0
    assert json.loads((tmp_path / "scores.json").read_text())["pixel_accuracy"] < 0.9
    refused = refusal(command(data, tiny_model, "--bit-depth", "12"), capsys)
    assert "12 bits end at 4095: pass --bit-depth 14" in refused.message


def test_correct_labels_score_1(
    data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(data, tiny_model, "--json", str(tmp_path / "scores.json")) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    measures = {"miou", "pixel_accuracy", "fw_iou", "iou", "confusion"}
    context = {
        "model",
        "data",
        "split",
        "resolution",
        "images",
        "backend",
        "precision",
        "measured_on",
        "scales",
        "flip",
    }
    assert scores.keys() == measures | context
    assert (scores["model"], scores["data"]) == (str(tiny_model), str(data))
    assert scores["resolution"] == [128, 64]
    assert scores["miou"] == scores["pixel_accuracy"] == scores["fw_iou"] == 1
    assert (scores["scales"], scores["flip"]) == ([1], False)
    confusion = np.array(scores["confusion"])
    assert confusion.shape == (5, 6)
    assert confusion.diagonal().sum() == confusion.sum() == 3 * SIZE[0] * SIZE[1]
    assert scores["iou"].keys() == {"sky", "road", "pole", "tree", "car"}
    assert set(scores["iou"].values()) == {1}
    assert (scores["images"], scores["backend"], scores["precision"]) == (3, "torch", "fp32")
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["class", "IoU"]
    assert table[1].split() == ["sky", "100.00%"]
    assert ["mean", "IoU", "100.00%"] in [line.split() for line in table]
    assert table[-1] == "3 images; tiny at 128x64, torch, fp32"


def test_record_stores_scores_and_changes_nothing_else(
    data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(tiny_model.read_bytes())
    # --classes renames a class in the scores, but not in the file.
    (data / "classes.txt").write_text(LINES.replace("pole", "mast"))
    more = ["--classes", str(data / "classes.txt")]
    assert evaluate(data, copy, "--record", "blocks", *more) == 0
    before, after = model_file.load(tiny_model), model_file.load(copy)
    scores = after.metadata.scores
    assert {score.value for score in scores} == {1}
    measures = {"miou", "pixel accuracy", "fw iou"}
    measures |= {f"iou {name}" for name in ("sky", "road", "mast", "tree", "car")}
    arithmetic = f"torch {torch.backends.cpu.get_cpu_capability().lower()}"
    subjects = [score.subject for score in scores]
    assert sorted(subjects) == sorted(("blocks", each, "fp32", arithmetic) for each in measures)
    assert replace(after.metadata, scores=before.metadata.scores) == before.metadata
    for name, tensor in before.network.state_dict().items():
        assert torch.equal(tensor, after.network.state_dict()[name])

    foreign = tmp_path / "foreign.pth"
    status, message = refusal(command(data, foreign, "--record", "blocks"), capsys)
    assert status == 2
    assert (
        message == f"--record stores scores in a .safetensors model file, but {foreign} is not one"
    )
    for more in (["--multi-scale"], ["--flip"], ["--resolution", "64x64"]):
        status, message = refusal(command(data, copy, "--record", "other", *more), capsys)
        assert status == 2
        assert message.startswith("--record stores scores of the model at its own resolution")
    assert model_file.load(copy).metadata.scores == scores


def test_scores_equal_counted_pixels(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Relabel pole and car as road and ignore some columns; count pixels to get the scores."""
    sky = tree = other = wrong = 0
    for path in sorted((data / "labels").iterdir()):
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        truth = np.where(np.isin(labels, (0, 3)), labels, 1).astype(np.uint8)
        truth[:, :40] = 255
        assert cv2.imwrite(str(path), truth)
        labels = labels[:, 40:]
        sky += int((labels == 0).sum())
        tree += int((labels == 3).sum())
        other += int((labels == 1).sum())
        wrong += int(np.isin(labels, (2, 4)).sum())
    assert min(sky, tree, other, wrong) > 0
    assert evaluate(data, tiny_model, "--json", str(tmp_path / "scores.json")) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    road = other / (other + wrong)
    assert scores["iou"] == {
        "sky": 1,
        "road": pytest.approx(road),
        "pole": 0,
        "tree": 1,
        "car": 0,
    }
    assert scores["miou"] == pytest.approx((2 + road) / 5)
    total = sky + tree + other + wrong
    assert scores["pixel_accuracy"] == pytest.approx((total - wrong) / total)


def test_iou_of_an_absent_class_is_null(
    data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = tmp_path / "only_sky"
    for path in (data / "labels").iterdir():
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        labels[labels != 0] = 255
        assert cv2.imwrite(str(path), labels)
    assert evaluate(data, tiny_model, "--json", str(classes)) == 0
    scores = json.loads(classes.read_text())
    assert scores["miou"] == 1
    assert scores["iou"] == {"sky": 1, "road": None, "pole": None, "tree": None, "car": None}
    assert "absent" in capsys.readouterr().out


def test_resolution_changes_the_predictions(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    assert evaluate(data, tiny_model, "--resolution", "64x64", "--json", str(path)) == 0
    assert json.loads(path.read_text())["miou"] < 1


def test_scales_and_flip_change_the_predictions(
    data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scores.json"

    def scored(*more: str) -> dict[str, object]:
        assert evaluate(data, tiny_model, "--json", str(path), *more) == 0
        scores: dict[str, object] = json.loads(path.read_text())
        return scores

    plain = scored("--multi-scale", "1.0")
    assert (plain["miou"], plain["scales"], plain["flip"]) == (1, [1], False)
    flipped = scored("--flip")
    assert flipped["flip"]
    assert flipped["miou"] != 1
    assert capsys.readouterr().out.splitlines()[-1].endswith("fp32, scales 1, flipped too")
    both = scored("--multi-scale", "0.5,1.5", "--flip")
    assert both["scales"] == [0.5, 1.5]
    assert both["miou"] not in (1, flipped["miou"])
    assert both["backend"] == "torch"
    assert scored("--multi-scale")["scales"] == [0.5, 0.75, 1, 1.25, 1.5, 1.75]


def test_scales_need_the_torch_backend(
    data: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = command(data, tiny_model, "--flip", "--backend", "openvino")
    status, message = refusal(line, capsys)
    assert status == 1
    assert "need class probabilities, and backend 'openvino' returns only labels" in message


def test_confusion_plot_and_worst_images(
    data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second image is wrong except for a stripe, the third has one wrong column."""
    for name, wrong in (("1", 140), ("2", 1)):
        path = data / "labels" / f"{name}.png"
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        labels[:, :wrong] = (labels[:, :wrong] + 1) % 5
        assert cv2.imwrite(str(path), labels)
    folder, confusion = tmp_path / "worst", tmp_path / "confusion.png"
    more = ["--worst", str(folder), "--worst-count", "2", "--confusion", str(confusion)]
    assert evaluate(data, tiny_model, *more) == 0
    first, second = sorted(path.name for path in folder.iterdir())
    assert first.startswith("001_0.0")
    assert first.endswith("_1.png")
    assert second.startswith("002_0.9")
    assert second.endswith("_2.png")
    assert cv2.imread(str(confusion)) is not None
    out = capsys.readouterr().out
    assert f"the 2 worst images are in {folder}" in out
    (line,) = [line for line in out.splitlines() if line.startswith("most frequent errors: ")]
    assert line.count("%") == 5


def test_split_and_layout_select_the_images(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    root = tmp_path / "splits"
    root.mkdir()
    (data / "classes.txt").rename(root / "classes.txt")
    data.rename(root / "val")
    path = tmp_path / "scores.json"
    assert evaluate(root, tiny_model, "--json", str(path)) == 0
    assert json.loads(path.read_text())["images"] == 3
    assert evaluate(root, tiny_model, "--split", "val", "--layout", "folder") == 0
    assert evaluate(root, tiny_model, "--split", "test") == 1
    assert evaluate(root, tiny_model, "--layout", "cityscapes") == 1


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("0 sky 1 1 1\n1 road 2 2 2\n", "the model has 5 classes, but"),
        (LINES.replace("pole", "mast"), "class 2 is 'pole' in the model, but 'mast' in"),
    ],
)
def test_other_classes_are_rejected(
    data: Path, tiny_model: Path, lines: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "classes.txt").write_text(lines)
    status, message = refusal(command(data, tiny_model), capsys)
    assert status == 1
    assert text in message


def test_headers_of_all_files_are_checked_first(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model is not even opened."""
    model = tmp_path / "broken.safetensors"
    model.write_bytes(b"no model")
    last = data / "labels" / "2.png"
    small = cv2.resize(cv2.imread(str(last), cv2.IMREAD_UNCHANGED), (32, 32))
    assert cv2.imwrite(str(last), small)
    text = f"2.png is {SIZE[0]}x{SIZE[1]} and its labels {last} 32x32; they must have the same size"
    status, message = refusal(command(data, model), capsys)
    assert status == 1
    assert message.endswith(text)
    last.write_bytes(last.read_bytes()[:20])
    assert "2.png is not a readable label image" in refusal(command(data, model), capsys).message


def test_class_file_overrides_the_model_s_names(data: Path, tiny_model: Path) -> None:
    classes = data / "classes.txt"
    classes.write_text(LINES.replace("pole", "mast"))
    assert evaluate(data, tiny_model, "--classes", str(classes)) == 0


def test_invalid_arguments(
    data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, status, text in (
        (["--resolution", "64"], 2, "'64' is not of the form WxH"),
        (["--resolution", "60x64"], 2, "60x64"),
        (["--backend", "nothing"], 2, "--backend: invalid choice: 'nothing'"),
        (["--precision", "int3"], 2, "--precision: invalid choice: 'int3'"),
        (["--worst", "x", "--worst-count", "0"], 2, "'0' is not a whole number of at least 1"),
        (["--json", str(tmp_path / "no" / "x.json")], 1, f"x.json: no folder {tmp_path}"),
        (["--confusion", str(tmp_path / "no" / "x.png")], 1, f"x.png: no folder {tmp_path}"),
        (["--worst", str(tiny_model / "x")], 1, "tiny.safetensors is a file; give a folder"),
        (["--confusion", "x.xyz"], 1, "cannot write plot x.xyz: its suffix must be one of "),
        (["--multi-scale", "1,0"], 2, "'0' is not a number above 0; separate the numbers with"),
        (["--multi-scale", "1,big"], 2, "'big' is not a number above 0; separate the numbers"),
    ):
        refused = refusal(command(data, tiny_model, *more), capsys)
        assert refused.status == status
        assert text in refused.message
    for line, text in (
        (command(tmp_path / "nowhere", tiny_model), "nowhere"),
        (command(data, tmp_path / "none.safetensors"), "no model file at"),
    ):
        refused = refusal(line, capsys)
        assert refused.status == 1
        assert text in refused.message


def test_synthetic_street_requires_its_classes(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, message = refusal(command(Path("synthetic"), tiny_model), capsys)
    assert status == 1
    assert "has 5 classes, but synthetic has 11" in message
