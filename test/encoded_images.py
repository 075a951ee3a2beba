"""Image files as OpenCV and Pillow do not write them, such as small ones of large images."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray


def huge_gif(screen: int = 30000, frame: int = 1) -> bytes:
    """35 bytes of a GIF with a screen and a frame of these sides [px]."""
    sides = struct.pack("<HH", screen, screen), struct.pack("<HH", frame, frame)
    return b"GIF89a%b\x80\0\0\0\0\0\0\0\0\x2c\0\0\0\0%b\0\x02\x02\x44\x01\0;" % sides


def png(width: int, height: int, rows: bytes = b"", interlaced: bool = False) -> bytes:
    """An RGB PNG with ``rows`` as its data, whatever the size demands."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced)
    return _png(IHDR=header, IDAT=zlib.compress(rows))


def label_png(
    values: NDArray[np.uint8], color_type: int = 0, bits: int = 8, **chunks: bytes
) -> bytes:
    """A PNG of one channel of ``values`` in ``bits``: OpenCV and Pillow write 1 and 8 bits.

    Args:
        values: uint8 [H,W].
        color_type: 0 for gray, 3 for indices.
        bits: 1, 2, 4 or 8.
        chunks: data of more chunks, such as PLTE and tRNS, which Pillow would correct.
    """
    height, width = values.shape
    digits = np.unpackbits(values[..., None], axis=2)[..., 8 - bits :].reshape(height, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(digits, axis=1))
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    return _png(IHDR=header, **chunks, IDAT=zlib.compress(rows))


def _png(**chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((name.encode(), data) for name, data in (chunks | {"IEND": b""}).items())
    )


def bmp(width: int, height: int) -> bytes:
    """The header of an RGB BMP."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + info
