"""Sources of frames: image, folder, video, stream, bag, camera or synthetic street."""

import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import SemanticClass
from bisenet_ros.cli.frame_labels import LabelFiles, find_label_files
from bisenet_ros.datasets.dataset import Files, check_headers, describe_mismatch, files_by_key
from bisenet_ros.datasets.pairing import is_label_folder
from bisenet_ros.errors import SourceError, UserError
from bisenet_ros.images.bit_depth import FULL_DEPTH, BitDepth
from bisenet_ros.images.files import (
    IMAGE_SUFFIXES,
    files_below,
    is_image_file,
    read_image,
    unread_pictures,
)
from bisenet_ros.resources import expand_home
from bisenet_ros.synthetic import CLASS_NAMES, DEMO_SEEDS, Street

if TYPE_CHECKING:
    from bisenet_ros.ros.bag import BagImage

Image = NDArray[np.uint8]
Labels = NDArray[np.uint8]

logger = logging.getLogger(__name__)

SYNTHETIC = "synthetic"
BAG_SUFFIXES = (
    *(".mcap", ".mcap.zstd", ".mcap.zst", ".db3", ".db3.zstd", ".db3.zst"),
    *(".bag", ".bag.active"),  # active: its recorder runs or was killed
)
OVERLAY_FOLDERS = ("overlay", "overlays")
"""Folders of images with labels drawn on them, such as those of ``bisenet segment``."""

MIN_RATE, MAX_RATE = 1e-4, 1e4
"""Frames per second that a video's header may state; others mean that it does not know."""

STREETS = 10
STREET_FRAMES = 120
"""Default number of frames of the synthetic source."""


@dataclass(frozen=True)
class Frame:
    """An image and, if known, its labels.

    Attributes:
        image: uint8 [H,W,3] RGB.
        labels: Class ids uint8 [H,W], 255 = ignore; None if unknown.
        name: Path of an image relative to the source's folder, without its suffix where that is not
            needed to tell two images apart; None for other sources.
        path: File of an image; None for other sources.
        seconds: Time of a video's frame by the file, which starts at the length of a frame; None
            if unknown, and for other sources.
        recorded: Stamp and frame of an image from a bag; None for other sources.
    """

    image: Image
    labels: Labels | None = None
    name: str | None = None
    path: Path | None = None
    seconds: float | None = None
    recorded: "BagImage | None" = None


@dataclass(frozen=True)
class Source:
    """A sequence of frames that are read one at a time.

    Attributes:
        name: Name to show to the user.
        stated: Number of frames, for a video or bag as stated in its header; None if unknown, as
            for a camera or stream.
        read: Function that opens the source and returns an iterator over its frames, which raises a
            ``UserError`` at a frame that cannot be read. Images and bags go on with the next frame
            then.
        class_names: Class names of the labels by id; None if unknown or without labels.
        labels: Label files that replace the labels of ``read``, or None.
        limit: Maximum number of frames, or None.
        rate: Frames per second of a video as stated in its header; None if unknown and for other
            sources.
    """

    name: str
    stated: int | None
    read: Callable[[], Iterator[Frame]]
    class_names: tuple[str, ...] | None = None
    labels: LabelFiles | None = None
    limit: int | None = None
    rate: float | None = None

    @property
    def length(self) -> int | None:
        """Number of frames to expect; None if unknown."""
        known = [number for number in (self.stated, self.limit) if number is not None]
        return min(known, default=None)

    def frames(self, classes: Sequence[SemanticClass] = ()) -> Iterator[Frame]:
        """Open the source and return an iterator over its frames, with labels if there are any.

        Args:
            classes: Classes of label files without classes.txt.
        """
        return _Frames(self, classes)

    def with_labels(self, labels: LabelFiles) -> "Source":
        """Return the source with label files.

        Raises:
            SourceError: There are more or fewer frames than label files.
        """
        labeled = replace(self, labels=labels, class_names=labels.class_names)
        unnamed = len(labels.in_order)
        if unnamed and self.stated is not None and (self.limit is None or self.stated != unnamed):
            # The header may be wrong, and labels of another frame would go unnoticed.
            number = sum(1 for _ in self.read())
            if number != unnamed:
                raise labeled.mismatch(labels, str(number))
        return labeled

    def mismatch(self, labels: LabelFiles, frames: str) -> SourceError:
        """Return the error that label files are paired in order with ``frames`` frames."""
        stated = "" if self.stated is None else f" ({self.stated} by its header)"
        return SourceError(
            f"{labels.folder} contains {len(labels.in_order)} label images, but {self.name} has "
            f"{frames} frames{stated}: provide one for each frame, in the same order"
        )


