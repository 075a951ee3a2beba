"""``bisenet segment``: names and contents of its output files."""

import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bags import IMAGE, image_message, picture, write_bag
from refusal import refusal
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability
from tiny_model import make_model

from bisenet_ros.classes import read_classes
from bisenet_ros.cli import frame_sources
from bisenet_ros.cli.main import main
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.segmenter import Segmenter
from bisenet_ros.model import file as model_file

pytestmark = pytest.mark.usefixtures("one_thread")


Run = Callable[..., int]


@pytest.fixture
def run(tiny_model: Path, tmp_path: Path) -> Run:
    """Return a function that runs the command with further arguments, into tmp_path / "out"."""
    line = ["segment", "--model", str(tiny_model), "--backend", "torch", "--precision", "fp32"]
    line += ["--output", str(tmp_path / "out")]
    return lambda *arguments: main([*line, *map(str, arguments)])


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("left.png", "right.png", "right.jpg"):
        pixels = np.random.default_rng(len(name)).integers(0, 256, (60, 90, 3), np.uint8)
        cv2.imwrite(str(folder / name), pixels)
    return folder


def test_labels_of_a_folder(
    images: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    line = ["--model", str(tiny_model), "--backend", "torch", "--precision", "fp32"]
    line += ["--input", str(images), "--output", str(out), "--alpha", "0"]
    assert main(["segment", *line]) == 0
    names = ["left", "right.jpg", "right.png"]
    assert sorted(path.stem for path in (out / "labels").iterdir()) == names
    assert sorted(path.name for path in (out / "overlay").iterdir()) == [f"{n}.jpg" for n in names]

    model = model_file.load(tiny_model)
    assert read_classes(out / "classes.txt") == model.metadata.classes
    image = cv2.cvtColor(cv2.imread(str(images / "left.png")), cv2.COLOR_BGR2RGB)
    expected = Segmenter(
        model, EngineOptions(backend="torch", device="cpu", precision="fp32")
    ).segment(image)
    labels = cv2.imread(str(out / "labels" / "left.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels, expected.labels)
    assert len(np.unique(labels)) > 1
    # With alpha 0 the overlay is the image itself, and JPEG preserves its mean.
    shown = cv2.imread(str(out / "overlay" / "left.jpg"))
    assert np.abs(shown.mean((0, 1)) - image[..., ::-1].mean((0, 1))).max() < 3
    assert capsys.readouterr().out.startswith(f"segmented 3 frames of {images} with tiny at 128x64")


def test_names_of_images_are_kept(
    images: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images / "right.jpg").unlink()
    (images / "day:1").mkdir()
    (images / "right.png").rename(images / "day:1" / "img_%04d.png")
    (images / "left.png").rename(images / os.fsdecode(b"l\xe4.png"))
    line = ["segment", "--model", str(tiny_model), "--output"]
    monkeypatch.chdir(tmp_path)
    assert main([*line, "out:%s", "--input", "images"]) == 0
    for kind, suffix in (("labels", "png"), ("overlay", "jpg")):
        found = (path for path in Path("out:%s", kind).rglob(f"*.{suffix}"))
        assert sorted(str(path.relative_to(f"out:%s/{kind}")) for path in found) == [
            f"day:1/img_%04d.{suffix}",
            os.fsdecode(b"l\xe4." + suffix.encode()),
        ]
    # The next run does not take its labels and overlays for images.
    Path("out:%s").rename(images / "out")
    (images / "day:1" / "img_%04d.png").rename("-front.png")
    assert main([*line, "again", "--input", "images"]) == 0
    assert len(list(Path("again").rglob("*.png"))) == 1
    assert main([*line, "dash", "--input", "-front.png"]) == 0
    assert [path.name for path in Path("dash", "labels").iterdir()] == ["-front.png"]


def test_names_that_are_not_utf_8_are_printed(images: Path, tiny_model: Path) -> None:
    folder = images.rename(images.parent / os.fsdecode(b"k\xf6ln"))
    program = "import sys; from bisenet_ros.cli.main import main; sys.exit(main(sys.argv[1:]))"
    line = ["segment", "--model", str(tiny_model), "--input", str(folder), "--output"]
    result = subprocess.run(
        [sys.executable, "-c", program, *line, str(images.parent / "out")],
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert result.stdout.startswith(b"segmented 3 frames of " + os.fsencode(folder))


def test_12_bit_pictures_are_labeled_like_their_8_bits(
    images: Path, tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picture = cv2.imread(str(images / "left.png"))
    for path in images.iterdir():
        path.unlink()
    assert cv2.imwrite(str(images / "eight.png"), picture)
    deep = np.rint(picture * (4095 / 255)).astype(np.uint16)
    assert cv2.imwrite(str(images / "png.png"), deep)
    assert cv2.imwrite(str(images / "tiff.tiff"), deep)
    line = ["segment", "--model", str(tiny_model), "--input", str(images), "--output"]
    assert main([*line, str(tmp_path / "12"), "--bit-depth", "12"]) == 0
    files = {path.read_bytes() for path in (tmp_path / "12" / "labels").iterdir()}
    assert len(files) == 1
    assert "is dark" not in caplog.text

    assert main([*line, str(tmp_path / "16")]) == 0
    assert {path.read_bytes() for path in (tmp_path / "16" / "labels").iterdir()} > files
    dark = [text for text in caplog.messages if "is dark" in text]
    assert len(dark) == 1 and dark[0].startswith(f"{images}/png.png is dark")
    assert dark[0].endswith("If its camera has 12 bits, pass --bit-depth 12")


def test_frames_without_names_are_numbered(tiny_model: Path, tmp_path: Path) -> None:
    line = ["--model", str(tiny_model), "--input", "synthetic", "--frames", "2"]
    assert main(["segment", *line, "--output", str(tmp_path)]) == 0
    assert sorted(p.name for p in (tmp_path / "labels").iterdir()) == ["000000.png", "000001.png"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--input", "nowhere"], 1, "nowhere does not exist: give an image"),
        (["--input", "a", "--alpha", "2"], 2, "argument --alpha: '2' is not a number from 0 to 1"),
        (["--input", "a", "--frames", "0"], 2, "argument --frames: '0' is not a whole number of"),
    ],
)
def test_invalid_arguments(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = refusal(["segment", *arguments], capsys)
    assert refused.status == status
    assert refused.message.startswith(message)


def test_existing_labels_are_not_overwritten(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They may be those of a dataset."""
    (tmp_path / "out" / "labels").mkdir(parents=True)
    (tmp_path / "out" / "labels" / "a.png").write_text("somebody's work")
    before = sorted((tmp_path / "out").rglob("*"))
    assert run("--input", "synthetic", "--frames", "1") == 1
    assert "labels already contains files: remove them, or use" in capsys.readouterr().err
    assert sorted((tmp_path / "out").rglob("*")) == before


def written(folder: Path) -> dict[str, bytes]:
    """Contents of the pictures below ``folder`` by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".png", ".jpg")
    }


def write_video(path: Path, count: int) -> Path:
    """Write ``count`` pictures at 10 Hz."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(count):
        video.write(picture(number))
    video.release()
    return path


def test_a_bad_image_is_named_and_left_out(
    run: Run, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "middle.png").write_bytes(b"\x89PNG")
    assert run("--input", images, "--strict") == 1
    assert "middle.png is not an image that OpenCV can read" in capsys.readouterr().err
    assert sorted(p.stem for p in (tmp_path / "out" / "labels").iterdir()) == ["left"]

    assert run("--input", images) == 1
    output = capsys.readouterr()
    assert f"left out frame 1: {images}/middle.png is not an image" in output.err
    assert f"1 of 4 frames of {images} are not labeled, for the reasons above" in output.err
    assert f"segmented 3 of 4 frames of {images} with tiny" in output.out
    names = ["left", "right.jpg", "right.png"]
    assert sorted(p.stem for p in (tmp_path / "out" / "labels").iterdir()) == names

    (images / "middle.png").write_bytes((images / "left.png").read_bytes())
    assert run("--input", images) == 0
    assert ", 3 of them in an earlier run: " in capsys.readouterr().out


def test_bad_messages_of_a_bag_are_left_out(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = [("/camera", IMAGE, image_message(picture(n))) for n in range(5)]
    messages[1] = "/camera", IMAGE, image_message(picture(1), "16UC1")
    messages[3] = "/camera", IMAGE, image_message(picture(3), "nonsense")
    bag = write_bag(tmp_path / "bag", messages)
    assert run("--input", bag, "--frames", "4") == 1
    output = capsys.readouterr()
    assert "left out frame 1: " in output.err
    assert "left out frame 3: " in output.err
    assert f"segmented 2 of 4 frames of {bag}, /camera with" in output.out
    assert sorted(p.stem for p in (tmp_path / "out" / "labels").iterdir()) == ["000000", "000002"]


def test_no_frame_at_all(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    assert run("--input", tmp_path / "a.png") == 1
    error = capsys.readouterr().err
    assert "a.png is not an image that OpenCV can read: repair or remove it" in error
    assert error.endswith(f"bisenet segment: no frame of {tmp_path}/a.png could be read\n")


def test_a_run_is_continued(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = write_video(tmp_path / "v.avi", 6)
    assert run("--input", video) == 0
    whole = written(tmp_path / "out")
    assert len(whole) == 12
    for name in ("labels/000002.png", "overlay/000004.jpg"):  # as if it had been interrupted
        (tmp_path / "out" / name).unlink()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    capsys.readouterr()
    assert run("--input", video) == 0
    assert capsys.readouterr().out.startswith("segmented 6 frames of ")
    assert written(tmp_path / "out") == whole
    kept = [path.stem for path, time in times.items() if path.stat().st_mtime_ns == time]
    assert sorted(kept) == ["000000", "000001", "000003", "000005"]


def test_labels_of_other_settings_are_not_mixed(
    run: Run, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--input", images) == 0
    before = written(tmp_path / "out")
    other = make_model(tmp_path / "tiny.safetensors", seed=1)
    single = images / "left.png"
    record = tmp_path / "out" / "segment.json"
    for arguments, setting in (
        (["--model", other], "model_sha256"),
        (["--resolution", "64x64"], "resolution"),
        (["--precision", "bf16"], "precision"),
        (["--input", single], "input"),
    ):
        capsys.readouterr()
        assert run("--input", images, *arguments) == 1
        error = capsys.readouterr().err
        assert f"{tmp_path}/out has labels of {setting} " in error
        assert "give the arguments of that run to continue it, or use another --output" in error
    assert written(tmp_path / "out") == before
    record.write_text("{")
    assert run("--input", images) == 1
    assert "segment.json cannot be read (it is not JSON" in capsys.readouterr().err
    for path in (tmp_path / "out" / "labels").iterdir():
        path.unlink()
    assert run("--input", single) == 0


def test_a_replaced_video_is_not_continued(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / "v.avi", 2)
    assert run("--input", video) == 0
    write_video(video, 3)
    assert run("--input", video) == 1
    assert "has labels of input_bytes" in capsys.readouterr().err


def test_a_replaced_image_is_labeled_again(
    run: Run, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--input", images) == 0
    label = tmp_path / "out" / "labels" / "left.png"
    before = label.stat().st_mtime_ns
    image = images / "left.png"
    cv2.imwrite(str(image), cv2.imread(str(image))[:40])
    os.utime(image, ns=(before + 1, before + 1))
    capsys.readouterr()
    assert run("--input", images) == 0
    assert ", 2 of them in an earlier run" in capsys.readouterr().out
    assert cv2.imread(str(label)).shape[0] == 40


def test_a_replaced_bag_is_not_continued(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (2, 3):
        shutil.rmtree(tmp_path / "bag", ignore_errors=True)
        write_bag(tmp_path / "bag", [("/image", IMAGE, image_message(picture(0)))] * number)
        assert run("--input", tmp_path / "bag") == number - 2
    assert "has labels of input_bytes" in capsys.readouterr().err


def test_live_images_are_not_continued(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frames of another time have the numbers, not the content, of the first ones."""
    source = frame_sources.Source("camera 0", None, lambda: iter([frame_sources.Frame(picture(0))]))
    monkeypatch.setattr(frame_sources, "_camera", lambda index: source)
    assert run("--input", "0", "--frames", "1") == 0
    assert run("--input", "0", "--frames", "1") == 1
    assert "no run of live images of camera 0 can be continued" in capsys.readouterr().err


def test_confidence(run: Run, tiny_model: Path, images: Path, tmp_path: Path) -> None:
    assert run("--input", images) == 0
    assert run("--input", images, "--confidence") == 0  # adds what is missing
    options = EngineOptions(backend="torch", device="cpu", precision="fp32", confidence=True)
    image = cv2.cvtColor(cv2.imread(str(images / "left.png")), cv2.COLOR_BGR2RGB)
    expected = Segmenter(model_file.load(tiny_model), options).segment(image)
    confidence = cv2.imread(str(tmp_path / "out/confidence/left.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(confidence, expected.confidence)
    assert len(list((tmp_path / "out" / "confidence").iterdir())) == 3


def read_bag(path: Path) -> dict[str, list[tuple[int, Any]]]:
    """Messages of a bag by topic with their times, checked to be in order."""
    found: dict[str, list[tuple[int, Any]]] = {}
    last = 0
    with AnyReader([path]) as reader:
        for connection, time, raw in reader.messages():
            assert time >= last
            last = time
            message = reader.deserialize(raw, connection.msgtype)
            found.setdefault(connection.topic, []).append((time, message))
    return found


def stamp(message: Any) -> tuple[int, int, str]:
    header = message.header
    return header.stamp.sec, header.stamp.nanosec, header.frame_id


def test_output_bag(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    messages = [("/camera", IMAGE, image_message(picture(n), stamp=(100 + n, 7))) for n in range(4)]
    messages[2] = "/camera", IMAGE, image_message(picture(2), "16UC1")
    source = write_bag(tmp_path / "bag", messages, start=50)
    out = tmp_path / "labels.mcap"
    assert run("--input", source, "--output-bag", out, "--confidence") == 1  # one is left out
    bag = read_bag(out)
    assert sorted(bag) == [
        f"/segmentation/{name}"
        for name in ("class_map", "confidence", "label", "overlay/compressed")
    ]
    for name, folder in (("label", "labels"), ("confidence", "confidence")):
        images = bag[f"/segmentation/{name}"]
        assert [time for time, _ in images] == [50, 51, 53]
        for number, (_, image) in zip((0, 1, 3), images, strict=True):
            assert stamp(image) == (100 + number, 7, "camera")
            assert (image.encoding, image.step) == ("mono8", 64)
            stored = cv2.imread(str(tmp_path / f"out/{folder}/{number:06}.png"), -1)
            np.testing.assert_array_equal(image.data.reshape(48, 64), stored)
    overlays = bag["/segmentation/overlay/compressed"]
    assert [stamp(image) for _, image in overlays] == [
        (100, 7, "camera"),
        (101, 7, "camera"),
        (103, 7, "camera"),
    ]
    shown = cv2.imdecode(overlays[2][1].data, cv2.IMREAD_COLOR).astype(int)
    stored = cv2.imread(str(tmp_path / "out/overlay/000003.jpg")).astype(int)
    assert np.abs(shown - stored).max() <= 2
    ((time, class_map),) = bag["/segmentation/class_map"]
    assert time == 50
    assert stamp(class_map) == (100, 7, "")
    assert (class_map.model, class_map.ignore_id) == ("tiny", 255)
    classes = model_file.load(tiny_model).metadata.classes
    assert [(c.id, c.name) for c in class_map.classes] == [(c.id, c.name) for c in classes]
    assert class_map.classes[1].color.r == pytest.approx(classes[1].color[0] / 255)


def test_profiles_of_an_output_bag(run: Run, tmp_path: Path) -> None:
    """``ros2 bag play`` publishes with them: late subscribers get the classes."""
    video = write_video(tmp_path / "v.avi", 2)
    assert run("--input", video, "--output-bag", tmp_path / "a.mcap") == 0
    with AnyReader([tmp_path / "a.mcap"]) as reader:
        profiles = {c.topic: c.ext.offered_qos_profiles for c in reader.connections}
    (latched,), (label,) = profiles["/segmentation/class_map"], profiles["/segmentation/label"]
    assert (latched.durability, latched.depth) == (QosDurability.TRANSIENT_LOCAL, 1)
    assert label.durability == QosDurability.VOLATILE


def test_output_bag_of_a_video_is_stamped_by_its_rate(run: Run, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.avi", 3)  # of 10 Hz
    assert run("--input", video, "--output-bag", tmp_path / "a.mcap") == 0
    labels = read_bag(tmp_path / "a.mcap")["/segmentation/label"]
    assert [time for time, _ in labels] == [100_000_000, 200_000_000, 300_000_000]
    assert stamp(labels[1][1]) == (0, 200_000_000, "camera")


def test_output_bag_of_a_video_has_the_times_of_its_frames(run: Run, tmp_path: Path) -> None:
    """Phones and recorders write videos of a variable frame rate."""
    video = write_video(tmp_path / "v.mkv", 4)
    data = bytearray(video.read_bytes())
    times = [match.start(1) for match in re.finditer(rb"\x81(..)\x80\xff\xd8", data, re.DOTALL)]
    for at, milliseconds in zip(times, (0, 20, 20, 900), strict=True):
        data[at : at + 2] = milliseconds.to_bytes(2, "big")
    video.write_bytes(data)
    assert run("--input", video, "--output-bag", tmp_path / "a.mcap") == 0
    labels = read_bag(tmp_path / "a.mcap")["/segmentation/label"]
    # The third has no later time than the second.
    assert [time // 1_000_000 for time, _ in labels] == [100, 120, 220, 1000]


def test_an_output_bag_on_a_full_disk_is_named(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / "v.avi", 3)
    bag = tmp_path / "a.mcap"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        assert run("--input", video, "--output-bag", bag) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"cannot write {bag}: File too large" in capsys.readouterr().err
    assert not bag.exists()


@pytest.mark.parametrize(("scale", "rate"), [(1, 2**31 - 1), (2**31 - 1, 1)])
def test_output_bag_of_a_video_of_an_impossible_rate(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], scale: int, rate: int
) -> None:
    video = write_video(tmp_path / "v.avi", 2)
    data = bytearray(video.read_bytes())
    at = data.find(b"strh") + 28
    data[at : at + 8] = scale.to_bytes(4, "little") + rate.to_bytes(4, "little")
    video.write_bytes(data)
    with pytest.raises(SystemExit):
        run("--input", video, "--output-bag", tmp_path / "a.mcap")
    assert "v.avi have no times; give a bag, or a video that states" in capsys.readouterr().err
    assert run("--input", video) == 0


def test_a_continued_run_writes_the_whole_bag(run: Run, tmp_path: Path) -> None:
    messages = [("/camera", IMAGE, image_message(picture(n))) for n in range(4)]
    messages[2] = "/camera", IMAGE, image_message(picture(2), "16UC1")
    source = write_bag(tmp_path / "bag", messages)
    out = tmp_path / "labels.mcap"
    assert run("--input", source, "--output-bag", out, "--strict") == 1
    assert not out.exists()
    assert not list(tmp_path.glob(".partial*"))
    assert run("--input", source, "--output-bag", out) == 1
    labels = read_bag(out)["/segmentation/label"]
    assert [time for time, _ in labels] == [0, 1, 3]
    stored = cv2.imread(str(tmp_path / "out/labels/000000.png"), -1)
    np.testing.assert_array_equal(labels[0][1].data.reshape(48, 64), stored)


def test_an_output_bag_that_cannot_be_written(
    run: Run, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / "v.avi", 2)
    (tmp_path / "old.mcap").write_text("a recording")
    assert run("--input", video, "--output-bag", tmp_path / "old.mcap") == 1
    assert "old.mcap exists: remove it, or use another --output-bag" in capsys.readouterr().err
    assert (tmp_path / "old.mcap").read_text() == "a recording"
    for source, bag, message in (
        (video, "a.bag", "a.bag is not named .mcap"),
        (images, "a.mcap", "have no times; give a bag, or a video that states its frame rate"),
        ("synthetic", "a.mcap", "have no times; give a bag, or a video that states its frame rate"),
    ):
        with pytest.raises(SystemExit) as exit_:
            run("--input", source, "--output-bag", tmp_path / bag)
        assert exit_.value.code == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
