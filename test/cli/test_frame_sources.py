import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import PIL.Image
import pytest
import zstandard
from bags import (
    COMPRESSED,
    IMAGE,
    compressed_message,
    image_message,
    numbers,
    picture,
    text_message,
    write_bag,
)
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin

from bisenet_ros.cli.frame_sources import open_source
from bisenet_ros.errors import BagError, ImageFileError, SourceError
from bisenet_ros.synthetic import CLASS_NAMES

Image = NDArray[np.uint8]


def write_image(path: Path, image: Image) -> Path:
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return path


def write_labels(folder: Path, count: int, width: int = 64, height: int = 48) -> Path:
    folder.mkdir()
    for number in range(count):
        labels = np.full((height, width), number, np.uint8)
        assert cv2.imwrite(str(folder / f"{number:03d}.png"), labels)
    return folder


def write_video(path: Path, count: int) -> Path:
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    assert video.isOpened()
    for number in range(count):
        video.write(cv2.cvtColor(picture(number), cv2.COLOR_RGB2BGR))
    video.release()
    return path


def test_image(tmp_path: Path) -> None:
    source = open_source(str(write_image(tmp_path / "a.png", picture(2))))
    (frame,) = source.frames()
    assert source.length == 1
    np.testing.assert_array_equal(frame.image, picture(2))
    assert frame.labels is None


def test_folder_is_sorted_by_name_and_takes_images_only(tmp_path: Path) -> None:
    for name, number in (("b.png", 1), ("c.jpg", 2), ("a.bmp", 0)):
        write_image(tmp_path / name, picture(number))
    (tmp_path / "0_readme.txt").write_text("not an image")
    source = open_source(str(tmp_path))
    assert source.length == 3
    assert numbers(list(source.frames())) == [0, 1, 2]
    assert numbers(list(source.frames())) == [0, 1, 2]  # a source can be read again


def test_video(tmp_path: Path) -> None:
    source = open_source(str(write_video(tmp_path / "v.avi", 5)))
    assert source.length == 5
    assert numbers(list(source.frames())) == [0, 1, 2, 3, 4]


@pytest.fixture
def served() -> Iterator[Callable[..., str]]:
    """Return a function that starts a server for the test and returns its URL."""
    with ExitStack() as stack:

        def start(handler: Callable[..., BaseHTTPRequestHandler]) -> str:
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield start


