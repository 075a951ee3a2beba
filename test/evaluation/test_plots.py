"""Plots of the worst images and of the confusion matrix."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bisenet_ros.classes import SemanticClass
from bisenet_ros.evaluation.metrics import ScoredImage, Scores, confusion_matrix
from bisenet_ros.evaluation.plots import (
    ALPHA,
    WRONG,
    WorstImages,
    confusion_figure,
    error_map,
    plot_confusion,
)
from bisenet_ros.images.render import GAP

CLASSES = SemanticClass(0, "dark", (10, 20, 30)), SemanticClass(1, "bright", (200, 210, 220))
WIDTH, HEIGHT = 40, 10


def scored(number: int, wrong: int, unlabeled: int = 0) -> ScoredImage:
    """An image whose first ``wrong`` columns are mislabeled, and last ``unlabeled`` unlabeled."""
    image = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    truth = np.zeros((HEIGHT, WIDTH), np.uint8)
    truth[:, WIDTH - unlabeled :] = 255
    predicted = np.zeros((HEIGHT, WIDTH), np.uint8)
    predicted[:, :wrong] = 1
    scores = Scores(confusion_matrix(truth, predicted, 2))
    return ScoredImage(number, image, truth, predicted, scores)


def read(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1], np.uint8)


def test_the_worst_come_first_and_the_others_are_let_go(tmp_path: Path) -> None:
    worst = WorstImages(2, CLASSES)
    for number, wrong in enumerate((4, 30, 0, 20, 8)):
        worst.watch(scored(number, wrong))
    files = worst.write(tmp_path / "new" / "folder", lambda number: f"frame{number}")
    # mIoU: bright is only predicted, so its IoU is 0 and the mean half of dark's.
    assert [path.name for path in files] == ["001_0.125_frame1.png", "002_0.250_frame3.png"]
    assert sorted((tmp_path / "new" / "folder").iterdir()) == files


def test_equal_scores_keep_their_order(tmp_path: Path) -> None:
    worst = WorstImages(2, CLASSES)
    for number in range(3):
        worst.watch(scored(number, 20))
    assert [p.name[-5] for p in worst.write(tmp_path, str)] == ["0", "1"]


def test_an_image_without_a_labeled_pixel_has_no_rank(tmp_path: Path) -> None:
    worst = WorstImages(3, CLASSES)
    worst.watch(scored(0, 10, unlabeled=WIDTH))
    worst.watch(scored(1, 10))
    assert [path.name for path in worst.write(tmp_path, str)] == ["001_0.375_1.png"]


def test_errors_are_red_and_pixels_without_a_class_black() -> None:
    picture = error_map(scored(0, 5, unlabeled=10))
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert (picture[:, :5] == WRONG).all()
    assert (picture[:, 5:30] == 50).all()
    assert (picture[:, 30:] == 0).all()


def test_a_picture_has_prediction_truth_and_errors(tmp_path: Path) -> None:
    worst = WorstImages(1, CLASSES)
    worst.watch(scored(0, 5, unlabeled=10))
    (path,) = worst.write(tmp_path, str)
    picture = read(path)
    assert picture.shape[1] == 3 * WIDTH + 2 * GAP
    predicted, truth, errors = (
        picture[:HEIGHT, start : start + WIDTH] for start in range(0, 3 * WIDTH, WIDTH + GAP)
    )

    def color(id_: int) -> NDArray[np.float64]:
        return (1 - ALPHA) * 100 + ALPHA * np.array(CLASSES[id_].color)

    assert np.abs(predicted[0, 0] - color(1)).max() <= 1
    assert np.abs(predicted[0, 5] - color(0)).max() <= 1
    assert np.abs(truth[0, 0] - color(0)).max() <= 1
    assert (truth[0, -1] == 100).all()
    assert (errors == error_map(scored(0, 5, unlabeled=10))).all()


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        WorstImages(1, CLASSES).write(tmp_path / "file", str)


def test_rows_are_percent_of_the_true_class() -> None:
    confusion = np.array([[3, 1, 0, 0], [0, 0, 0, 0], [0, 10, 10, 0]])
    (axes,) = confusion_figure(confusion, ["sky", "road", "pole"]).axes
    (image,) = axes.images
    np.testing.assert_allclose(image.get_array(), [[75, 25, 0], [0, 0, 0], [0, 50, 50]])
    shown = {(text.get_position(), text.get_text()) for text in axes.texts}
    assert shown == {((0, 0), "75"), ((1, 0), "25"), ((1, 2), "50"), ((2, 2), "50")}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["sky", "road", "pole"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")


def test_pixels_without_a_prediction_have_a_column() -> None:
    (axes,) = confusion_figure(np.array([[1, 0, 1], [0, 1, 0]]), ["a", "b"]).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "none"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[50, 0, 50], [0, 100, 0]])


def test_the_suffix_selects_the_format(tmp_path: Path) -> None:
    confusion = np.array([[1, 0, 0], [0, 1, 0]])
    plot_confusion(confusion, ["a", "b"], tmp_path / "c.png")
    assert read(tmp_path / "c.png").ndim == 3
    plot_confusion(confusion, ["a", "b"], tmp_path / "c.svg")
    assert "</svg>" in (tmp_path / "c.svg").read_text()
    with pytest.raises(ValueError, match="xyz"):
        plot_confusion(confusion, ["a", "b"], tmp_path / "c.xyz")
