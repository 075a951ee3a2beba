"""Plot of a run: lines, their colors, and the file."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from bisenet_ros.classes import SemanticClass, numbered_classes
from bisenet_ros.training.curves import curves_figure, plot_curves

CLASSES = (
    SemanticClass(0, "dark", (10, 20, 30)),
    SemanticClass(1, "white", (255, 255, 255)),
)
RUN = {
    "iteration": np.arange(1.0, 5),
    "loss": np.array([3.0, 2, 1, 1]),
    "learning_rate": np.array([4.0, 3, 2, 1]),
}


def validation(classes: tuple[SemanticClass, ...]) -> dict[str, np.ndarray]:
    columns = {"iteration": np.array([2.0, 4]), "miou": np.array([0.5, 0.6])}
    return columns | {entry.name: np.array([0.1, 0.2]) + 0.1 * entry.id for entry in classes}


def test_each_class_has_its_color() -> None:
    lines = {
        line.get_label(): line
        for line in curves_figure(RUN, validation(CLASSES), CLASSES).axes[1].get_lines()
    }
    assert list(lines) == ["miou", "dark", "white"]
    assert to_rgb(lines["miou"].get_color()) == (0, 0, 0)
    for entry in CLASSES:
        line = lines[entry.name]
        assert to_rgb(line.get_color()) == pytest.approx([value / 255 for value in entry.color])
        assert line.get_path_effects()  # an outline, or white would not be seen
        assert line.get_ydata() == pytest.approx([10 + 10 * entry.id, 20 + 10 * entry.id])


def test_of_many_classes_only_the_mean_is_drawn() -> None:
    many = numbered_classes(26)
    lines = curves_figure(RUN, validation(many), many).axes[1].get_lines()
    assert [line.get_label() for line in lines] == ["miou"]


def test_a_plot_that_fails_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log.csv").write_text(
        "iteration,loss,learning_rate,images_per_s,waited_share\n1,2.0,0.1,1,0\n2,1.0,0.05,1,0\n"
    )
    (tmp_path / "validation.csv").write_text("iteration,miou,dark,white\n2,0.5,0.4,\n")
    path = tmp_path / "curves.png"
    plot_curves(tmp_path, path, CLASSES)
    assert cv2.imread(str(path)) is not None
    before = path.read_bytes()

    def half(self: Figure, file: Path, **options: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(OSError, match="disk full"):
        plot_curves(tmp_path, path, CLASSES)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curves.png", "log.csv", "validation.csv"]
