"""Small files that claim to be large images."""

import struct
import zlib


def huge_gif(screen: int = 30000, frame: int = 1) -> bytes:
    """35 bytes of a GIF with a screen and a frame of these sides [px]."""
    sides = struct.pack("<HH", screen, screen), struct.pack("<HH", frame, frame)
    return b"GIF89a%b\x80\0\0\0\0\0\0\0\0\x2c\0\0\0\0%b\0\x02\x02\x44\x01\0;" % sides


def png(width: int, height: int, rows: bytes = b"", interlaced: bool = False) -> bytes:
    """An RGB PNG with ``rows`` as its data, whatever the size demands."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def bmp(width: int, height: int) -> bytes:
    """The header of an RGB BMP."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + info
