"""The files of a ROS bag, and the raw messages in them.

A file is taken as what its first bytes say and read without the definitions of its types, so that
neither a wrong ``metadata.yaml`` nor channels of other encodings (JSON, Protobuf, ...) hide topics.
"""

import sqlite3
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path, PurePath
from shlex import quote
from typing import IO, ClassVar, NamedTuple

import mcap.reader
import mcap.records
import mcap.summary
import rosbags.rosbag1
import yaml
import zstandard

from bisenet_ros.documents import read_text
from bisenet_ros.errors import BagError, DocumentError, first_line

ZSTD_SUFFIXES = (".zstd", ".zst")  # of rosbag2 and of the command zstd
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

METADATA = "metadata.yaml"
_MAX_METADATA = 16 * 1024**2
"""Largest metadata.yaml in bytes."""


class Channel(NamedTuple):
    """A topic of a file, with the type and encoding of its messages; one topic can have several."""

    topic: str
    type: str
    encoding: str


class RawMessage(NamedTuple):
    """A message as recorded, and when it was received [ns]."""

    channel: Channel
    time_ns: int
    data: bytes


class BagFile(ABC):
    """One file of a bag.

    - ``repair``: command that repairs a damaged file, with fields ``file`` and ``stem``.
    - ``start_ns``: when its first message was received; 0 without messages.
    - ``counts``: number of messages in the file by channel.
    - ``incomplete``: why only the first part of the file can be read; empty if it is complete.
    """

    repair: ClassVar[str]

    def __init__(self, path: Path) -> None:
        """Count the messages; parsers of damaged files may raise any exception."""
        self._path = path
        self.start_ns = 0
        self.counts: Counter[Channel] = Counter()
        self.incomplete = ""

    @abstractmethod
    def messages(self, topic: str) -> Iterator[RawMessage]:
        """Yield the messages on ``topic`` in the order that they were received in."""


class McapFile(BagFile):
    """An MCAP file, also without index or end, or with another profile than ROS 2's."""

    repair = "mcap recover {file} -o {stem}_recovered.mcap"

    def __init__(self, path: Path) -> None:
        """Read the index; without one, all messages."""
        super().__init__(path)
        with path.open("rb") as file:
            summary = _mcap_summary(file)
        self._indexed = summary is not None
        if summary is not None and summary.statistics is not None:
            counts = summary.statistics.channel_message_counts
            self.start_ns = summary.statistics.message_start_time
            for id_, channel in summary.channels.items():
                schema = summary.schemas.get(channel.schema_id)
                self.counts[_mcap_channel(schema, channel)] += counts.get(id_, 0)
        else:
            for message in self._all_messages():
                self.counts[message.channel] += 1
                self.start_ns = min(self.start_ns or message.time_ns, message.time_ns)

    def messages(self, topic: str) -> Iterator[RawMessage]:
        """Yield the messages on ``topic``."""
        if not self._indexed:
            yield from (each for each in self._all_messages() if each.channel.topic == topic)
            return
        with self._path.open("rb") as file:
            reader = mcap.reader.SeekingReader(file, validate_crcs=True)
            for schema, channel, message in reader.iter_messages([topic]):
                yield RawMessage(_mcap_channel(schema, channel), message.log_time, message.data)

    def _all_messages(self) -> Iterator[RawMessage]:
        """Yield the messages as written, up to where the file breaks off."""
        with self._path.open("rb") as file:
            reader = mcap.reader.NonSeekingReader(file, validate_crcs=True)
            messages = reader.iter_messages(log_time_order=False)
            while True:
                try:
                    schema, channel, message = next(messages)
                except StopIteration:
                    return
                except Exception as error:  # the decompressors raise errors of their own
                    self.incomplete = f"breaks off at byte {file.tell()} ({first_line(error)})"
                    return
                yield RawMessage(_mcap_channel(schema, channel), message.log_time, message.data)


def _mcap_summary(file: IO[bytes]) -> mcap.summary.Summary | None:
    """Return the index of a file, or None if there is none of all its messages."""
    try:
        summary = mcap.reader.SeekingReader(file).get_summary()
    except Exception:  # no end, or one that is damaged: parsers of its records raise anything
        return None
    if summary is None or summary.statistics is None:
        return None
    channels = set(summary.statistics.channel_message_counts)
    channels.update(id_ for chunk in summary.chunk_indexes for id_ in chunk.message_index_offsets)
    schemas = {channel.schema_id for channel in summary.channels.values()} - {0}
    if not (channels <= summary.channels.keys() and schemas <= summary.schemas.keys()):
        return None
    return summary if summary.chunk_indexes or not summary.statistics.message_count else None