class _Frames(Iterator[Frame]):
    """Iterator over the frames of a source, which goes on after an error if the source does.

    Logs a warning at the end if there were fewer frames than stated.
    """

    def __init__(self, source: Source, classes: Sequence[SemanticClass]) -> None:
        self._source = source
        self._frames = source.read()
        self._number = 0
        self._decode = source.labels.reader(classes) if source.labels else None

    def __next__(self) -> Frame:
        """Return the next frame.

        Raises:
            UserError: The frame or its label file cannot be read, or there are more or fewer
                frames than label files.
        """
        if self._number == self._source.limit:
            raise StopIteration
        try:
            frame = next(self._frames)
        except StopIteration:
            self._check_number()
            raise
        except UserError:  # the next frame still belongs to the next label file
            self._number += 1
            raise
        self._number += 1
        if self._source.labels is None or self._decode is None:
            return frame
        path = self._label_file(self._source.labels, frame)
        labels = self._decode(path)
        if labels.shape != frame.image.shape[:2]:
            if frame.path is not None:
                raise SourceError(describe_mismatch(frame.path, frame.image, path, labels))
            height, width = frame.image.shape[:2]
            hint = " (videos are turned by the rotation in their header)"
            raise SourceError(
                f"{path} is {labels.shape[1]}x{labels.shape[0]}, but its frame is {width}x{height}"
                f": both must have the same size{hint * (labels.shape == (width, height))}"
            )
        return replace(frame, labels=labels)

    def _label_file(self, labels: LabelFiles, frame: Frame) -> Path:
        if frame.name is not None:
            return labels.by_name[frame.name]
        if self._number > len(labels.in_order):
            raise self._source.mismatch(labels, "more")
        return labels.in_order[self._number - 1]

    def _check_number(self) -> None:
        """Compare the number of frames, at their end, with the header and with label files."""
        source = self._source
        if source.labels is not None and self._number < len(source.labels.in_order):
            raise source.mismatch(source.labels, str(self._number))
        if source.length is not None and self._number < source.length:
            logger.warning(
                "%s: %d of %d frames that the header states; the file breaks off or is damaged, "
                "or the header is wrong",
                source.name,
                self._number,
                source.stated,
            )


def open_source(
    given: str,
    *,
    topic: str | None = None,
    labels: Path | None = None,
    limit: int | None = None,
    bit_depth: int = FULL_DEPTH,
) -> Source:
    """Return the source that ``given`` names, after checking that it can be opened.

    Args:
        given: ``synthetic``, a path, a camera number such as ``0``, or a URL that OpenCV can open,
            such as ``rtsp://camera/stream``.
        topic: Image topic to read from a bag that has several.
        labels: Folder of label images, named like the images of the source. The k-th belongs to the
            k-th frame of a video, stream or bag.
        limit: Maximum number of frames, at least 1.
        bit_depth: Number of bits of the values in 16-bit images, see ``BitDepth``.

    Raises:
        SourceError: The source does not exist or cannot be read, or the labels do not match it.
        DatasetError: The folder has no label images, they have no certain order, or the header of
            one shows that it cannot be read or is not of the size of its image.
        ClassesError: The classes.txt of the labels is malformed.
        BagError: The bag cannot be read.
    """
    if limit is not None and limit < 1:
        raise SourceError(f"{limit} frames were requested; must be at least 1")
    path, depth = expand_home(given), BitDepth(bit_depth)
    bag = is_bag(path)
    if topic is not None and not bag:
        raise SourceError(f"--topic {topic} applies only to bags, but {given} is not one; omit it")

    images: Files | None = None
    if given == SYNTHETIC:
        if labels is not None:
            raise SourceError("the synthetic street has its own labels: omit --labels")
        return _street(limit or STREET_FRAMES)
    if given.isdecimal() and not path.exists():
        if labels is not None:
            raise SourceError(f"live images of camera {given} have no labels: omit --labels")
        source = _camera(int(given))
    elif _is_url(given) and not path.exists():
        source = _video(given)
    elif not path.exists():
        raise SourceError(
            f"{given} does not exist: give an image, a folder of images, a video, a bag, a camera "
            f"number, a stream URL, or '{SYNTHETIC}'"
        )
    elif bag:
        source = _bag(path, topic, depth)
    elif path.is_dir():
        if labels is not None and labels.is_dir() and labels.samefile(path):
            raise SourceError(
                f"{labels} is the folder of the images, too: move the labels into another folder"
            )
        paths = _image_files(path, labels)
        images = files_by_key(path, paths)
        source = _images(str(path), path, paths, depth)
    elif path.is_fifo():
        raise SourceError(f"{given} is a FIFO, which can be read only once: use a file")
    elif path.suffix.lower() in IMAGE_SUFFIXES:
        images = files_by_key(path.parent, [path])
        source = _images(str(path), path.parent, [path], depth)
    else:
        source = _video(path)

    source = replace(source, limit=limit)
    if labels is not None:
        found = find_label_files(labels, images, single=path.is_file())
        if images is not None:
            pairs = ((file, found.by_name[name]) for name, file in images.by_key.items())
            check_headers(islice(pairs, limit))
        source = source.with_labels(found)
    return source


