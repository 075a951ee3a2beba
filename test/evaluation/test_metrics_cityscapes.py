"""The scores of a small Cityscapes equal those of its official evaluation script.

The label images are drawn by its official preparation script, from polygons.
"""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling as official
import cv2
import numpy as np
import pytest
from cityscapesscripts.helpers.labels import name2label, trainId2label
from cityscapesscripts.preparation.json2labelImg import json2labelImg
from numpy.typing import NDArray

from bisenet_ros.datasets import open_dataset
from bisenet_ros.evaluation.metrics import Scores, evaluate, iou_by_class

WIDTH, HEIGHT = 160, 80
IGNORED = "ego vehicle", "static", "dynamic", "bridge", "trailer", "unlabeled"
ABSENT = "bicycle", "bus"
"""Classes that no image shows; the second is predicted all the same."""
SHOWN = [
    name for name, label in name2label.items() if 0 <= label.trainId < 19 and name not in ABSENT
]
LABELS = "labelIds", "labelTrainIds"


def draw(path: Path, rng: np.random.Generator) -> None:
    """Boxes of many classes on road, each car with its license plate, which has id -1."""

    def box(label: str, left: int, top: int, width: int, height: int) -> dict[str, object]:
        right, bottom = left + width, top + height
        corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
        return {"label": label, "polygon": corners, "deleted": 0}

    objects = [box("road", 0, 0, WIDTH, HEIGHT)]
    for name in rng.permutation([*SHOWN, *IGNORED, "cargroup", "car", "out of roi"]):
        left, top = int(rng.integers(WIDTH - 40)), int(rng.integers(HEIGHT - 30))
        objects.append(box(str(name), left, top, 30, 20))
        if name == "car":
            objects.append(box("license plate", left + 10, top + 12, 8, 4))
    path.write_text(json.dumps({"imgWidth": WIDTH, "imgHeight": HEIGHT, "objects": objects}))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images in two cities, in the official folders."""
    root = tmp_path_factory.mktemp("cityscapes")
    rng = np.random.default_rng(5)
    for city, frame in (("aachen", 19), ("aachen", 20), ("bochum", 19)):
        stem = f"{city}_000000_{frame:06}"
        for kind in ("leftImg8bit", "gtFine"):
            (root / kind / "val" / city).mkdir(parents=True, exist_ok=True)
        image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        path = root / "leftImg8bit" / "val" / city / f"{stem}_leftImg8bit.png"
        assert cv2.imwrite(str(path), image)
        polygons = root / "gtFine" / "val" / city / f"{stem}_gtFine_polygons.json"
        draw(polygons, rng)
        for kind, encoding in zip(LABELS, ("ids", "trainIds"), strict=True):
            target = str(polygons).replace("polygons.json", f"{kind}.png")
            json2labelImg(str(polygons), target, encoding)
    return root


class Predictor:
    """The truth with mistakes of every kind; keeps what it gave, in the official ids."""

    def __init__(self, tree: Path, folder: Path) -> None:
        self.truths = truths(tree)
        self.folder = folder
        self.paths: list[Path] = []

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        path = self.truths[len(self.paths)]
        truth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        to_train = np.full(256, 255, np.uint8)
        to_train[[trainId2label[i].id for i in range(19)]] = range(19)
        rng = np.random.default_rng(len(self.paths))
        other = rng.permutation(18)[to_train[truth] % 18].astype(np.uint8)  # never the 19th
        wrong = rng.random(truth.shape)
        predicted = np.where(wrong < 0.3, other, to_train[truth])
        predicted[wrong > 0.97] = name2label["bus"].trainId
        predicted[:, :20] = 255
        to_id = np.zeros(256, np.uint8)  # no class is id 0, unlabeled
        to_id[:19] = [trainId2label[i].id for i in range(19)]
        self.paths.append(self.folder / path.name.replace("gtFine_labelIds", "prediction"))
        assert cv2.imwrite(str(self.paths[-1]), to_id[predicted])
        return predicted


def truths(tree: Path) -> list[Path]:
    return sorted((tree / "gtFine").rglob("*_labelIds.png"))


def score(tree: Path, predictor: Predictor) -> tuple[Scores, list[str]]:
    dataset = open_dataset(tree, "cityscapes", "val")
    samples = (dataset[index] for index in range(len(dataset)))
    return evaluate(samples, predictor, 19), [entry.name for entry in dataset.classes]


def official_scores(tree: Path, predictor: Predictor) -> dict[str, float]:
    """IoU by class, and "mean"."""
    options = SimpleNamespace(**vars(official.args))
    options.quiet, options.JSONOutput, options.evalInstLevelScore = True, False, False
    paths = [*map(str, predictor.paths)], [*map(str, truths(tree))]
    result = official.evaluateImgLists(*paths, options)
    return {**result["classScores"], "mean": result["averageScoreClasses"]}


def assert_equal(scores: Scores, names: list[str], theirs: dict[str, float]) -> None:
    for name, value in iou_by_class(scores, names).items():
        ours = np.nan if value is None else value
        assert ours == pytest.approx(theirs[name], abs=1e-6, nan_ok=True), name
    assert scores.miou == pytest.approx(theirs["mean"], abs=1e-6)


@pytest.mark.parametrize("kind", LABELS)
def test_our_scores_are_those_of_the_official_script(tree: Path, tmp_path: Path, kind: str) -> None:
    ours = tmp_path / "tree"
    for path in tree.rglob("*.png"):
        if "gtFine" not in path.name or path.stem.endswith(kind):
            target = ours / path.relative_to(tree)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    predictor = Predictor(tree, tmp_path)
    scores, names = score(ours, predictor)
    theirs = official_scores(tree, predictor)
    assert_equal(scores, names, theirs)

    # Every case that could make a difference is in the data.
    bus, bicycle = names.index("bus"), names.index("bicycle")
    true, predicted = scores.confusion.sum(axis=1), scores.confusion.sum(axis=0)
    assert true[bus] == 0 < predicted[bus]
    assert theirs["bus"] == 0
    assert true[bicycle] == predicted[bicycle] == 0
    assert np.isnan(theirs["bicycle"])
    assert predicted[-1] > 0
    assert true.sum() < 3 * WIDTH * HEIGHT
    assert 0.2 < theirs["mean"] < 0.8


def test_minus_one_stored_as_255_does_not_count(tree: Path, tmp_path: Path) -> None:
    """Other tools do that, and the official script stops there; 0 is what it reads instead."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for copy, value in ((ours, 255), (theirs, 0)):
        shutil.copytree(tree, copy)
        for path in truths(copy):
            labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            labels[30:50, 60:90] = value
            assert cv2.imwrite(str(path), labels)
    predictor = Predictor(tree, tmp_path)
    scores, names = score(ours, predictor)
    assert_equal(scores, names, official_scores(theirs, predictor))
