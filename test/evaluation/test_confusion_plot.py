"""The picture of the confusion matrix has its numbers."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from bisenet_ros.evaluation.confusion_plot import plot_confusion


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, on their way to the file."""
    seen: list[Figure] = []
    save = Figure.savefig

    def record(figure: Figure, *args: object, **more: object) -> None:
        seen.append(figure)
        save(figure, *args, **more)

    monkeypatch.setattr(Figure, "savefig", record)
    return seen


def test_rows_are_percent_of_the_true_class(tmp_path: Path, figures: list[Figure]) -> None:
    confusion = np.array([[3, 1, 0, 0], [0, 0, 0, 0], [0, 10, 10, 0]])
    path = tmp_path / "confusion.png"
    plot_confusion(confusion, ["sky", "road", "pole"], path)
    (axes,) = figures[0].axes
    (image,) = axes.images
    np.testing.assert_allclose(image.get_array(), [[75, 25, 0], [0, 0, 0], [0, 50, 50]])
    shown = {(text.get_position(), text.get_text()) for text in axes.texts}
    assert shown == {((0, 0), "75"), ((1, 0), "25"), ((1, 2), "50"), ((2, 2), "50")}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["sky", "road", "pole"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert cv2.imread(str(path)).shape[2] == 3


def test_pixels_without_a_prediction_have_a_column(tmp_path: Path, figures: list[Figure]) -> None:
    plot_confusion(np.array([[1, 0, 1], [0, 1, 0]]), ["a", "b"], tmp_path / "c.png")
    (axes,) = figures[0].axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "none"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[50, 0, 50], [0, 100, 0]])
