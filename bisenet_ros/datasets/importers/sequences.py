"""Split images by sequence: neighboring frames are nearly equal, so they stay together."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

_ROBOFLOW = re.compile(r"_(jpe?g|png|bmp|webp|tiff?)\.rf\.\w+$")
"""Suffix that Roboflow appends to the name of an image."""

_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")

MAX_DEVIATION = 2
"""Farthest that whole sequences may exceed or fall short of the wanted number, as a factor."""


def sequence_of(name: PurePosixPath) -> tuple[str, float]:
    """Return the sequence and the frame number or time of an image.

    The number is the last one in the name that no letter follows, unlike the 8 of leftImg8bit; else
    the last one. The sequence is the rest of the path.
    """
    stem = _ROBOFLOW.sub("", name.stem)
    numbers = list(_NUMBER.finditer(stem))
    if not numbers:
        return f"{name.parent.as_posix()}/{stem}", 0
    frames = [number for number in numbers if not stem[number.end() :][:1].isalpha()]
    frame = (frames or numbers)[-1]
    return f"{name.parent.as_posix()}/{stem[: frame.start()]}*{stem[frame.end() :]}", float(
        frame[0]
    )


def validation_part(names: Sequence[PurePosixPath], share: float) -> tuple[set[int], str]:
    """Return the positions of the images to validate on, and a sentence on how they were chosen.

    They are the last sequences in natural order. Where no boundary between sequences is near
    ``share``, a sequence is cut once, so that its last frames are for validation.

    Args:
        names: paths of the images, at least 2.
        share: wanted share of them, between 0 and 1.
    """
    sequences = [sequence_of(name) for name in names]
    keys = [
        (_natural(text), number, _natural(str(name)))
        for (text, number), name in zip(sequences, names, strict=True)
    ]
    order = sorted(range(len(names)), key=lambda k: keys[k])
    wanted = min(max(1, round(share * len(names))), len(names) - 1)
    starts = [
        at for at in range(1, len(order)) if sequences[order[at]][0] != sequences[order[at - 1]][0]
    ]
    number = len(starts) + 1
    cut = min(starts, key=lambda at: abs(len(order) - at - wanted), default=0)
    size = len(order) - cut
    if cut and wanted / MAX_DEVIATION <= size <= wanted * MAX_DEVIATION:
        last = 1 + sum(start > cut for start in starts)
        return set(order[cut:]), f"val is the last {last} of {number} sequences, {size} images"
    cut = len(order) - wanted
    first = names[order[cut]]
    return set(order[cut:]), (
        f"val is the last {wanted} images, from {first} on: there is no boundary between "
        f"sequences near (of {number}). Frames next to the cut are nearly equal, so the score is a "
        "little too good: better validate on another drive"
    )


def _natural(text: str) -> tuple[tuple[int, str], ...]:
    """Return a key by which frame_2 comes before frame_10."""
    return tuple(
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)
    )
