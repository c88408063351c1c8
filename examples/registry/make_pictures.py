"""Make a collection of small pictures, one of them cut off: `python make_pictures.py FOLDER FIRST COUNT`."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

SIDE = 16


def picture(number: int) -> bytes:
    """Return a PNG of one colour."""
    row = b"\0" + bytes((number * 37 % 256, number * 91 % 256, number * 53 % 256)) * SIDE
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(row * SIDE)),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def main(folder: str, first: str, count: str) -> None:
    """Write pictures FIRST, FIRST + 1, …; the last one loses its end."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    numbers = range(int(first), int(first) + int(count))
    for number in numbers:
        body = picture(number)
        (place / f"{number:04}.png").write_bytes(body[:-20] if number == numbers[-1] else body)


if __name__ == "__main__":
    main(*sys.argv[1:])