def _is_url(given: str) -> bool:
    return "://" in given


def is_bag(path: Path) -> bool:
    """Return whether ``path`` is a bag: a file or a folder.

    A folder has no metadata.yaml if its recorder was killed. Other programs write files of that
    name, too, beside images.
    """
    if not path.is_dir():
        return path.name.lower().endswith(BAG_SUFFIXES)
    described = (path / "metadata.yaml").is_file()
    named_so = any(file.name.lower().endswith(BAG_SUFFIXES) for file in path.iterdir())
    if described and named_so:
        return True
    return (described or named_so) and not any(map(is_image_file, files_below(path)))


def _street(length: int) -> Source:
    """Return frames spread over several streets, so that even a few frames show variety."""
    each = -(-length // STREETS)

    def frames() -> Iterator[Frame]:
        for number in range(length):
            seed, index = divmod(number, each)
            if index == 0:
                street = Street(DEMO_SEEDS[seed])
            yield Frame(*street.frame(index))

    return Source("synthetic street", length, frames, CLASS_NAMES)


def _images(name: str, folder: Path, paths: list[Path], depth: BitDepth) -> Source:
    names = {path.relative_to(folder) for path in paths}
    stems = Counter(name.with_suffix("") for name in names)

    def frame(path: Path) -> Frame:
        name = path.relative_to(folder)
        stem = name.with_suffix("")
        is_unique = stems[stem] == 1 and stem not in names
        shown = (stem if is_unique else name).as_posix()
        return Frame(read_image(path, depth), name=shown, path=path)

    return Source(name, len(paths), lambda: map(frame, paths))


def _image_files(folder: Path, labels: Path | None) -> list[Path]:
    """Return the image files in a folder and its subfolders, except those that have labels."""
    images = []
    skipped = set()
    paths = files_below(folder)
    for path in filter(is_image_file, paths):
        above = [parent for parent in path.parents if folder in parent.parents]
        if labels is not None and labels.resolve() in (parent.resolve() for parent in above):
            continue
        unread = [p for p in above if is_label_folder(p.name) or p.name in OVERLAY_FOLDERS]
        if unread:
            skipped.add(unread[-1])
        else:
            images.append(path)
    for unread_folder in sorted(skipped):
        logger.warning("not reading %s: its name is that of a folder of labels", unread_folder)
    unread_types = unread_pictures(folder, paths)
    if not images:
        found = "".join(f"; {sentence}" for sentence in unread_types)
        raise SourceError(f"{folder} contains no images ({', '.join(IMAGE_SUFFIXES)}){found}")
    for sentence in unread_types:
        logger.warning("%s", sentence)
    return images


def _video(given: str | Path) -> Source:
    """Return the source of a video file or stream URL."""

    def frames() -> Iterator[Frame]:
        with closing(_Capture(given)) as video:
            image = video.read()
            if image is None:
                raise SourceError(f"{given} contains no frame that OpenCV can decode")
            seconds = 0.0
            while image is not None:
                if video.rate is not None:
                    step = 1 / video.rate
                    later = video.position + step
                    seconds = later if later > seconds else seconds + step
                yield Frame(image, seconds=seconds if video.rate is not None else None)
                image = video.read()
            if isinstance(given, str) and video.length is None:
                raise SourceError(f"{given} sends no more frames: is the camera still streaming?")

    with closing(_Capture(given)) as video:
        return Source(str(given), video.length, frames, rate=video.rate)


def _camera(index: int) -> Source:
    def frames() -> Iterator[Frame]:
        with closing(_Capture(index)) as camera:
            while (image := camera.read()) is not None:
                yield Frame(image)
            raise SourceError(f"camera {index} sends no more frames: is it still connected?")

    _Capture(index).close()
    return Source(f"camera {index}", None, frames)


class _Capture:
    """An open cv2.VideoCapture with RGB frames and errors that name the source."""

    def __init__(self, given: str | Path | int) -> None:
        """Open a URL, file or camera."""
        if isinstance(given, str):
            # Ctrl-C has to wait for a read to end; FFmpeg's default timeout is 30 s.
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 5000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 5000]
            self._capture = cv2.VideoCapture(given, cv2.CAP_FFMPEG, limits)
        elif isinstance(given, Path):
            # FFmpeg takes '12:' in a relative path for a protocol; OpenCV crashes on a str that is
            # not UTF-8.
            name = os.fsencode(given.absolute())
            self._capture = cv2.VideoCapture(name)  # type: ignore[call-overload]
        else:
            self._capture = cv2.VideoCapture(given)
        if not self._capture.isOpened():
            if isinstance(given, int):
                raise SourceError(
                    f"cannot open camera {given}: is it connected (ls /dev/video*), and not in use "
                    "by another program?"
                )
            if isinstance(given, str):
                raise SourceError(
                    f"cannot open {given}: does `ffplay {given}` play it on this machine?"
                )
            if _lacks_index(given):
                raise SourceError(
                    f"{given} has no index (moov), which a recorder writes last: record or copy it "
                    "again, or repair it, for example with untrunc"
                )
            raise SourceError(
                f"{given} is not an image, a bag or a video that OpenCV can decode: "
                "convert it, for example with `ffmpeg -i IN -c:v libx264 OUT.mp4`"
            )
        frames = int(
            self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        )  # from the header; <= 0 if unknown
        self.length = frames if frames > 0 else None
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if MIN_RATE <= rate <= MAX_RATE else None

    @property
    def position(self) -> float:
        """Time of the last frame from the first one [s], as far as the file has times."""
        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000

    def read(self) -> Image | None:
        ok, bgr = self._capture.read()
        return _rgb(bgr) if ok else None

    def close(self) -> None:
        self._capture.release()


def _lacks_index(path: Path) -> bool:
    """Return whether a file is an MP4 or MOV that breaks off before its index."""
    kinds = []
    with path.open("rb") as file:
        while len(header := file.read(8)) == 8:
            kinds.append(header[4:])
            size = int.from_bytes(header[:4])
            if size == 1:
                size = int.from_bytes(file.read(8)) - 8
            if size < 8:  # the last box, or not a box
                break
            file.seek(size - 8, os.SEEK_CUR)
    return kinds[:1] == [b"ftyp"] and b"moov" not in kinds


def _bag(path: Path, topic: str | None, depth: BitDepth) -> Source:
    # Only bags need ROS, to deserialize messages.
    try:
        from bisenet_ros.ros.bag import ImageBag
    except ImportError as error:
        raise SourceError(
            f"cannot read bag {path}: {error}; source ROS's setup.bash, and run `{sys.executable} "
            "-m pip install mcap rosbags zstandard`"
        ) from error

    bag = ImageBag(path, topic, depth)

    def frame(recorded: "BagImage") -> Frame:
        return Frame(recorded.image, recorded=recorded)

    return Source(f"{path}, {bag.topic}", len(bag), lambda: map(frame, bag))


def _rgb(bgr: Any) -> Image:
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