def _mcap_channel(schema: mcap.records.Schema | None, channel: mcap.records.Channel) -> Channel:
    name = schema.name.replace("::", "/") if schema is not None else ""  # OMG's IDL has ::
    package, _, kind = name.partition("/")
    if channel.message_encoding == "ros1" and kind:
        name = f"{package}/msg/{kind}"
    return Channel(channel.topic, name, channel.message_encoding)


class SqliteFile(BagFile):
    """A .db3 file of rosbag2."""

    repair = "sqlite3 {file} .recover | sqlite3 {stem}_recovered.db3"

    def __init__(self, path: Path) -> None:
        """Count the messages."""
        super().__init__(path)
        with closing(self._connect()) as database:
            self.counts = Counter(
                {
                    Channel(*channel): count
                    for *channel, count in database.execute(
                        "SELECT name, type, serialization_format, COUNT(messages.id) FROM topics "
                        "LEFT JOIN messages ON topics.id = topic_id GROUP BY 1, 2, 3"
                    )
                }
            )
            ((start,),) = database.execute("SELECT MIN(timestamp) FROM messages")
        self.start_ns = start or 0

    def messages(self, topic: str) -> Iterator[RawMessage]:
        """Yield the messages on ``topic``."""
        with closing(self._connect()) as database:
            for *channel, time_ns, data in database.execute(
                "SELECT name, type, serialization_format, timestamp, data FROM messages "
                "JOIN topics ON topics.id = topic_id WHERE name = ? "
                "ORDER BY timestamp, messages.id",
                (topic,),
            ):
                yield RawMessage(Channel(*channel), time_ns, data)

    def _connect(self) -> sqlite3.Connection:
        # A killed recorder leaves messages in a write-ahead log, which an immutable database
        # ignores; without a log, only an immutable one can be read from a read-only folder.
        log = self._path.with_name(f"{self._path.name}-wal")
        mode = "mode=ro" if log.exists() else "mode=ro&immutable=1"
        # A generator that is not read to its end is closed by any thread.
        return sqlite3.connect(
            f"{self._path.absolute().as_uri()}?{mode}", uri=True, check_same_thread=False
        )


class Ros1File(BagFile):
    """A .bag file of ROS 1."""

    repair = "rosbag reindex {file}"

    def __init__(self, path: Path) -> None:
        """Read the index."""
        super().__init__(path)
        with rosbags.rosbag1.Reader(path) as reader:
            for each in reader.connections:
                self.counts[Channel(each.topic, each.msgtype, "ros1")] += each.msgcount
            self.start_ns = reader.start_time if reader.message_count else 0

    def messages(self, topic: str) -> Iterator[RawMessage]:
        """Yield the messages on ``topic``."""
        with rosbags.rosbag1.Reader(self._path) as reader:
            connections = [each for each in reader.connections if each.topic == topic]
            for connection, time_ns, data in reader.messages(connections):
                yield RawMessage(Channel(topic, connection.msgtype, "ros1"), time_ns, data)


_FORMATS: dict[bytes, type[BagFile]] = {
    b"\x89MCAP0\r\n": McapFile,
    b"SQLite format 3\0": SqliteFile,
    b"#ROSBAG V2": Ros1File,
}


def open_bag_file(path: Path, folder: Path) -> BagFile:
    """Return the reader of one file of a bag.

    Args:
        path: the file, perhaps compressed as a whole by rosbag2.
        folder: where a compressed file is unpacked.

    Raises:
        BagError: the file is not of a bag, or damaged; the message has the command that helps.
    """
    if not path.is_file():
        raise BagError(f"{path} is not a regular file: give an .mcap, .db3 or .bag file")
    file, start = path, _first_bytes(path)
    if start.startswith(ZSTD_MAGIC):
        file = _unpack(path, folder)
        start = _first_bytes(file)
    if not start:
        raise BagError(
            f"{path} cannot be read as a bag: it is empty, as its recorder was killed before it "
            "wrote; record it again"
        )
    kind = next((kind for magic, kind in _FORMATS.items() if start.startswith(magic)), None)
    if kind is None:
        raise BagError(
            f"{path} cannot be read as a bag, since it has none's first bytes: give an .mcap, .db3 "
            "or .bag file, or the folder of one with its metadata.yaml"
        )
    try:
        return kind(file)
    except Exception as error:  # rosbags lets errors of its parsers through
        raise BagError(
            f"{path} cannot be read as a bag ({first_line(error)}): repair it with "
            f"`{repair_command(path, kind)}`"
        ) from error


def repair_command(path: Path, kind: type[BagFile]) -> str:
    """Return the shell command that repairs ``path``, a damaged file of ``kind``."""
    unpack = ""
    if path.suffix in ZSTD_SUFFIXES:
        unpack = f"{_unpack_command(path)}; "
        path = path.with_suffix("")
    stem = quote(str(path.with_suffix("")))
    return unpack + kind.repair.format(file=quote(str(path)), stem=stem)


