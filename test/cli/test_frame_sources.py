import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
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
    STORE,
    compressed_message,
    header,
    image_message,
    numbers,
    picture,
    text_message,
    write_bag,
)
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin

from bisenet_ros.classes import numbered_classes, read_classes
from bisenet_ros.cli.frame_labels import find_label_files
from bisenet_ros.cli.frame_sources import Frame, Source, open_source
from bisenet_ros.errors import BagError, DatasetError, ImageFileError, SourceError
from bisenet_ros.resources import share_directory
from bisenet_ros.synthetic import CLASS_NAMES

Image = NDArray[np.uint8]

CLASSES = numbered_classes(5)


def pairs(source: Source) -> list[tuple[int, int]]:
    """Return the numbers of the pictures with those that fill their labels."""
    frames = list(source.frames(CLASSES))
    labels = [np.unique(frame.labels) for frame in frames if frame.labels is not None]
    return [(n, int(values.item())) for n, values in zip(numbers(frames), labels, strict=True)]


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


def cut_video(path: Path, stated: int, kept: int) -> Path:
    """Write a video that breaks off after ``kept`` of ``stated`` frames."""
    write_video(path, stated)
    content = path.read_bytes()
    frames = content.index(b"movi")
    cut = [match.start() for match in re.finditer(b"00dc", content[frames:])][kept]
    path.write_bytes(content[: frames + cut + 20])
    return path


def overstate(path: Path, stated: int) -> Path:
    """Write ``stated`` as the number of frames into both headers of an AVI."""
    content = bytearray(path.read_bytes())
    main, stream = content.index(b"avih") + 8, content.index(b"strh") + 8
    content[main + 16 : main + 20] = struct.pack("<I", stated)
    content[stream + 32 : stream + 36] = struct.pack("<I", stated)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("make", [cut_video, overstate])
def test_fewer_frames_than_the_header_states(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Callable[..., Path]
) -> None:
    path = tmp_path / "v.avi"
    video = str(cut_video(path, 7, 4) if make is cut_video else overstate(write_video(path, 4), 7))
    source = open_source(video)
    assert source.length == 7
    assert numbers(list(source.frames())) == [0, 1, 2, 3]
    assert [record.getMessage() for record in caplog.records] == [
        f"{video}: 4 of 7 frames that the header states; the file breaks off or is damaged, or the "
        "header is wrong"
    ]
    caplog.clear()
    assert len(list(open_source(video, limit=4).frames())) == 4
    assert caplog.records == []
    assert len(list(open_source(video, limit=5).frames())) == 4
    assert len(caplog.records) == 1


