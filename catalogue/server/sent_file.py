"""The bytes of a file of a version, sent as they are read: no more is read ahead than some blocks."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.api.packages.entry import Entry
from penstock.manifest.entry import BLOCK_SIZE

__all__ = ["sent_bytes"]

_TOGETHER = 8


def sent_bytes(entry: Entry, part: range) -> Iterator[bytes]:
    """Yield the bytes of a part of a file."""
    place = part.start
    while place < part.stop:
        number = place // BLOCK_SIZE
        for block in entry.some_blocks(number, min(_TOGETHER, (part.stop - 1) // BLOCK_SIZE - number + 1)):
            begin = place - place // BLOCK_SIZE * BLOCK_SIZE
            found = bytes(block[begin : begin + part.stop - place])
            place += len(found)
            yield found