def _unpack_command(path: Path) -> str:
    # Not all versions of zstd derive a name from the suffix that rosbag2 uses.
    return f"zstd -d {quote(str(path))} -o {quote(str(path.with_suffix('')))}"


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def _unpack(path: Path, folder: Path) -> Path:
    """Decompress a file; of one that is cut off, what there is."""
    unpacked = folder / path.stem
    try:
        with path.open("rb") as source, unpacked.open("wb") as target:
            zstandard.ZstdDecompressor().copy_stream(source, target)
    except zstandard.ZstdError as error:
        part = quote(str(path.with_suffix("")))
        raise BagError(
            f"{path} is damaged ({first_line(error)}): copy it again, or unpack its first part "
            f"with `zstd -dc {quote(str(path))} > {part}` and give {part}"
        ) from error
    except OSError as error:
        raise BagError(
            f"{path} cannot be unpacked into {folder} ({first_line(error)}): set TMPDIR to a "
            f"folder on a larger disk, or run `{_unpack_command(path)}` and give that file"
        ) from error
    return unpacked


class BagFolder(NamedTuple):
    """The files of a bag's folder and what its metadata.yaml states.

    - ``files``: those to read, at least one.
    - ``stated``: number of messages by topic; empty if unknown.
    - ``warnings``: how the folder differs from its metadata.yaml.
    """

    files: Sequence[Path]
    stated: Mapping[str, int]
    warnings: Sequence[str]


def read_bag_folder(folder: Path) -> BagFolder:
    """Return the files of a bag that rosbag2 recorded.

    A missing or unreadable metadata.yaml (its recorder was killed) is no hindrance if there is one
    file. Files in place of as many missing ones are taken to be these, renamed or unpacked.

    Raises:
        BagError: there is no file, a file is missing, or there are several and no metadata.yaml.
    """
    present = sorted(path for path in folder.iterdir() if _is_bag_file(path))
    try:
        names, stated = _read_metadata(folder / METADATA)
    except DocumentError as error:
        if not present:
            raise BagError(f"{folder} cannot be read as a bag: {error}; it has no file") from error
        if len(present) > 1:
            raise BagError(
                f"{folder} has {len(present)} files of bags, and {error}: give one of them, or if "
                f"they are one recording, run `{_reindex(folder, present[0])}`"
            ) from error
        return BagFolder(present, {}, [f"{error}: reading {present[0].name}"])
    named = [folder / name for name in names]
    missing = [path.name for path in named if not path.exists()]
    others = [path for path in present if path not in named]
    if not missing:
        unread = [path.name for path in others if not _twin(path) & set(named)]
        warnings = [
            f"{folder / METADATA} does not name {name}, which is not read: run "
            f"`{_reindex(folder, present[0])}` to include it"
            for name in unread
        ]
        return BagFolder(named, stated, warnings)
    if len(missing) == len(others):
        warning = (
            f"{folder / METADATA} names {', '.join(missing)}: reading "
            f"{', '.join(path.name for path in others)} instead"
        )
        return BagFolder([path for path in named if path.exists()] + others, stated, [warning])
    remedy = f", or run `{_reindex(folder, present[0])}` to go on without" if present else ""
    raise BagError(
        f"{folder} cannot be read as a bag: its {METADATA} names {', '.join(missing)}, which is "
        f"not there: copy what is missing into the folder{remedy}"
    )


def _is_bag_file(path: Path) -> bool:
    return path.is_file() and _first_bytes(path).startswith((*_FORMATS, ZSTD_MAGIC))


def _twin(path: Path) -> set[Path]:
    """Return the names that the same file has compressed and unpacked."""
    packed = {path.with_name(f"{path.name}{suffix}") for suffix in ZSTD_SUFFIXES}
    return packed | {path.with_suffix("")}


def _reindex(folder: Path, file: Path) -> str:
    storage = "mcap" if ".mcap" in file.suffixes else "sqlite3"
    return f"ros2 bag reindex -s {storage} {quote(str(folder))}"


def _read_metadata(path: Path) -> tuple[list[str], dict[str, int]]:
    """Return the file names and message counts in a metadata.yaml.

    Raises:
        DocumentError: it is missing or not one of rosbag2.
    """
    text = read_text(path, _MAX_METADATA)
    try:
        # Without the limits of our own files: a bag can have thousands of topics and files.
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        bag = document["rosbag2_bagfile_information"]
        names = [PurePath(name).name for name in bag["relative_file_paths"]]
        stated: Counter[str] = Counter()
        for topic in bag["topics_with_message_count"] or ():
            stated[topic["topic_metadata"]["name"]] += int(topic["message_count"])
    except (yaml.YAMLError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise DocumentError(f"{path} is no metadata of rosbag2 ({first_line(error)})") from error
    return names, dict(stated)