def write_mp4(path: Path, count: int) -> bytes:
    """Write a video with its index at the start, as for the web; return its content."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
    assert video.isOpened()
    for number in range(count):
        video.write(cv2.cvtColor(picture(number), cv2.COLOR_RGB2BGR))
    video.release()
    content = path.read_bytes()
    index = content.index(b"moov") - 4
    assert index + int.from_bytes(content[index : index + 4]) == len(content)
    start = content.index(b"mdat") - 4
    moved = bytearray(content[index:])
    offsets = moved.index(b"stco") + 8
    for place in range(int.from_bytes(moved[offsets : offsets + 4])):
        at = offsets + 4 * (1 + place)
        moved[at : at + 4] = (int.from_bytes(moved[at : at + 4]) + len(moved)).to_bytes(4)
    content = content[:start] + bytes(moved) + content[start:index]
    path.write_bytes(content)
    return content


def test_cut_mp4(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "v.mp4"
    content = write_mp4(path, 6)
    assert numbers(list(open_source(str(path)).frames())) == [0, 1, 2, 3, 4, 5]
    assert caplog.records == []
    path.write_bytes(
        content[: content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2]
    )
    found = numbers(list(open_source(str(path)).frames()))
    assert 2 < len(found) < 6
    assert found[:-1] == list(range(len(found) - 1))  # the last frame is decoded as far as it goes
    assert f"v.mp4: {len(found)} of 6 frames that the header states" in caplog.text
    path.write_bytes(content.replace(b"moov", b"uuid"))
    with pytest.raises(SourceError, match=r"v\.mp4 has no index \(moov\), .*copy it again"):
        open_source(str(path))


def test_labels_are_compared_with_the_frames_and_not_with_the_header(tmp_path: Path) -> None:
    video = str(cut_video(tmp_path / "v.avi", 5, 3))
    few, right, many = (write_labels(tmp_path / f"l{n}", n) for n in (2, 3, 5))
    assert pairs(open_source(video, labels=right)) == [(n, n) for n in range(3)]
    for labels in (few, many):
        with pytest.raises(SourceError, match=r"v\.avi has 3 frames \(5 by its header\): provide"):
            open_source(video, labels=labels)
    # The frames up to the limit have their labels, whatever comes later.
    assert pairs(open_source(video, labels=many, limit=2)) == [(0, 0), (1, 1)]
    with pytest.raises(SourceError, match=r"v\.avi has 3 frames \(5 by its header\)"):
        list(open_source(video, labels=many, limit=4).frames(CLASSES))


def test_images_go_on_after_one_that_cannot_be_read(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / f"{number}.png", picture(number))
    (tmp_path / "1.png").write_bytes(b"")
    frames = open_source(str(tmp_path)).frames()
    first = next(frames)
    with pytest.raises(ImageFileError, match=r"1\.png is not an image"):
        next(frames)
    assert numbers([first, *frames]) == [0, 2]


def test_labels_stay_with_their_frames_after_an_error(tmp_path: Path) -> None:
    def read(number: int) -> Frame:
        if number == 1:
            raise BagError("damaged")
        return Frame(picture(number))

    labels = find_label_files(write_labels(tmp_path / "labels", 3), None)
    frames = Source("test", 3, lambda: map(read, range(3)), labels=labels).frames(CLASSES)
    first = next(frames)
    with pytest.raises(BagError, match="damaged"):
        next(frames)
    (last,) = frames
    assert numbers([first, last]) == [0, 2]
    assert [np.unique(frame.labels).tolist() for frame in (first, last)] == [[0], [2]]


def test_labels_of_a_stream_that_ends_early(tmp_path: Path, served: Callable[..., str]) -> None:
    write_video(tmp_path / "v.avi", 3)
    url = served(partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) + "/v.avi"
    assert pairs(open_source(url, labels=write_labels(tmp_path / "l3", 3))) == [
        (0, 0),
        (1, 1),
        (2, 2),
    ]
    with pytest.raises(SourceError, match=r"contains 4 label images, but .*v\.avi has 3 frames"):
        open_source(url, labels=write_labels(tmp_path / "l4", 4))


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
    message = STORE.types[IMAGE](header(), 48, 64, "mono16", 0, 128, deep.view(np.uint8).ravel())
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
    assert source.length == 3
    assert pairs(source) == [(0, 0), (1, 1), (2, 2)]


def test_labels_of_a_video_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    video = str(write_video(tmp_path / "v.avi", 5))
    labels = write_labels(tmp_path / "labels", 5)
    for number in range(5):  # frame_8, frame_9, frame_10, ...
        (labels / f"{number:03d}.png").rename(labels / f"frame_{number + 8}.png")
    assert pairs(open_source(video, labels=labels)) == [(n, n) for n in range(5)]
    (labels / "frame_12.png").rename(labels / "frame_1_2.png")
    with pytest.raises(DatasetError, match=r"first is frame_1_2\.png by number, but frame_10\.png"):
        open_source(video, labels=labels)


def test_ids_of_instances_are_no_labels(tmp_path: Path) -> None:
    video = str(write_video(tmp_path / "v.avi", 2))
    labels = write_labels(tmp_path / "labels", 2)
    (tmp_path / "images").mkdir()
    image = write_image(tmp_path / "images" / "000.png", picture(0))
    for path in sorted(labels.iterdir()):
        path.rename(path.with_name(f"{path.stem}_gtFine_instanceIds.png"))
    for given in (video, str(image), str(image.parent)):
        with pytest.raises(SourceError, match=r"000_gtFine_instanceIds.png has ids of instances"):
            open_source(given, labels=labels)
    for path in sorted(labels.iterdir()):
        path.with_name(path.name.replace("instance", "label")).write_bytes(path.read_bytes())
    assert pairs(open_source(video, labels=labels)) == [(0, 0), (1, 1)]


def test_labels_of_images_are_paired_by_name(tmp_path: Path) -> None:
    """Sorted by name, frame_1_mask comes after frame_10_mask, but frame_1 before frame_10."""
    images, labels = tmp_path / "images", write_labels(tmp_path / "labels", 5)
    images.mkdir()
    for number in range(5):
        name = f"frame_{10**number}"
        write_image(images / f"{name}.png", picture(number))
        (labels / f"{number:03d}.png").rename(labels / f"{name}_mask.png")
    expected = [(number, number) for number in range(5)]
    assert pairs(open_source(str(images), labels=labels)) == expected
    # Of one image, the labels of others in its folder do not count.
    one = images / "frame_100.png"
    assert pairs(open_source(str(one), labels=labels)) == [(2, 2)]
    (labels / "frame_100_mask.png").unlink()
    with pytest.raises(
        SourceError, match=r"none of the 4 label files in .*labels is named like .*"
    ):
        open_source(str(one), labels=labels)
    text = r"cannot use the labels in .*labels: .*images/frame_100\.png has no labels$"
    with pytest.raises(SourceError, match=text):
        open_source(str(images), labels=labels)
    for path in labels.iterdir():
        path.rename(path.with_name(f"9{path.stem[-8:-5]}.png"))
    text = r"are named like .*images/frame_1\.png, label files like .*labels/9.*\.png; name each"
    with pytest.raises(SourceError, match=text):
        open_source(str(images), labels=labels)


def test_labels_beside_their_image(tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png", picture(3))
    write_labels(tmp_path / "labels", 2)
    (tmp_path / "labels" / "001.png").rename(tmp_path / "a_mask.png")
    assert pairs(open_source(str(image), labels=tmp_path)) == [(3, 1)]


def test_two_label_files_of_a_frame(tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "labels", 2)
    image = write_image(tmp_path / "000.jpg", picture(0))
    (labels / "000_color.png").write_bytes(b"")
    for given in (image, write_video(tmp_path / "v.avi", 2)):
        (labels / "001.bmp").write_bytes(b"")
        with pytest.raises(SourceError, match=r"001\.bmp and 001\.png have the same name; rename"):
            open_source(str(given), labels=labels)
    (labels / "001.bmp").unlink()
    with pytest.raises(
        SourceError, match=r"000\.png and .*000_color\.png are labels of .*; remove"
    ):
        open_source(str(image), labels=labels)


def test_number_of_labels_must_equal_number_of_frames(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.avi", 3)
    for count in (2, 4):
        labels = write_labels(tmp_path / f"labels{count}", count)
        with pytest.raises(SourceError, match=rf"contains {count} label images, but .* 3 frames"):
            open_source(str(video), labels=labels)


def test_labels_must_have_the_size_of_the_frame_and_defined_values(tmp_path: Path) -> None:
    image = str(write_image(tmp_path / "000.png", picture(0)))
    small = write_labels(tmp_path / "small", 1, width=32)
    with pytest.raises(DatasetError, match=r"000\.png is 64x48 and its labels .*000\.png 32x48"):
        open_source(image, labels=small)
    video = str(write_video(tmp_path / "a.avi", 1))
    with pytest.raises(SourceError, match=r"000\.png is 32x48, but its frame is 64x48"):
        list(open_source(video, labels=small).frames(CLASSES))
    (tmp_path / "color").mkdir()
    write_image(tmp_path / "color" / "000.png", picture(0))
    text = (
        r"color \(40, 90, 220\) \(3072 pixels\); allowed colors are those of the model; .*classes"
    )
    with pytest.raises(DatasetError, match=text):
        list(open_source(image, labels=tmp_path / "color").frames(CLASSES))
    (tmp_path / "high").mkdir()
    write_labels(tmp_path / "high" / "day", 6)
    for number in range(5):
        (tmp_path / "high" / "day" / f"{number:03d}.png").unlink()
    (tmp_path / "high" / "day" / "005.png").rename(tmp_path / "high" / "000.png")
    with pytest.raises(DatasetError, match=r"000\.png has label 5 .*labels are 0 to 4"):
        list(open_source(image, labels=tmp_path / "high").frames(CLASSES))
    with pytest.raises(SourceError, match="no folder of label images"):
        open_source(image, labels=tmp_path / "none")


def test_labels_of_a_picture_before_it_was_turned_name_exif(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(picture(0)).save(tmp_path / "000.jpg", exif=exif)
    labels = write_labels(tmp_path / "labels", 1)
    with pytest.raises(DatasetError, match=r"turned to 48x64 by its EXIF orientation 6, but its l"):
        open_source(str(tmp_path / "000.jpg"), labels=labels)


def test_files_are_checked_by_their_headers_up_to_the_limit(tmp_path: Path) -> None:
    images, labels = tmp_path / "images", write_labels(tmp_path / "labels", 3)
    images.mkdir()
    for number in range(3):
        write_image(images / f"{number:03d}.png", picture(number))
    assert pairs(open_source(str(images), labels=labels)) == [(n, n) for n in range(3)]
    (labels / "002.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"labels/002\.png is not a readable label image"):
        open_source(str(images), labels=labels)
    assert pairs(open_source(str(images), labels=labels, limit=2)) == [(0, 0), (1, 1)]
    (images / "001.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"images/001\.png is not an image that OpenCV can read"):
        open_source(str(images), labels=labels, limit=2)


def test_labels_of_a_video_before_it_was_turned_name_its_rotation(tmp_path: Path) -> None:
    data = bytearray(write_mp4(tmp_path / "a.mp4", 1))
    matrix = data.index(b"tkhd") + 44
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30)
    data[matrix : matrix + len(quarter)] = quarter
    (tmp_path / "a.mp4").write_bytes(data)
    labels = write_labels(tmp_path / "labels", 1)
    with pytest.raises(SourceError, match=r"frame is 48x64: both .* turned by the rotation in"):
        list(open_source(str(tmp_path / "a.mp4"), labels=labels).frames(CLASSES))


def test_images_beside_a_metadata_file_of_another_program_are_no_bag(tmp_path: Path) -> None:
    write_image(tmp_path / "000.png", picture(0))
    (tmp_path / "metadata.yaml").write_text("camera: 1")
    assert len(list(open_source(str(tmp_path)).frames())) == 1


def test_pictures_of_types_that_are_not_read_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "1.HEIC").touch()
    (tmp_path / "notes.txt").touch()
    named = r"has pictures of types that are not read \(\.heic\): 1, such as 1\.HEIC; convert"
    with pytest.raises(SourceError, match=named):
        open_source(str(tmp_path))
    write_image(tmp_path / "0.png", picture(0))
    open_source(str(tmp_path))
    assert re.search(named, caplog.text)


def test_labels_are_read_as_for_training(tmp_path: Path) -> None:
    """1-bit and palette PNGs contain ids, which OpenCV alone would not return."""
    image = str(write_image(tmp_path / "a.png", picture(0)))
    ids = np.zeros((48, 64), np.uint8)
    ids[:, 20:] = 1
    bits, palette = PIL.Image.fromarray(ids * 255).convert("1"), PIL.Image.fromarray(ids)
    palette.putpalette([value for entry in CLASSES for value in entry.color])
    colors = PIL.Image.fromarray(np.uint8([entry.color for entry in CLASSES])[ids])
    for number, mask in enumerate((bits, palette, colors)):
        folder = tmp_path / str(number)
        folder.mkdir()
        mask.save(folder / "a.png")
        (frame,) = open_source(image, labels=folder).frames(CLASSES)
        np.testing.assert_array_equal(frame.labels, ids)


def test_classes_beside_the_labels_go_before_those_of_the_model(tmp_path: Path) -> None:
    image = str(write_image(tmp_path / "a.png", picture(0)))
    (tmp_path / "labels").mkdir()
    colors = np.full((48, 64, 3), (9, 8, 7), np.uint8)
    colors[:10], colors[:5] = (1, 2, 3), (0, 0, 0)
    write_image(tmp_path / "labels" / "a.png", colors)
    (tmp_path / "classes.txt").write_text("0 wall 1 2 3\n1 tree 9 8 7\n255 void 0 0 0\n")
    source = open_source(image, labels=tmp_path / "labels")
    assert source.class_names == ("wall", "tree")
    (frame,) = source.frames(CLASSES)
    assert frame.labels is not None
    assert frame.labels[:, 0].tolist() == [255] * 5 + [0] * 5 + [1] * 38


def test_label_ids_of_cityscapes_are_those_of_its_classes(tmp_path: Path) -> None:
    image = str(write_image(tmp_path / "x_leftImg8bit.png", picture(0)))
    labels = write_labels(tmp_path / "labels", 8)
    (labels / "007.png").rename(labels / "x_gtFine_labelIds.png")
    cityscapes = read_classes(share_directory() / "config" / "classes" / "cityscapes.yaml")
    (frame,) = open_source(image, labels=labels).frames(cityscapes)
    assert np.unique(frame.labels).tolist() == [0]  # 7 is road, whose train id is 0
    underscored = [replace(entry, name=entry.name.replace(" ", "_")) for entry in cityscapes]
    (frame,) = open_source(image, labels=labels).frames(underscored)
    assert np.unique(frame.labels).tolist() == [0]
    (frame,) = open_source(image, labels=labels).frames(cityscapes[:8])
    assert np.unique(frame.labels).tolist() == [7]


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


NAMES = (
    *(
        "2026-05-01T12:30:00",
        "img_%04d",
        "100%",
        "%20",
        "-front",
        "a b [c]",
        "b\\c",
        "#1?",
        "k\xf6ln",
    ),
    *("camera:0/12:30", "rtsp:/x", os.fsdecode(b"latin-1 \xe4")),
)


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    write_video(tmp_path / "v.avi", 3).rename(f"{name}.avi")
    write_mp4(tmp_path / "v.mp4", 3)
    Path("v.mp4").rename(f"{name}.mp4")
    for suffix in ("avi", "mp4"):
        assert numbers(list(open_source(f"{name}.{suffix}").frames())) == [0, 1, 2]
    write_image(tmp_path / "x.png", picture(1)).rename(f"{name}.png")
    (frame,) = open_source(f"{name}.png").frames()
    assert numbers([frame]) == [1]
    assert frame.name == Path(name).name
    Path(f"{name}.folder").mkdir()
    Path(f"{name}.png").rename(Path(f"{name}.folder") / "a.png")
    assert numbers(list(open_source(f"{name}.folder").frames())) == [1]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_bag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    bag = write_bag(Path("b"), [("/camera", IMAGE, image_message(picture(0)))])
    (file,) = bag.glob("*.mcap")
    bag.rename(name)
    assert numbers(list(open_source(name).frames())) == [0]
    (Path(name) / file.name).rename(f"{name}.mcap")
    assert numbers(list(open_source(f"{name}.mcap").frames())) == [0]


def test_a_file_named_like_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("http:").mkdir()
    write_image(Path("http:") / "a.png", picture(2))
    assert numbers(list(open_source("http://a.png").frames())) == [2]


def test_subfolders_are_read_and_folders_of_labels_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, name in enumerate(("a", "day_1/a", "day_2/run/b", "day_2/masks/b", ".cache/c")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / f"{name}.png", picture(number))
    frames = list(open_source(str(tmp_path)).frames())
    assert numbers(frames) == [0, 1, 2]
    assert [frame.name for frame in frames] == ["a", "day_1/a", "day_2/run/b"]
    assert [record.getMessage() for record in caplog.records] == [
        f"not reading {tmp_path}/day_2/masks: its name is that of a folder of labels"
    ]


def test_labels_in_a_subfolder_of_the_images(tmp_path: Path) -> None:
    write_labels(tmp_path / "truth", 2)
    for number in range(2):
        write_image(tmp_path / f"{number:03d}.jpg", picture(number))
    for labels in (tmp_path / "truth", Path(os.path.relpath(tmp_path / "truth"))):
        assert pairs(open_source(str(tmp_path), labels=labels)) == [(0, 0), (1, 1)]
    with pytest.raises(SourceError, match="is the folder of the images, too: move the labels"):
        open_source(str(tmp_path), labels=tmp_path)
