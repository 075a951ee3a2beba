"""Where the picture in a JPEG ends, which decoders do not tell.

They fill what a truncated one lacks with gray, and ignore what follows the end: the trailer of a
camera, or the next picture of a stream.
"""

import re
from io import BytesIO

import numpy as np

SOI, EOI = b"\xff\xd8", b"\xff\xd9"

MAX_SEGMENTS = 10_000
"""A JPEG has about ten; color profiles and other metadata come in pieces of 64 KiB."""

_SEGMENT = re.compile(rb"\xff([\x01-\xfe])", re.DOTALL)
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_NEXT_PICTURE = re.compile(rb"[\0\xff\r\n]*?\xff\xd8\xff")

_FILLERS = [
    bytes((factor * number + offset) % 255 for number in range(2048))
    for factor, offset in ((37, 1), (91, 200), (0, 0x55))
]
"""Data that could follow, without 0xff and longer than the largest block of pixels."""

_STANDALONE = {0x01, *range(0xD0, 0xD8)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_APP1, _APP2, _SOS = 0xE1, 0xE2, 0xDA


class JpegLayout:
    """Extent of the first picture in ``data``.

    - ``is_stream``: whether another picture follows that the first does not announce, as in the
      Multi-Picture Format of phones, their Ultra HDR and depth pictures.
    - ``end``: offset after the end mark; None if there is none.
    """

    def __init__(self, data: bytes) -> None:
        """Walk over the segments of ``data``, which starts with ``SOI``."""
        self.is_stream = False
        self.end: int | None = None
        self._data = data
        self._missing: set[tuple[int, int]] = set()  # (component, coefficient) to be coded yet
        self._in_scan = False
        announced = False
        at = len(SOI)
        for _ in range(MAX_SEGMENTS):
            segment = _SEGMENT.search(data, at)
            if segment is None:
                return
            code, at = segment[1][0], segment.end()
            if code == EOI[1]:
                self.end = at
                self.is_stream = not announced and bool(_NEXT_PICTURE.match(data, at))
                return
            if code == SOI[1]:
                self.is_stream = True
                return
            self._in_scan = False
            if code in _STANDALONE:
                continue
            length = int.from_bytes(data[at : at + 2], "big")
            body, at = data[at + 2 : at + length], at + length
            if at > len(data):
                return
            if code in _FRAMES:
                if self._missing:
                    return  # no decoder takes a second frame
                self._missing = {(id_, k) for id_ in body[6::3] for k in range(64)}
            elif code == _APP1:
                announced |= b"Container:Directory" in body
            elif code == _APP2:
                announced |= body.startswith(b"MPF\0")
            elif code == _SOS and len(body) >= 6:
                self._read_scan(body)
                next_segment = _END_OF_SCAN.search(data, at)
                if next_segment is None:
                    self._in_scan = at < len(data)
                    return
                at = next_segment.start()

    def _read_scan(self, header: bytes) -> None:
        """Note which coefficients a scan completes, from the body of its SOS segment."""
        components, (first, last, bits) = header[1 : 1 + 2 * header[0] : 2], header[-3:]
        if not bits & 0x0F:  # else a later scan refines them
            self._missing -= {(id_, k) for id_ in components for k in range(first, last + 1)}

    def is_truncated(self) -> bool:
        """Return whether pixels are missing.

        Without an end mark, a picture is complete if what follows its data changes no pixel.
        """
        if self.end is not None:
            return False
        if self._missing or not self._in_scan:
            return True
        from PIL.JpegImagePlugin import JpegImageFile

        data = self._data.rstrip(b"\0")  # padding would pass for data
        if len(data) < len(self._data):
            data += b"\0"  # but a flat picture can end with one
        data = data.removesuffix(b"\xff")  # half of a marker
        restarts = _RESTART.findall(data)
        following = (restarts[-1][0] + 1) % 8 if restarts else 0
        decoded = []
        for filler in _FILLERS:
            tail = b"".join(
                filler + bytes([0xFF, 0xD0 + (following + number) % 8]) for number in range(8)
            )
            try:
                decoded.append(np.asarray(JpegImageFile(BytesIO(data + tail + EOI))))
            except Exception:  # Pillow's parsers raise almost anything for damaged data
                return True
        return any(not np.array_equal(decoded[0], other) for other in decoded[1:])
