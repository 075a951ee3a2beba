"""``bisenet dataset check``: statistics, errors, and a contact sheet of samples."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from refusal import refusal

from bisenet_ros.cli.main import main

SETTINGS = ["--set", "resolution=[64, 64]", "--set", "crop=[64, 64]", "--set", "scales=[1.0]"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Create four training images, dark where their label is 0 and bright where it is 1."""
    root = tmp_path / "two_tone"
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (root / "train" / name).mkdir(parents=True)
    (root / "classes.txt").write_text("0 dark 10 20 30\n1 bright 200 210 220\n")
    for number in range(4):
        labels = rng.integers(0, 2, (4, 4), np.uint8).repeat(16, axis=0).repeat(16, axis=1)
        image = 40 + 150 * labels[..., None] + rng.integers(0, 40, (64, 64, 3), np.uint8)
        assert cv2.imwrite(str(root / "train" / "images" / f"{number}.png"), image)
        assert cv2.imwrite(str(root / "train" / "labels" / f"{number}.png"), labels)
    return root


def check(data: Path, *more: str) -> list[str]:
    return ["dataset", "check", "--data", str(data), *SETTINGS, *more]


def test_valid_dataset(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dataset_check").mkdir()
    Path("dataset_check", "problems.txt").write_text("of a check before\n")
    assert main(check(data)) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "4 pairs can be used: 4 of 64x64"
    assert printed[-2:] == ["problems: 0", "wrote dataset_check/samples.png"]
    sheet = cv2.imread("dataset_check/samples.png")
    assert sheet.shape[1] == 4 * 64 + 3 * 4
    assert sheet[:64, :64].std() > 20  # dark and bright
    assert [path.name for path in Path("dataset_check").iterdir()] == ["samples.png"]


def test_a_missing_function_is_told_before_anything_is_read(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = check(data, "--output", str(tmp_path / "checked"), "--set", "augment=nowhere:f")
    refused = refusal(line, capsys)
    assert refused.status == 1
    assert "setting 'augment' is 'nowhere:f', but importing nowhere raises" in refused.message
    assert not (tmp_path / "checked").exists()


def test_every_error_is_reported_with_its_file(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "train" / "images" / "0.png").unlink()
    (data / "train" / "labels" / "1.png").write_bytes(b"no image")
    assert cv2.imwrite(str(data / "train" / "labels" / "2.png"), np.full((64, 64), 9, np.uint8))
    assert main(check(data, "--output", str(tmp_path / "checked"))) == 1
    printed = capsys.readouterr().out
    assert "1 pairs can be used" in printed
    assert "problems: 3" in printed
    for fault in ("0.png has no image", "1.png is not a readable", "2.png has label 9 (4096 pix"):
        assert fault in printed
    assert (tmp_path / "checked" / "samples.png").is_file()
    details = (tmp_path / "checked" / "problems.txt").read_text().splitlines()
    assert sorted(detail.partition(".png ")[2][:12] for detail in details) == [
        "has label 9 ",
        "has no image",
        "is not a rea",
    ]


def test_another_aspect_is_a_warning_and_no_error(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = "--output", str(tmp_path / "checked")
    assert main(check(data, *output, "--set", "resolution=[128, 64]")) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-3] == (
        "warning: the resolution 128x64 stretches pictures of an aspect of 1.00 to 2.00, which "
        'costs accuracy: 96x96 has their aspect (--set "resolution=[96, 96]", with a crop that '
        "fits it)"
    )
    assert printed[-2] == "problems: 0"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--layout", "cityscapes", "--split", "val"], "leftImg8bit/val"),
        (["--config", "nothing"], "there are no settings 'nothing'; give the path of a YAML file"),
        (["--output", "{data}/classes.txt"], "classes.txt is a file; give a folder"),
    ],
)
def test_invalid_arguments(
    data: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = refusal(check(data, *(each.format(data=data) for each in more)), capsys)
    assert refused.status == 1
    assert message in refused.message
