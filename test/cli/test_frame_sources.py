from collections.abc import Callable, Iterator, Sequence
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
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from bisenet_ros.cli.frame_sources import Frame, open_source
from bisenet_ros.errors import BagError, ImageFileError, SourceError
from bisenet_ros.synthetic import CLASS_NAMES

Image = NDArray[np.uint8]

STORE = get_typestore(Stores.ROS2_JAZZY)
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


def picture(number: int, width: int = 64, height: int = 48) -> Image:
    """Return a picture whose color encodes ``number`` robustly against lossy compression."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = 40 + 30 * number, 90, 220 - 30 * number
    return image


def numbers(frames: Sequence[Frame]) -> list[int]:
    """Return the numbers of the pictures, decoded from red and checked against green and blue."""
    found = []
    for frame in frames:
        red, green, blue = frame.image.reshape(-1, 3).mean(axis=0)
        number = round((red - 40) / 30)
        assert abs(red - 40 - 30 * number) < 8
        assert abs(green - 90) < 8
        assert abs(blue - 220 + 30 * number) < 8
        found.append(number)
    return found


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


def image_message(image: Image, encoding: str = "rgb8") -> object:
    header = _header()
    if encoding == "bgr8":
        image = image[..., ::-1]
    height, width = image.shape[:2]
    data = np.ascontiguousarray(image).reshape(-1)
    return STORE.types[IMAGE](header, height, width, encoding, 0, 3 * width, data)


def compressed_message(image: Image) -> object:
    ok, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert ok
    return STORE.types[COMPRESSED](_header(), "rgb8; jpeg compressed bgr8", jpeg.reshape(-1))


def _header() -> object:
    time = STORE.types["builtin_interfaces/msg/Time"](0, 0)
    return STORE.types["std_msgs/msg/Header"](time, "camera")


def write_bag(
    folder: Path,
    messages: Sequence[tuple[str, str, object]],
    storage: StoragePlugin = StoragePlugin.MCAP,
    silent: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write a bag of (topic, type, message), and of (topic, type) without messages."""
    with Writer(folder, version=9, storage_plugin=storage) as writer:
        connections = {}
        for topic, kind in dict.fromkeys([(t, k) for t, k, _ in messages] + list(silent)):
            connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
        for time, (topic, kind, message) in enumerate(messages):
            writer.write(connections[topic], time, STORE.serialize_cdr(message, kind))
    return folder


def text_message(text: str) -> tuple[str, str, object]:
    return "/chatter", "std_msgs/msg/String", STORE.types["std_msgs/msg/String"](text)


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


def test_bag_of_12_bit_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    deep = np.full((48, 64), 2048, "<u2")
    deep[0, 0] = 4095
    message = STORE.types[IMAGE](_header(), 48, 64, "mono16", 0, 128, deep.view(np.uint8).ravel())
    bag = write_bag(tmp_path / "bag", [("/camera", IMAGE, message)] * 2)
    (frame, _) = open_source(str(bag), bit_depth=12).frames()
    assert frame.image[0, 0, 0] == 255 and (frame.image[1:] == 128).all()
    assert not caplog.messages
    (frame, _) = open_source(str(bag)).frames()
    assert (frame.image[1:] == 8).all()
    assert caplog.messages == [
        "mono16 image is dark: its largest value is 4095 of 65535. If its camera has 12 bits, pass "
        "--bit-depth 12"
    ]


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


def test_folder_of_a_bag_without_metadata(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", [("/camera", IMAGE, image_message(picture(0)))])
    (bag / "metadata.yaml").unlink()
    with pytest.raises(SourceError, match=r"without metadata\.yaml: give its"):
        open_source(str(bag))
