"""A file that was changed in few places, kept as what changed beside the objects that hold the rest.

Of a database to which ten records were added eleven pages of 4 KiB are other ones, whatever its size: they are one new
object, and the entry's extents lead into that and into what there was. Pieces add up from version to version, and a
reader asks for each of them; from a certain number on the file is an object by itself again.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence

from penstock.manifest.entry import BLOCK_SIZE, Extent
from penstock.manifest.extents import add_extents, cut_extents
from penstock.project.records.file_store import FileStore, StoredFile

__all__ = ["assemble", "is_here", "take_changes"]

_PAGE = 4096
_MOST_EXTENTS = 128
_LEAST_SAVED = 4
"""A file is taken whole unless what changed is less than this part of it."""


def take_changes(files: FileStore, before: str, extents: Sequence[Extent], now: str) -> StoredFile | None:
    """Take the file `now`, which was made of the one that lies at `before` and is `extents`; None: it is to be whole.

    AccessError: as of `take`.
    """
    size = os.stat(now).st_size
    if not size or not os.stat(before).st_size:
        return None
    ranges = list(_changes(before, now))
    if sum(end - start for start, end in ranges) * _LEAST_SAVED > size:
        return None
    found: list[Extent] = []
    at = moved = 0
    body = bytearray()
    with open(now, "rb") as stream:
        for start, end in ranges:
            stream.seek(start)
            body += stream.read(end - start)
    taken = files.take_bytes(body, "") if 0 < len(body) <= BLOCK_SIZE else None
    if ranges and taken is None:
        return None
    for start, end in ranges:
        assert taken is not None
        add_extents(found, cut_extents(extents, at, start - at))
        add_extents(found, [Extent(taken.object, moved, end - start)])
        moved += end - start
        at = end
    add_extents(found, cut_extents(extents, at, size - at))
    return files.take_spliced(now, tuple(found)) if len(found) <= _MOST_EXTENTS else None


def _changes(before: str, now: str) -> Iterator[tuple[int, int]]:
    """Yield the ranges in which a file differs from another one, in whole pages, each as begin and end."""
    with (
        open(before, "rb") as one,
        open(now, "rb") as other,
        mmap.mmap(one.fileno(), 0, prot=mmap.PROT_READ) as old,
        mmap.mmap(other.fileno(), 0, prot=mmap.PROT_READ) as new,
    ):
        begin = -1
        for block in range(0, len(new), BLOCK_SIZE):
            if old[block : block + BLOCK_SIZE] == new[block : block + BLOCK_SIZE]:
                if begin >= 0:
                    yield begin, block
                    begin = -1
                continue
            for page in range(block, min(block + BLOCK_SIZE, len(new)), _PAGE):
                same = old[page : page + _PAGE] == new[page : page + _PAGE]
                if same and begin >= 0:
                    yield begin, page
                    begin = -1
                elif not same and begin < 0:
                    begin = page
        if begin >= 0:
            yield begin, len(new)


def is_here(files: FileStore, extents: Sequence[Extent]) -> bool:
    """Whether all that a file consists of lies on this machine, as far as sizes tell."""
    ends: dict[bytes, int] = {}
    for extent in extents:
        if not isinstance(extent.object, bytes):
            return False
        ends[extent.object] = max(ends.get(extent.object, 0), extent.offset + extent.length)
    try:
        return all(os.stat(files.path_of(each)).st_size >= end for each, end in ends.items())
    except OSError:
        return False


def assemble(files: FileStore, extents: Sequence[Extent], place: str) -> None:
    """Write a file of its extents, which are here, to `place`. Raises OSError."""
    with open(place, "wb") as out:
        for extent in extents:
            assert isinstance(extent.object, bytes)
            with open(files.path_of(extent.object), "rb") as stream:
                left, offset = extent.length, extent.offset
                while left and (count := os.copy_file_range(stream.fileno(), out.fileno(), left, offset)):
                    left, offset = left - count, offset + count
