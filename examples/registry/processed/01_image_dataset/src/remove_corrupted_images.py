"""Copy a picture if it is whole: `remove_corrupted_images.py INPUT OUTPUT`; of a folder, all that are.

Without OUTPUT a folder's pictures go to data/intermediate/remove_corrupted_images.
"""

from __future__ import annotations

import shutil
import struct
import sys
import zlib
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def is_whole(body: bytes) -> bool:
    """Whether a PNG has all its chunks, each with the right checksum, to the last one."""
    at = len(SIGNATURE)
    if body[:at] != SIGNATURE:
        return False
    while at + 12 <= len(body):
        (length,) = struct.unpack_from(">I", body, at)
        end = at + 12 + length
        kind_and_data = body[at + 4 : end - 4]
        if end > len(body) or zlib.crc32(kind_and_data) != int.from_bytes(body[end - 4 : end]):
            return False
        if kind_and_data[:4] == b"IEND":
            return True
        at = end
    return False


def main(source: str, target: str = "data/intermediate/remove_corrupted_images") -> None:
    """Copy what is whole."""
    given = Path(source)
    pairs = [(given, Path(target))]
    if given.is_dir():
        pairs = [(path, Path(target) / path.name) for path in sorted(given.rglob("*.png"))]
    for path, place in pairs:
        if is_whole(path.read_bytes()):
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


if __name__ == "__main__":
    main(*sys.argv[1:])
