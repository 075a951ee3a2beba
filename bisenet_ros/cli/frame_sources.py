"""Sources of frames: image, folder, video, stream, bag, camera or synthetic street."""

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
from bisenet_ros.images.bit_depth import FULL_DEPTH, BitDepth
from bisenet_ros.images.files import IMAGE_SUFFIXES, is_image_file, read_image, read_label_image
from bisenet_ros.resources import expand_home
from bisenet_ros.synthetic import CLASS_NAMES, DEMO_SEEDS, Street

Image = NDArray[np.uint8]
Labels = NDArray[np.uint8]

SYNTHETIC = "synthetic"
BAG_SUFFIXES = (".mcap", ".db3", ".bag")

STREETS = 10
STREET_FRAMES = 120
"""Default number of frames of the synthetic source."""


@dataclass(frozen=True)
class Frame:
    """An image and, if known, its labels.

    Attributes:
        image: uint8 [H,W,3] RGB.
        labels: Class ids uint8 [H,W], 255 = ignore; None if unknown.
        name: File name of an image without its suffix; None for other sources.
    """

    image: Image
    labels: Labels | None = None
    name: str | None = None


@dataclass(frozen=True)
class Source:
    """A sequence of frames that are read one at a time.

    Attributes:
        name: Name to show to the user.
        length: Number of frames, for a video as stated in its header; None if unknown, as for a
            camera or stream.
        frames: Function that opens the source and yields its frames. It raises a ``UserError`` at
            a frame that cannot be read.
        class_names: Class names of the labels by id; None if unknown or without labels.
    """

    name: str
    length: int | None
    frames: Callable[[], Iterator[Frame]]
    class_names: tuple[str, ...] | None = None


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
        labels: Folder of 8-bit label images; the k-th by name belongs to the k-th frame.
        limit: Maximum number of frames, at least 1.
        bit_depth: Number of bits of the values in 16-bit images, see ``BitDepth``.

    Raises:
        SourceError: The source does not exist or cannot be read.
        BagError: The bag cannot be read.
    """
    if limit is not None and limit < 1:
        raise SourceError(f"{limit} frames were requested; must be at least 1")
    path, depth = expand_home(given), BitDepth(bit_depth)
    is_bag = path.suffix.lower() in BAG_SUFFIXES or (path / "metadata.yaml").is_file()
    if topic is not None and not is_bag:
        raise SourceError(f"--topic {topic} applies only to bags, but {given} is not one; omit it")

    if given == SYNTHETIC:
        if labels is not None:
            raise SourceError("the synthetic street has its own labels: omit --labels")
        return _street(limit or STREET_FRAMES)
    if given.isdecimal() and not path.exists():
        if labels is not None:
            raise SourceError(f"live images of camera {given} have no labels: omit --labels")
        source = _camera(int(given))
    elif _is_url(given):
        source = _video(given)
    elif not path.exists():
        raise SourceError(
            f"{given} does not exist: give an image, a folder of images, a video, a bag, a camera "
            f"number, a stream URL, or '{SYNTHETIC}'"
        )
    elif is_bag:
        source = _bag(path, topic, depth)
    elif path.is_dir():
        source = _folder(path, depth)
    elif path.is_fifo():
        raise SourceError(f"{given} is a FIFO, which can be read only once: use a file")
    elif path.suffix.lower() in IMAGE_SUFFIXES:
        source = _images(str(path), [path], depth)
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
    """Return frames spread over several streets, so that even a few frames show variety."""
    each = -(-length // STREETS)

    def frames() -> Iterator[Frame]:
        for number in range(length):
            seed, index = divmod(number, each)
            if index == 0:
                street = Street(DEMO_SEEDS[seed])
            yield Frame(*street.frame(index))

    return Source("synthetic street", length, frames, CLASS_NAMES)


def _images(name: str, paths: list[Path], depth: BitDepth) -> Source:
    def frames() -> Iterator[Frame]:
        for path in paths:
            yield Frame(read_image(path, depth), name=path.stem)

    return Source(name, len(paths), frames)


def _folder(path: Path, depth: BitDepth) -> Source:
    images = _image_files(path)
    if not images:
        if any(p.suffix.lower() in BAG_SUFFIXES for p in path.iterdir()):
            raise SourceError(
                f"{path} contains a bag without metadata.yaml: give its .mcap or .db3 file"
            )
        raise SourceError(f"{path} contains no images ({', '.join(IMAGE_SUFFIXES)})")
    return _images(str(path), images, depth)


def _video(given: str) -> Source:
    """Return the source of a video file or stream URL."""

    def frames() -> Iterator[Frame]:
        with closing(_Capture(given)) as video:
            image = video.read()
            if image is None:
                raise SourceError(f"{given} contains no frame that OpenCV can decode")
            while image is not None:
                yield Frame(image)
                image = video.read()
            if _is_url(given) and video.length is None:
                raise SourceError(f"{given} sends no more frames: is the camera still streaming?")

    with closing(_Capture(given)) as video:
        return Source(given, video.length, frames)


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

    def __init__(self, given: str | int) -> None:
        if isinstance(given, str) and _is_url(given):
            # Ctrl-C has to wait for a read to end; FFmpeg's default timeout is 30 s.
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 5000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 5000]
            self._capture = cv2.VideoCapture(given, cv2.CAP_FFMPEG, limits)
        else:
            self._capture = cv2.VideoCapture(given)
        if not self._capture.isOpened():
            if isinstance(given, int):
                raise SourceError(
                    f"cannot open camera {given}: is it connected (ls /dev/video*), and not in use "
                    "by another program?"
                )
            if _is_url(given):
                raise SourceError(
                    f"cannot open {given}: does `ffplay {given}` play it on this machine?"
                )
            raise SourceError(
                f"{given} is not an image, a bag or a video that OpenCV can decode: "
                "convert it, for example with `ffmpeg -i IN -c:v libx264 OUT.mp4`"
            )
        frames = int(
            self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        )  # from the header; <= 0 if unknown
        self.length = frames if frames > 0 else None

    def read(self) -> Image | None:
        ok, bgr = self._capture.read()
        return _rgb(bgr) if ok else None

    def close(self) -> None:
        self._capture.release()


def _bag(path: Path, topic: str | None, depth: BitDepth) -> Source:
    # Only bags need ROS, to deserialize messages.
    try:
        from bisenet_ros.ros.bag import ImageBag
    except ImportError as error:
        raise SourceError(
            f"cannot read bag {path}: ROS messages are missing ({error}); source ROS's setup.bash"
        ) from error

    bag = ImageBag(path, topic, depth)
    return Source(f"{path}, {bag.topic}", len(bag), lambda: map(Frame, bag))


def _with_labels(source: Source, folder: Path) -> Source:
    """Return the source with labels, of which there must be one for each frame."""
    if not folder.is_dir():
        raise SourceError(f"no folder of label images {folder}")
    paths = _image_files(folder)

    def mismatch(frames: str) -> SourceError:
        return SourceError(
            f"{folder} contains {len(paths)} label images, but {source.name} has {frames} frames: "
            "provide one for each frame, in the same order"
        )

    if source.length is not None and source.length != len(paths):
        raise mismatch(str(source.length))

    def frames() -> Iterator[Frame]:
        for number, frame in enumerate(source.frames()):
            if number == len(paths):  # the header had no length, or a wrong one
                raise mismatch("more")
            yield Frame(frame.image, _read_labels(paths[number], frame.image))

    return Source(source.name, source.length, frames)


def _read_labels(path: Path, image: Image) -> Labels:
    labels = read_label_image(path)
    if labels.ndim != 2:
        raise SourceError(
            f"{path} has colors instead of class ids: provide single-channel label images with the "
            f"class id of each pixel, {IGNORE_ID} = ignore"
        )
    if labels.shape != image.shape[:2]:
        raise SourceError(
            f"{path} is {labels.shape[1]}x{labels.shape[0]}, but its frame is "
            f"{image.shape[1]}x{image.shape[0]}: both must have the same size"
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
