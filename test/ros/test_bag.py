"""Bags as other tools and killed recorders leave them: read whole, or refused with the command."""

import sqlite3
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rosbags.rosbag1
import yaml
import zstandard
from bags import (
    COMPRESSED,
    IMAGE,
    STORE,
    compressed_message,
    image_message,
    numbers,
    picture,
    text_message,
    write_bag,
)
from mcap.writer import CompressionType, Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.typesys import Stores, get_typestore

from bisenet_ros.errors import BagError
from bisenet_ros.ros.bag import ImageBag
from bisenet_ros.ros.bag_files import open_bag_file

STORAGES = [StoragePlugin.MCAP, StoragePlugin.SQLITE3]
SUFFIX = {StoragePlugin.MCAP: ".mcap", StoragePlugin.SQLITE3: ".db3"}


def cdr(number: int, stamp: tuple[int, int] = (0, 0)) -> bytes:
    return bytes(STORE.serialize_cdr(image_message(picture(number), stamp=stamp), IMAGE))


def camera_bag(folder: Path, storage: StoragePlugin = StoragePlugin.MCAP, count: int = 4) -> Path:
    messages = [("/camera", IMAGE, image_message(picture(n))) for n in range(count)]
    return write_bag(folder, [text_message("hello"), *messages], storage)


def read(path: Path, topic: str | None = None) -> list[int]:
    bag = ImageBag(path, topic)
    found = numbers(list(bag))
    assert len(found) == len(bag)
    return found


