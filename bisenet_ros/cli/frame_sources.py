"""Frames from what a user has: image, folder, video, stream, bag, camera, or a drawn street."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import IGNORE_ID
from bisenet_ros.errors import SourceError
from bisenet_ros.images.files import IMAGE_SUFFIXES, is_image_file, read_image, read_label_image
from bisenet_ros.resources import expand_home
from bisenet_ros.synthetic import CLASS_NAMES, DEMO_SEEDS, Street

Image = NDArray[np.uint8]
Labels = NDArray[np.uint8]

SYNTHETIC = "synthetic"
BAG_SUFFIXES = (".mcap", ".db3", ".bag")

STREETS = 10
STREET_FRAMES = 120
"""Frames of the synthetic source where no number is asked for."""


@dataclass(frozen=True)
class Frame:
    """An image, uint8 [H, W, 3] RGB, and where they are known its labels, uint8 [H, W].

    Labels are class ids, and 255 where no class applies. ``name`` is that of its file without the
    suffix, where it is an image's.
    """

    image: Image
    labels: Labels | None = None
    name: str | None = None


@dataclass(frozen=True)
class Source:
    """A sequence of frames that are read one at a time.

    - ``name``: for the user.
    - ``length``: the number of frames, for a video the one that its header states; None for a
      camera or a stream, and where a video does not say.
    - ``class_names``: what the labels mean, by id; None where they are the user's own or absent.
    - ``frames``: opens the source and reads it; it raises ``SourceError`` or another ValueError
      at a frame that cannot be read.
    """

    name: str
    length: int | None
    frames: Callable[[], Iterator[Frame]]
    class_names: tuple[str, ...] | None = None


def open_source(
    given: str, *, topic: str | None = None, labels: Path | None = None, limit: int | None = None
) -> Source:
    """Find out what ``given`` is and look whether it can be read.

    Args:
        given: ``synthetic``, a path, the number of a camera, such as ``0``, or a URL that OpenCV
            opens, such as ``rtsp://camera/stream``.
        topic: the topic to read of a bag that has several with images.
        labels: a folder of 8-bit label images: the k-th by name belongs to the k-th frame.
        limit: read only so many frames, at least 1.

    Raises:
        SourceError: no such file, or nothing in it that can be read.
        BagError: the same for a bag.
    """
    if limit is not None and limit < 1:
        raise SourceError(f"{limit} frames were asked for; there must be at least 1")
    path = expand_home(given)
    is_bag = path.suffix.lower() in BAG_SUFFIXES or (path / "metadata.yaml").is_file()
    if topic is not None and not is_bag:
        raise SourceError(f"a topic ({topic}) is of use only with a bag, and {given} is none")

    if given == SYNTHETIC:
        if labels is not None:
            raise SourceError("the synthetic street has labels of its own: leave out --labels")
        return _street(limit or STREET_FRAMES)
    if given.isdecimal() and not path.exists():
        if labels is not None:
            raise SourceError(f"camera {given} shows what it sees now: leave out --labels")
        source = _camera(int(given))
    elif _is_url(given):
        source = _video(given)
    elif not path.exists():
        raise SourceError(
            f"there is no {given}: give an image, a folder of images, a video, a bag, the number "
            f"of a camera, the URL of a stream, or '{SYNTHETIC}'"
        )
    elif is_bag:
        source = _bag(path, topic)
    elif path.is_dir():
        source = _folder(path)
    elif path.is_fifo():
        raise SourceError(f"{given} is a FIFO, which can be read only once: give a file")
    elif path.suffix.lower() in IMAGE_SUFFIXES:
        source = _images(str(path), [path])
    else:
        source = _video(str(path))

    if labels is not None:
        source = _with_labels(source, labels)
    if limit is not None:
        source = _limited(source, limit)
    return source


def _is_url(given: str) -> bool:
    return "://" in given


def _street(length: int) -> Source:
    """Several streets one after the other, evenly, so that a few frames show variety too."""
    each = -(-length // STREETS)

    def frames() -> Iterator[Frame]:
        for number in range(length):
            seed, index = divmod(number, each)
            if index == 0:
                street = Street(DEMO_SEEDS[seed])
            yield Frame(*street.frame(index))

    return Source("synthetic street", length, frames, CLASS_NAMES)


def _images(name: str, paths: list[Path]) -> Source:
    def frames() -> Iterator[Frame]:
        for path in paths:
            yield Frame(read_image(path), name=path.stem)

    return Source(name, len(paths), frames)


def _folder(path: Path) -> Source:
    images = _image_files(path)
    if not images:
        if any(p.suffix.lower() in BAG_SUFFIXES for p in path.iterdir()):
            raise SourceError(
                f"{path} holds a bag without its metadata.yaml: give its .mcap or .db3 file itself"
            )
        raise SourceError(f"{path} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    return _images(str(path), images)


def _video(given: str) -> Source:
    """Of a file or a URL."""

    def frames() -> Iterator[Frame]:
        with closing(_Capture(given)) as video:
            image = video.read()
            if image is None:
                raise SourceError(f"{given} holds no frame that OpenCV can decode")
            while image is not None:
                yield Frame(image)
                image = video.read()
            if _is_url(given) and video.length is None:
                raise SourceError(f"{given} gives no more frames: does the camera still send?")

    with closing(_Capture(given)) as video:
        return Source(given, video.length, frames)


def _camera(index: int) -> Source:
    def frames() -> Iterator[Frame]:
        with closing(_Capture(index)) as camera:
            while (image := camera.read()) is not None:
                yield Frame(image)
            raise SourceError(f"camera {index} gives no more frames: is it still plugged in?")

    _Capture(index).close()
    return Source(f"camera {index}", None, frames)


class _Capture:
    """An open cv2.VideoCapture, with RGB frames and an error that says what failed."""

    def __init__(self, given: str | int) -> None:
        if isinstance(given, str) and _is_url(given):
            # Whoever presses ctrl-C waits for a read to end, and FFmpeg for 30 seconds.
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 5000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 5000]
            self._capture = cv2.VideoCapture(given, cv2.CAP_FFMPEG, limits)
        else:
            self._capture = cv2.VideoCapture(given)
        if not self._capture.isOpened():
            if isinstance(given, int):
                raise SourceError(
                    f"camera {given} cannot be opened: is it plugged in (ls /dev/video*), and in "
                    "use by no other program?"
                )
            if _is_url(given):
                raise SourceError(
                    f"{given} cannot be opened: does it play with `ffplay {given}` on this machine?"
                )
            raise SourceError(
                f"{given} is neither an image, a bag nor a video that OpenCV can decode: "
                "convert it, for example with `ffmpeg -i IN -c:v libx264 OUT.mp4`"
            )
        frames = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))  # the header's; 0 or less: none
        self.length = frames if frames > 0 else None

    def read(self) -> Image | None:
        ok, bgr = self._capture.read()
        return _rgb(bgr) if ok else None

    def close(self) -> None:
        self._capture.release()


def _bag(path: Path, topic: str | None) -> Source:
    # Bags hold messages; who reads files only needs no ROS.
    try:
        from bisenet_ros.ros.bag import ImageBag
    except ImportError as error:
        raise SourceError(
            f"{path} is a bag, and the messages of ROS are missing ({error}): source its setup.bash"
        ) from error

    bag = ImageBag(path, topic)
    return Source(f"{path}, {bag.topic}", len(bag), lambda: map(Frame, bag))


def _with_labels(source: Source, folder: Path) -> Source:
    """The frames with their labels; both must be equally many."""
    if not folder.is_dir():
        raise SourceError(f"there is no folder of label images {folder}")
    paths = _image_files(folder)

    def mismatch(frames: str) -> SourceError:
        return SourceError(
            f"{folder} holds {len(paths)} label images, but {source.name} has {frames} frames: "
            "there must be one for each, in the same order"
        )

    if source.length is not None and source.length != len(paths):
        raise mismatch(str(source.length))

    def frames() -> Iterator[Frame]:
        for number, frame in enumerate(source.frames()):
            if number == len(paths):  # a video that did not tell its length, or a wrong one
                raise mismatch("more")
            yield Frame(frame.image, _read_labels(paths[number], frame.image))

    return Source(source.name, source.length, frames)


def _read_labels(path: Path, image: Image) -> Labels:
    labels = read_label_image(path)
    if labels.ndim != 2:
        raise SourceError(
            f"{path} holds colors, which mean nothing without a class file: give label images "
            f"with the class id of each pixel, and {IGNORE_ID} for none"
        )
    if labels.shape != image.shape[:2]:
        raise SourceError(
            f"{path} is {labels.shape[1]}x{labels.shape[0]}, but its frame is "
            f"{image.shape[1]}x{image.shape[0]}: they must have one size"
        )
    return labels


def _limited(source: Source, limit: int) -> Source:
    length = limit if source.length is None else min(limit, source.length)
    return Source(source.name, length, lambda: islice(source.frames(), limit), source.class_names)


def _image_files(folder: Path) -> list[Path]:
    files = (path for path in folder.iterdir() if is_image_file(path) and path.is_file())
    return sorted(files, key=lambda p: p.name)


def _rgb(bgr: Any) -> Image:
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
