import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from bisenet_ros.classes import SemanticClass
from bisenet_ros.cli.demo_report import Recorder
from bisenet_ros.errors import LabelsError

CLASSES = (SemanticClass(0, "road", (128, 64, 128)), SemanticClass(1, "sky", (70, 130, 180)))
LEFT = np.array([[0, 0, 1, 1]] * 4, np.uint8)
ZEROS = np.zeros((4, 4), np.uint8)
GREY = np.full((4, 4, 3), 90, np.uint8)


def test_counts_and_latency_in_a_run_with_dropped_frames(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, CLASSES)
    for number in range(4):
        recorder.publish(1000 + number, 10.0 + number, None)
    assert recorder.unanswered == 4
    recorder.receive_labels(1001, ZEROS, 11.5)
    recorder.receive_overlay(1001, GREY)
    recorder.receive_labels(1000, ZEROS, 11.6)  # older than the latest received labels: ignored
    recorder.receive_labels(77, ZEROS, 11.7)  # of an unknown frame: ignored
    assert not recorder.is_answered()
    assert recorder.unanswered == 2
    recorder.receive_overlay(1003, GREY)  # overlays may overtake labels
    recorder.receive_labels(1003, ZEROS, 14.0)
    assert recorder.is_complete()
    assert recorder.measurements() == {
        "sent": 4,
        "received": 2,
        "dropped": 2,
        "fps": pytest.approx(2 / 4.0),
        "latency_ms": {
            "p50": pytest.approx(750.0),
            "p95": pytest.approx(975.0),
            "p99": pytest.approx(995.0),
        },
        "miou": None,
    }
    names = sorted(path.name for path in recorder.pictures.iterdir())
    assert names == ["000001.jpg", "000003.jpg"]


def test_miou_is_computed_over_all_frames(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, CLASSES, ("road", "sky"))
    ignored = np.where(LEFT == 1, 255, LEFT).astype(np.uint8)
    for stamp, truth, found in ((1, LEFT, LEFT), (2, LEFT, ZEROS), (3, ignored, ZEROS)):
        recorder.publish(stamp, float(stamp), truth)
        recorder.receive_labels(stamp, found, stamp + 0.5)
    # road: 8 + 8 + 8 true positives, 8 false positives; sky: 8 true positives, 8 false negatives
    assert recorder.measurements()["miou"] == pytest.approx((24 / 32 + 8 / 16) / 2)


def test_labels_of_other_classes_are_not_scored(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, CLASSES, ("sky", "road"))
    recorder.publish(1, 1.0, LEFT)
    recorder.receive_labels(1, LEFT, 1.5)
    assert recorder.measurements()["miou"] is None
    assert "unknown: the labels have other classes than the model" in recorder.table()


def test_unknown_id_in_the_ground_truth_is_rejected(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, CLASSES)
    recorder.publish(1, 1.0, np.full((4, 4), 2, np.uint8))
    with pytest.raises(LabelsError, match="the id 2, but the model's classes are 0 to 1"):
        recorder.receive_labels(1, ZEROS, 1.5)


def test_measurements_without_received_labels_are_valid_json(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, CLASSES)
    recorder.publish(1, 1.0, LEFT)
    assert json.loads(json.dumps(recorder.measurements())) == {
        "sent": 1,
        "received": 0,
        "dropped": 1,
        "fps": None,
        "latency_ms": {"p50": None, "p95": None, "p99": None},
        "miou": None,
    }
    assert "latency" not in recorder.table()
    assert recorder.write_contact_sheet() is None


def test_contact_sheet_shows_frames_from_the_whole_run(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, CLASSES)
    for number in range(23):
        recorder.publish(number, float(number), None)
        recorder.receive_overlay(number, np.full((60, 80, 3), 10 * number, np.uint8))
    sheet = recorder.write_contact_sheet()
    assert sheet is not None
    image = cv2.imread(str(sheet))
    shades = [image[30 + 64 * (k // 4), 40 + 84 * (k % 4), 0] for k in range(12)]
    np.testing.assert_allclose(shades, [20 * k for k in range(12)], atol=3)


def test_overlays_of_an_earlier_run_are_removed_and_other_files_kept(tmp_path: Path) -> None:
    for name in ("contact_sheet.png", "overlay/000003.jpg", "overlay/mine.jpg", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("old")
    Recorder(tmp_path, CLASSES)
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {"overlay/mine.jpg", "notes.txt"}