def test_url(tmp_path: Path, served: Callable[..., str]) -> None:
    write_video(tmp_path / "v.avi", 3)
    url = served(partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    source = open_source(f"{url}/v.avi")
    assert numbers(list(source.frames())) == [0, 1, 2]
    assert source.name == f"{url}/v.avi"
    with pytest.raises(SourceError, match=r"cannot open http://.*/none\.avi: .*ffplay http://"):
        open_source(f"{url}/none.avi")


class _Camera(BaseHTTPRequestHandler):
    """Streams five JPEGs like a network camera, then stops."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(5):
            ok, jpeg = cv2.imencode(".jpg", cv2.cvtColor(picture(number), cv2.COLOR_RGB2BGR))
            assert ok
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {jpeg.size}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg.tobytes() + b"\r\n")


def test_end_of_a_stream_is_an_error(served: Callable[..., str]) -> None:
    url = served(_Camera)
    assert numbers(list(open_source(url, limit=3).frames())) == [0, 1, 2]
    source = open_source(url)
    assert source.length is None
    frames = source.frames()
    first = [next(frames) for _ in range(4)]
    with pytest.raises(SourceError, match=r"http://.* sends no more frames"):
        first += list(frames)
    assert numbers(first) == [0, 1, 2, 3]


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("as_file", [False, True])
def test_bag(tmp_path: Path, storage: StoragePlugin, as_file: bool) -> None:
    bag = write_bag(
        tmp_path / "bag",
        [
            ("/camera", IMAGE, image_message(picture(0))),
            text_message("hello"),
            ("/camera", IMAGE, image_message(picture(1), "bgr8")),
        ],
        storage,
    )
    if as_file:
        (bag,) = (p for p in bag.iterdir() if p.suffix in (".mcap", ".db3"))
    source = open_source(str(bag))
    frames = list(source.frames())
    assert source.length == 2
    assert "/camera" in source.name
    np.testing.assert_array_equal(frames[0].image, picture(0))
    np.testing.assert_array_equal(frames[1].image, picture(1))


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_bag_of_compressed_images(tmp_path: Path, storage: StoragePlugin) -> None:
    messages = [
        ("/camera/compressed", COMPRESSED, compressed_message(picture(n))) for n in range(3)
    ]
    # ros2 bag record -a lists raw topics that nobody published.
    bag = write_bag(tmp_path / "bag", messages, storage, silent=[("/camera", IMAGE)])
    assert numbers(list(open_source(str(bag)).frames())) == [0, 1, 2]


def test_bag_of_several_cameras_requires_a_topic(tmp_path: Path) -> None:
    messages = [
        ("/left", IMAGE, image_message(picture(1))),
        ("/right", COMPRESSED, compressed_message(picture(3))),
    ]
    bag = str(write_bag(tmp_path / "bag", messages))
    with pytest.raises(BagError, match=r"choose one with --topic: /left, /right"):
        open_source(bag)
    with pytest.raises(BagError, match=r"no topic of images named '/up'; it has /left, /right"):
        open_source(bag, topic="/up")
    assert numbers(list(open_source(bag, topic="/right").frames())) == [3]
    assert numbers(list(open_source(bag, topic="/left").frames())) == [1]


def test_error_of_a_bag_without_images_lists_its_topics(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", [text_message("hello")])
    with pytest.raises(BagError, match=r"no topic of images: its topics are /chatter"):
        open_source(str(bag))


def test_empty_bag(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "a", [text_message("hello")], silent=[("/camera", IMAGE)])
    with pytest.raises(BagError, match=r"no message on /camera"):
        open_source(str(bag))
    with pytest.raises(BagError, match="it is empty"):
        open_source(str(write_bag(tmp_path / "b", [])))


def test_bag_with_an_unsupported_encoding(tmp_path: Path) -> None:
    depth = image_message(picture(0), "16UC1")
    messages = [("/camera", IMAGE, image_message(picture(0))), ("/camera", IMAGE, depth)]
    frames = open_source(str(write_bag(tmp_path / "bag", messages))).frames()
    assert numbers([next(frames)]) == [0]
    with pytest.raises(BagError, match=r"message 1: image encoding '16UC1'.*depth image"):
        next(frames)


def test_damaged_bag(tmp_path: Path) -> None:
    (tmp_path / "a.mcap").write_bytes(b"not a bag at all")
    with pytest.raises(BagError, match=r"a\.mcap cannot be read as a bag"):
        open_source(str(tmp_path / "a.mcap"))
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "metadata.yaml").write_text("- nothing")
    with pytest.raises(BagError, match="cannot be read as a bag"):
        open_source(str(tmp_path / "bag"))


def test_synthetic_shows_several_streets_even_in_a_few_frames() -> None:
    source = open_source("synthetic", limit=4)
    assert source.length == 4
    assert source.class_names == CLASS_NAMES
    frames = list(source.frames())
    assert len(frames) == 4
    for frame in frames:
        assert frame.labels is not None
        assert frame.image.shape == (*frame.labels.shape, 3) == (360, 480, 3)
        assert frame.labels.max() < len(CLASS_NAMES)
    for one, other in pairwise(frames):
        assert np.mean(one.labels != other.labels) > 0.1


def test_labels_are_paired_with_frames_in_order(tmp_path: Path) -> None:
    bag = write_bag(
        tmp_path / "bag", [("/camera", IMAGE, image_message(picture(n))) for n in range(4)]
    )
    source = open_source(str(bag), labels=write_labels(tmp_path / "labels", 4), limit=3)
    frames = list(source.frames())
    assert source.length == 3
    assert numbers(frames) == [0, 1, 2]
    assert [np.unique(frame.labels).tolist() for frame in frames] == [[0], [1], [2]]


def test_number_of_labels_must_equal_number_of_frames(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.avi", 3)
    for count in (2, 4):
        labels = write_labels(tmp_path / f"labels{count}", count)
        with pytest.raises(SourceError, match=rf"contains {count} label images, but .* 3 frames"):
            open_source(str(video), labels=labels)


def test_labels_must_have_the_size_of_the_frame_and_ids(tmp_path: Path) -> None:
    image = str(write_image(tmp_path / "a.png", picture(0)))
    small = write_labels(tmp_path / "small", 1, width=32)
    with pytest.raises(SourceError, match=r"000\.png is 32x48, but its frame is 64x48"):
        list(open_source(image, labels=small).frames())
    (tmp_path / "color").mkdir()
    write_image(tmp_path / "color" / "a.png", picture(0))
    with pytest.raises(SourceError, match=r"a\.png has colors instead of class ids"):
        list(open_source(image, labels=tmp_path / "color").frames())
    with pytest.raises(SourceError, match="no folder of label images"):
        open_source(image, labels=tmp_path / "none")


def test_labels_are_read_as_for_training(tmp_path: Path) -> None:
    """1-bit and palette PNGs contain ids, which OpenCV alone would not return."""
    image = str(write_image(tmp_path / "a.png", picture(0)))
    ids = np.zeros((48, 64), np.uint8)
    ids[:, 20:] = 1
    bits, palette = PIL.Image.fromarray(ids * 255).convert("1"), PIL.Image.fromarray(ids)
    palette.putpalette([9, 8, 7, 200, 100, 50])
    for number, mask in enumerate((bits, palette)):
        folder = tmp_path / str(number)
        folder.mkdir()
        mask.save(folder / "a.png")
        (frame,) = open_source(image, labels=folder).frames()
        np.testing.assert_array_equal(frame.labels, ids)


def test_synthetic_street_and_cameras_reject_labels(tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "labels", 1)
    with pytest.raises(SourceError, match="synthetic street has its own labels: omit --labels"):
        open_source("synthetic", labels=labels)
    with pytest.raises(SourceError, match="camera 0 have no labels: omit --labels"):
        open_source("0", labels=labels)


def test_invalid_sources(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere\.mp4 does not exist"):
        open_source("nowhere.mp4")
    with pytest.raises(SourceError, match="contains no images"):
        open_source(str(tmp_path))
    text = tmp_path / "text.mp4"
    text.write_text("these are no frames")
    with pytest.raises(SourceError, match=r"is not an image, a bag or a video"):
        open_source(str(text))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG")
    with pytest.raises(ImageFileError, match=r"broken\.png is not an image"):
        list(open_source(str(broken)).frames())
    with pytest.raises(SourceError, match="cannot open camera 97"):
        open_source("97")
    with pytest.raises(SourceError, match="at least 1"):
        open_source("synthetic", limit=0)
    with pytest.raises(SourceError, match="--topic /camera applies only to bags"):
        open_source("synthetic", topic="/camera")


@pytest.mark.parametrize("suffix", [".zstd", ".zst"])
def test_a_compressed_bag_is_a_bag(tmp_path: Path, suffix: str) -> None:
    bag = write_bag(tmp_path / "bag", [("/camera", IMAGE, image_message(picture(2)))])
    packed = tmp_path / f"drive.mcap{suffix}"
    packed.write_bytes(zstandard.compress((bag / "bag.mcap").read_bytes()))
    assert numbers(list(open_source(str(packed), topic="/camera").frames())) == [2]


def test_a_folder_of_a_killed_recorder_is_a_bag(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", [("/camera", IMAGE, image_message(picture(2)))])
    (bag / "metadata.yaml").unlink()
    assert numbers(list(open_source(str(bag)).frames())) == [2]
    write_image(bag / "a.png", picture(1))  # images with a recording beside them
    assert numbers(list(open_source(str(bag)).frames())) == [1]


def test_images_go_on_after_a_bad_one(tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", "b.png", "c.png", "d.png")):
        write_image(tmp_path / name, picture(number))
    (tmp_path / "b.png").write_bytes(b"\x89PNG")
    frames = open_source(str(tmp_path), limit=3).frames()
    first = next(frames)
    with pytest.raises(ImageFileError, match=r"b\.png is not an image"):
        next(frames)
    assert numbers([first, *frames]) == [0, 2]


def test_names_tell_images_apart(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.jpg.bmp", "b.png"):
        write_image(tmp_path / name, picture(0))
    names = [frame.name for frame in open_source(str(tmp_path)).frames()]
    assert names == ["a.jpg", "a.jpg.bmp", "a.png", "b"]


def test_a_ros_1_bag_of_a_killed_recorder(tmp_path: Path) -> None:
    path = tmp_path / "drive.bag.active"
    header = b"\x04\0\0\0op=\x03" + b"\x12\0\0\0index_pos=" + bytes(8)
    header += b"\x0f\0\0\0conn_count=" + bytes(4) + b"\x10\0\0\0chunk_count=" + bytes(4)
    path.write_bytes(
        b"#ROSBAG V2.0\n" + struct.pack("<I", len(header)) + header + struct.pack("<I", 0)
    )
    with pytest.raises(BagError, match=r"not indexed, .* `rosbag reindex \S+/drive\.bag\.active`"):
        open_source(str(path))