def edit_metadata(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    path = folder / "metadata.yaml"
    document = yaml.safe_load(path.read_text())
    change(document["rosbag2_bagfile_information"])
    path.write_text(yaml.safe_dump(document))


Schema = tuple[str, str, bytes]
STRING_IDL = (
    b"#include <std_msgs/msg/Header.idl>\nmodule a { struct B { std_msgs::msg::Header h; }; };"
)
FOREIGN: dict[str, tuple[Schema | None, str]] = {
    "json": (("log", "jsonschema", b'{"type": "object"}'), "json"),
    "protobuf": (("foxglove.Log", "protobuf", b"\n\xff\xfe\x80binary"), "protobuf"),
    "idl with includes": (("a/msg/B", "ros2idl", STRING_IDL), "cdr"),
    "omg idl": (("a::msg::B", "omgidl", STRING_IDL), "cdr"),
    "empty schema": (("std_msgs/msg/String", "ros2msg", b""), "cdr"),
    "unknown schema": (("a/msg/B", "", b""), "cdr"),
    "nonsense": (("a/msg/B", "ros2msg", b"!! no definition"), "cdr"),
    "without schema": (None, "json"),
}


def write_mcap(
    path: Path,
    foreign: Sequence[tuple[Schema | None, str]] = (),
    *,
    profile: str = "ros2",
    chunked: bool = True,
    finish: bool = True,
    count: int = 4,
    compression: CompressionType = CompressionType.ZSTD,
    **options: bool,
) -> Path:
    """Write ``count`` images on /camera, and one message on a topic of each foreign channel."""
    with path.open("wb") as file:
        writer = Writer(
            file, chunk_size=9000, compression=compression, use_chunking=chunked, **options
        )
        writer.start(profile)
        for number, (schema, encoding) in enumerate(foreign):
            id_ = writer.register_schema(*schema) if schema else 0
            channel = writer.register_channel(f"/foreign{number}", encoding, id_)
            writer.add_message(channel, 1, b"{}\0\0\0\0", 1)
        for number in range(count):
            if number == 0:
                schema_id = writer.register_schema(IMAGE, "ros2msg", b"")
                camera = writer.register_channel("/camera", "cdr", schema_id)
            writer.add_message(camera, 10 + number, cdr(number), 10 + number)
        if finish:
            writer.finish()
    return path


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_channel_does_not_hide_images(tmp_path: Path, name: str) -> None:
    assert read(write_mcap(tmp_path / "a.mcap", [FOREIGN[name]])) == [0, 1, 2, 3]


@pytest.mark.parametrize("profile", ["", "ros1", "x-other"])
def test_a_profile_does_not_hide_images(tmp_path: Path, profile: str) -> None:
    assert read(write_mcap(tmp_path / "a.mcap", profile=profile)) == [0, 1, 2, 3]


def test_a_foreign_channel_of_a_db3_does_not_hide_images(tmp_path: Path) -> None:
    bag = camera_bag(tmp_path / "bag", StoragePlugin.SQLITE3)
    with sqlite3.connect(bag / "bag.db3") as database:
        database.execute("UPDATE message_definitions SET encoding = 'unknown' WHERE id = 1")
        database.execute("UPDATE topics SET serialization_format = 'json' WHERE name = '/chatter'")
    assert read(bag) == [0, 1, 2, 3]


def test_a_type_named_as_in_idl(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start("")
        schema = writer.register_schema("sensor_msgs::msg::Image", "omgidl", b"")
        writer.add_message(writer.register_channel("/camera", "cdr", schema), 1, cdr(3), 1)
        writer.finish()
    assert read(path) == [3]


def test_images_in_foreign_encodings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    foreign = [(("foxglove.RawImage", "protobuf", b""), "protobuf"), ((IMAGE, "", b""), "json")]
    write_mcap(path, foreign, count=0)
    with pytest.raises(BagError) as refused:
        ImageBag(path)
    assert str(refused.value) == (
        f"{path} has no topic of images: its topics are /foreign0 (foxglove.RawImage in protobuf), "
        "/foreign1 (sensor_msgs/msg/Image in json)"
    )


def test_an_mcap_made_from_a_ros_1_bag(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    header = types["std_msgs/msg/Header"](7, types["builtin_interfaces/msg/Time"](5, 6), "left")
    message = types[IMAGE](header, 48, 64, "rgb8", 0, 192, picture(2).reshape(-1))
    raw = bytes(store.serialize_ros1(message, IMAGE))
    path = tmp_path / "a.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start("ros1")
        schema = writer.register_schema("sensor_msgs/Image", "ros1msg", b"uint8[] data")
        channel = writer.register_channel("/left", "ros1", schema)
        writer.add_message(channel, 77, raw, 77)
        writer.finish()
    with rosbags.rosbag1.Writer(tmp_path / "a.bag") as bag:
        connection = bag.add_connection("/left", IMAGE, typestore=store)
        bag.write(connection, 77, raw)
    for name in ("a.mcap", "a.bag"):
        (image,) = ImageBag(tmp_path / name)
        np.testing.assert_array_equal(image.image, picture(2))
        assert image[1:] == (5_000_000_006, "left", 77)


def test_header_and_time_of_an_image(tmp_path: Path) -> None:
    messages = [
        ("/camera", IMAGE, image_message(picture(0), stamp=(3, 4))),
        ("/camera", IMAGE, image_message(picture(1), stamp=(3, 5))),
    ]
    first, second = ImageBag(write_bag(tmp_path / "bag", messages))
    assert first[1:] == (3_000_000_004, "camera", 0)
    assert second[1:] == (3_000_000_005, "camera", 1)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_wrong_storage_identifier_is_ignored(tmp_path: Path, storage: StoragePlugin) -> None:
    bag = camera_bag(tmp_path / "bag", storage)
    for wrong in ("", "sqlite3" if storage is StoragePlugin.MCAP else "mcap"):
        edit_metadata(bag, lambda info, wrong=wrong: info.update(storage_identifier=wrong))
        assert read(bag) == [0, 1, 2, 3]


@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
@pytest.mark.parametrize("storage", STORAGES)
def test_compression_of_rosbag2(
    tmp_path: Path, storage: StoragePlugin, mode: CompressionMode
) -> None:
    from rosbags.rosbag2 import Writer as BagWriter

    bag = BagWriter(tmp_path / "bag", version=9, storage_plugin=storage)
    bag.set_compression(mode, CompressionFormat.ZSTD)
    with bag:
        connection = bag.add_connection("/camera", IMAGE, typestore=STORE)
        for number in range(4):
            bag.write(connection, number, cdr(number))
    assert read(tmp_path / "bag") == [0, 1, 2, 3]
    # The file alone: metadata.yaml, which states the compression, is often left behind.
    (file,) = (path for path in (tmp_path / "bag").iterdir() if path.name != "metadata.yaml")
    suffix = SUFFIX[storage] + (".zstd" if mode is CompressionMode.FILE else "")
    assert file.name == f"bag{suffix}"
    alone = file.rename(tmp_path / f"alone{suffix}")
    assert read(alone) == [0, 1, 2, 3]


def test_unpacked_files_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    packed = tmp_path / "a.mcap.zstd"
    packed.write_bytes(zstandard.compress(write_mcap(tmp_path / "a.mcap").read_bytes()))
    bag = ImageBag(packed)
    assert list((tmp_path / "temporary").rglob("*.mcap"))
    del bag
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_compressed_file_that_is_no_bag(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap.zstd"
    path.write_bytes(b"\x28\xb5\x2f\xfd" + b"\xff" * 100)
    with pytest.raises(
        BagError, match=r"a\.mcap\.zstd is damaged .* `zstd -dc \S+/a\.mcap\.zstd >"
    ):
        ImageBag(path)
    path.write_bytes(zstandard.compress(b"a text"))
    with pytest.raises(BagError, match=r"a\.mcap\.zstd cannot be read as a bag, since it has none"):
        ImageBag(path)


@pytest.mark.parametrize("stated", [50, 2])
@pytest.mark.parametrize("storage", STORAGES)
def test_the_messages_in_the_file_count(
    tmp_path: Path, storage: StoragePlugin, stated: int, caplog: pytest.LogCaptureFixture
) -> None:
    bag = camera_bag(tmp_path / "bag", storage)

    def change(info: dict[str, object]) -> None:
        (topic,) = (
            topic
            for topic in info["topics_with_message_count"]
            if topic["topic_metadata"]["name"] == "/camera"
        )
        topic["message_count"] = stated

    assert read(bag) == [0, 1, 2, 3]
    assert caplog.messages == []
    edit_metadata(bag, change)
    assert read(bag) == [0, 1, 2, 3]
    assert caplog.messages == [
        f"{bag} has 4 of {stated} messages on /camera that its metadata.yaml states"
    ]


def test_renamed_and_unpacked_files_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bag = camera_bag(tmp_path / "bag")
    (bag / "bag.mcap").rename(bag / "drive.mcap")
    assert read(bag) == [0, 1, 2, 3]
    (bag / "drive.mcap").rename(bag / "bag.mcap")
    edit_metadata(bag, lambda info: info.update(relative_file_paths=["bag.mcap.zstd"]))
    assert read(bag) == [0, 1, 2, 3]
    assert caplog.messages == [
        f"{bag}/metadata.yaml names bag.mcap: reading drive.mcap instead",
        f"{bag}/metadata.yaml names bag.mcap.zstd: reading bag.mcap instead",
    ]


def split_bag(folder: Path, storage: StoragePlugin = StoragePlugin.MCAP) -> Path:
    """Write a bag of three files, bag_2 before bag_10 in time, of two images each."""
    parts = []
    for part, name in enumerate(("bag_1", "bag_2", "bag_10")):
        messages = [("/camera", IMAGE, image_message(picture(2 * part + n))) for n in range(2)]
        parts.append(write_bag(folder / name, messages, storage, start=2 * part))
    suffix = SUFFIX[storage]
    for part in parts:
        (part / f"{part.name}{suffix}").rename(folder / f"{part.name}{suffix}")
    (parts[0] / "metadata.yaml").rename(folder / "metadata.yaml")
    names = [f"{part.name}{suffix}" for part in parts]

    def change(info: dict[str, object]) -> None:
        info["relative_file_paths"] = names
        info["topics_with_message_count"][0]["message_count"] = 6

    edit_metadata(folder, change)
    return folder


@pytest.mark.parametrize("storage", STORAGES)
def test_a_split_bag(
    tmp_path: Path, storage: StoragePlugin, caplog: pytest.LogCaptureFixture
) -> None:
    bag = split_bag(tmp_path / "bag", storage)
    assert read(bag) == [0, 1, 2, 3, 4, 5]
    assert caplog.messages == []
    missing = bag / f"bag_2{SUFFIX[storage]}"
    away = missing.rename(tmp_path / missing.name)
    name = "mcap" if storage is StoragePlugin.MCAP else "sqlite3"
    with pytest.raises(BagError) as refused:
        ImageBag(bag)
    assert str(refused.value) == (
        f"{bag} cannot be read as a bag: its metadata.yaml names {missing.name}, which is not "
        f"there: copy what is missing into the folder, or run `ros2 bag reindex -s {name} {bag}` "
        "to go on without"
    )
    away.rename(missing)
    edit_metadata(bag, lambda info: info["relative_file_paths"].pop(1))
    assert read(bag) == [0, 1, 4, 5]
    assert f"does not name {missing.name}, which is not read: run `ros2 bag re" in caplog.text


def test_the_metadata_of_many_topics(tmp_path: Path) -> None:
    bag = split_bag(tmp_path / "bag")

    def change(info: dict[str, object]) -> None:
        info["topics_with_message_count"] += [
            {
                "message_count": 0,
                "topic_metadata": {"name": f"/t{n}", "offered_qos_profiles": [n] * 50},
            }
            for n in range(500)
        ]

    edit_metadata(bag, change)
    assert read(bag) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("metadata", [None, "- nothing", "a: [", "{}"])
def test_a_folder_without_metadata(
    tmp_path: Path, metadata: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A killed recorder has not written it."""
    bag = split_bag(tmp_path / "bag")
    (bag / "metadata.yaml").unlink()
    if metadata is not None:
        (bag / "metadata.yaml").write_text(metadata)
    with pytest.raises(BagError, match=r"has 3 files of bags, and .* run `ros2 bag reindex -s mca"):
        ImageBag(bag)
    for name in ("bag_2.mcap", "bag_10.mcap"):
        (bag / name).unlink()
    assert read(bag) == [0, 1]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith(": reading bag_1.mcap")
    (bag / "bag_1.mcap").unlink()
    with pytest.raises(BagError, match=r"cannot be read as a bag: .*; it has no file"):
        ImageBag(bag)


@pytest.mark.parametrize("chunked", [True, False])
def test_an_mcap_of_a_killed_recorder(
    tmp_path: Path, chunked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    whole = write_mcap(
        tmp_path / "whole.mcap",
        list(FOREIGN.values()),
        chunked=chunked,
        compression=CompressionType.NONE,
    )
    data = whole.read_bytes()
    end = data.index(cdr(3)) + 100  # within the last image
    killed = tmp_path / "killed drive.mcap"
    killed.write_bytes(data[:end])
    assert read(killed) == [0, 1, 2]
    assert len(caplog.messages) == 1
    assert f"{killed} breaks off at byte " in caplog.messages[0]
    assert f"`mcap recover '{killed}' -o " in caplog.messages[0]
    killed.write_bytes(data[:end] + bytes(5000))  # blocks that were allocated, not written
    assert read(killed) == [0, 1, 2]
    caplog.clear()
    killed.write_bytes(data[:50])
    with pytest.raises(BagError, match="has no topic of images: it is empty"):
        ImageBag(killed)
    assert "as if its recorder had been killed: reading the 0 messages before" in caplog.text


def test_an_mcap_without_summary_or_chunks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.mcap"
    for options in (
        {"use_statistics": False},
        {"repeat_channels": False, "repeat_schemas": False},
        {"chunked": False},
        {"compression": CompressionType.LZ4},
    ):
        write_mcap(path, [FOREIGN["protobuf"]], **options)
        assert read(path) == [0, 1, 2, 3], options
    assert caplog.messages == []


def test_a_db3_of_a_killed_recorder(tmp_path: Path) -> None:
    """The last messages are in its write-ahead log."""
    bag = camera_bag(tmp_path / "bag", StoragePlugin.SQLITE3, count=2)
    database = sqlite3.connect(bag / "bag.db3")
    database.execute("PRAGMA journal_mode=WAL")
    (topic,) = database.execute("SELECT id FROM topics WHERE name = '/camera'").fetchone()
    database.execute(
        "INSERT INTO messages (topic_id, timestamp, data) VALUES (?, 9, ?)", (topic, cdr(5))
    )
    database.commit()
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("bag.db3", "bag.db3-wal"):
        (killed / name).write_bytes((bag / name).read_bytes())
    database.close()
    assert read(killed / "bag.db3") == [0, 1, 5]


def test_an_index_that_states_more_than_there_is(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "a.mcap")
    data = path.read_bytes()
    counts = data.rindex(struct.pack("<HQ", 1, 4))  # in the statistics
    path.write_bytes(data[:counts] + struct.pack("<HQ", 1, 9) + data[counts + 10 :])
    images = iter(ImageBag(path))
    assert numbers([next(images) for _ in range(4)]) == [0, 1, 2, 3]
    with pytest.raises(BagError, match=r"has 4 of 9 messages on /camera that its index states"):
        next(images)


def test_damage_within_a_file(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "a.mcap", compression=CompressionType.NONE)
    data = bytearray(path.read_bytes())
    at = data.index(cdr(2)) + 5000
    data[at] ^= 0xFF
    path.write_bytes(data)
    images = iter(ImageBag(path))
    assert numbers([next(images), next(images)]) == [0, 1]
    with pytest.raises(BagError, match=r"damaged at message 2 of 4 on /camera .*`mcap recover "):
        next(images)
    assert list(images) == []

    bag = camera_bag(tmp_path / "bag", StoragePlugin.SQLITE3)
    file = bag / "bag.db3"
    data = bytearray(file.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    file.write_bytes(data)
    with pytest.raises(BagError, match=r"cannot be read as a bag .*`sqlite3 .*bag.db3 .recover \|"):
        ImageBag(bag)


def test_a_truncated_compressed_file_is_read_up_to_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = write_mcap(tmp_path / "a.mcap", compression=CompressionType.NONE).read_bytes()
    packed = tmp_path / "b.mcap.zstd"
    packed.write_bytes(zstandard.compress(whole[: whole.index(cdr(3))]))
    assert read(packed) == [0, 1, 2]
    unpacked = packed.with_suffix("")
    assert f"`zstd -d {packed} -o {unpacked}; mcap recover {unpacked} -o" in caplog.messages[0]


def test_iteration_goes_on_after_a_bad_message(tmp_path: Path) -> None:
    messages = [
        ("/camera", IMAGE, image_message(picture(0))),
        ("/camera", IMAGE, image_message(picture(1), "16UC1")),
        ("/camera", IMAGE, image_message(picture(2))),
    ]
    images = iter(ImageBag(write_bag(tmp_path / "bag", messages)))
    first = next(images)
    with pytest.raises(BagError, match=r"message 1: image encoding '16UC1'"):
        next(images)
    assert numbers([first, *images]) == [0, 2]


def test_names_with_special_characters(tmp_path: Path) -> None:
    for storage in STORAGES:
        (file,) = camera_bag(tmp_path / storage.name, storage).glob(f"*{SUFFIX[storage]}")
        assert read(file.rename(tmp_path / f"a#b?c%20 é{file.suffix}")) == [0, 1, 2, 3]


def test_what_is_no_bag(tmp_path: Path) -> None:
    (tmp_path / "empty.mcap").touch()
    with pytest.raises(BagError, match=r"empty\.mcap cannot be read as a bag: it is empty, as"):
        ImageBag(tmp_path / "empty.mcap")
    bag = camera_bag(tmp_path / "bag")
    (bag / "bag.mcap").write_bytes(b"")
    with pytest.raises(BagError, match=r"bag\.mcap cannot be read as a bag: it is empty, as"):
        ImageBag(bag)
    (tmp_path / "text.db3").write_text("not a bag at all")
    with pytest.raises(BagError, match=r"text\.db3 cannot be read as a bag, since it has none"):
        ImageBag(tmp_path / "text.db3")


def test_a_db3_is_closed_by_another_thread(tmp_path: Path) -> None:
    """``bisenet demo --frames`` does so."""
    folder = camera_bag(tmp_path / "bag", StoragePlugin.SQLITE3)
    messages = open_bag_file(folder / "bag.db3", tmp_path).messages("/camera")
    with ThreadPoolExecutor(1) as reader:
        assert reader.submit(next, messages).result().time_ns == 1
    messages.close()


def test_two_channels_on_one_topic(tmp_path: Path) -> None:
    messages = [
        ("/camera", IMAGE, image_message(picture(0))),
        ("/camera", COMPRESSED, compressed_message(picture(1))),
        ("/camera", IMAGE, image_message(picture(2))),
    ]
    assert read(write_bag(tmp_path / "bag", messages)) == [0, 1, 2]
