"""The frames of a source that can be read, when a bad one need not end the run."""

import sys
from collections.abc import Iterator, Sequence
from itertools import count

from tqdm import tqdm

from bisenet_ros.classes import SemanticClass
from bisenet_ros.cli.frame_sources import Frame, Source
from bisenet_ros.errors import ImageFileError, SourceError, describe


def readable_frames(
    source: Source, strict: bool, failed: list[int], classes: Sequence[SemanticClass] = ()
) -> Iterator[tuple[int, Frame]]:
    """Yield the index and content of the frames that can be read; name others on stderr.

    Args:
        source: Source to read. With label files each frame is needed: a score of fewer is another.
        strict: Whether to raise at the first frame that cannot be read.
        failed: Receives the indices of these frames.
        classes: Classes of label files without classes.txt.

    Raises:
        SourceError, ImageFileError: A frame that is needed cannot be read.
    """
    frames = source.frames(classes)
    for index in count():
        try:
            frame = next(frames, None)
        except (SourceError, ImageFileError) as error:
            # A stream or camera has ended: there is no next frame.
            if strict or source.length is None or source.labels is not None:
                raise
            failed.append(index)
            tqdm.write(f"left out frame {index}: {describe(error)}", file=sys.stderr)
        else:
            if frame is None:
                return
            yield index, frame
