"""Read every byte that a version needs, straight from the store, and hold it against the block hashes.

Blocks that follow each other in an object are read with one request of up to 8 MiB; eight are under way at once, so
memory is bounded by some sixteen of them. Each place is read once, however many files lie there.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from penstock.errors import AccessError, IntegrityError
from penstock.manifest.entry import BLOCK_SIZE, Extent, TreeEntry, block_count
from penstock.manifest.extents import cut_extents
from penstock.manifest.hashing import content_hash
from penstock.progress import Stage
from penstock.repo.bucket.disk_sets import Marks
from penstock.repo.fetch.regions import Region, RegionPiece, RegionReader

from .damage import Damages, ObjectName

__all__ = ["BlockHash", "DeepCheck", "block_parts"]

BlockHash = Callable[[TreeEntry, int], bytes]

_REGION = 8 << 20
_OPEN = 8
_THREADS = 8
_AHEAD = 16


class _Bad(NamedTuple):
    """Bytes that are not what they should be, and how that showed."""

    object: ObjectName
    offset: int
    length: int
    why: str


class _Checked(NamedTuple):
    size: int
    bad: list[_Bad]
    refused: tuple[ObjectName, AccessError] | None = None


def block_parts(entry: TreeEntry, index: int) -> list[Extent]:
    """Return where a block of a file lies: one extent, or several."""
    start = index * BLOCK_SIZE
    return cut_extents(entry.extents, start, min(BLOCK_SIZE, entry.size - start))


class DeepCheck:
    """Reads and hashes. `reading` is told bytes."""

    def __init__(self, reader: RegionReader, marks: Marks, reading: Stage) -> None:
        self._reader = reader
        self._marks = marks
        self._reading = reading

    def check(self, files: Iterable[TreeEntry], block_hash: BlockHash, damages: Damages) -> int:
        """Read what the files need, but for objects known to be damaged; note what is wrong; return the bytes read."""
        read = 0
        waiting: deque[Future[_Checked]] = deque()

        def take() -> int:
            checked = waiting.popleft().result()
            if checked.refused is not None:
                name, error = checked.refused
                damages.refused(name, self._reader.describe(name), error)
            for bad in checked.bad:
                if damages.is_whole(bad.object):
                    continue
                damages.part(bad.object, self._reader.describe(bad.object), bad.why, bad.offset, bad.length)
            self._reading.advance(checked.size)
            return checked.size

        with ThreadPoolExecutor(_THREADS, "penstock-deep") as pool:
            try:
                for task in self._tasks(files, block_hash, damages):
                    waiting.append(pool.submit(task))
                    if len(waiting) >= _AHEAD:
                        read += take()
                while waiting:
                    read += take()
            finally:
                pool.shutdown(cancel_futures=True)
        return read

    def _tasks(
        self, files: Iterable[TreeEntry], block_hash: BlockHash, damages: Damages
    ) -> Iterator[Callable[[], _Checked]]:
        open_regions: OrderedDict[ObjectName, list[RegionPiece]] = OrderedDict()

        def region_task(name: ObjectName, pieces: list[RegionPiece]) -> Callable[[], _Checked]:
            return lambda: self._check_region(Region(name, tuple(pieces)))

        for entry in files:
            for index in range(block_count(entry.size)):
                parts = block_parts(entry, index)
                if any(damages.is_whole(part.object) for part in parts):
                    continue
                try:
                    digest = block_hash(entry, index)
                except (IntegrityError, AccessError):
                    continue  # its page of hashes is damaged or refused, which is known
                if not self._marks.visit(content_hash(digest + msgspec.msgpack.encode(parts))):
                    continue
                if len(parts) > 1:
                    yield self._joined_task(parts, digest)
                    continue
                name, piece = parts[0].object, RegionPiece(digest, parts[0].offset, parts[0].length)
                pieces = open_regions.get(name)
                if pieces is not None:
                    last = pieces[-1]
                    follows = last.offset + last.length == piece.offset
                    if follows and piece.offset + piece.length - pieces[0].offset <= _REGION:
                        pieces.append(piece)
                        continue
                    yield region_task(name, pieces)
                open_regions[name] = [piece]
                if len(open_regions) > _OPEN:
                    yield region_task(*open_regions.popitem(last=False))
        for name, pieces in open_regions.items():
            yield region_task(name, pieces)

    def _check_region(self, region: Region) -> _Checked:
        try:
            self._reader.read(region)
        except AccessError as error:
            return _Checked(0, [], (region.object, error))
        except IntegrityError as error:
            if len(region.pieces) > 1:  # find out which of them it is
                single = [self._check_region(Region(region.object, (piece,))) for piece in region.pieces]
                refused = next((checked.refused for checked in single if checked.refused is not None), None)
                return _Checked(region.length, [bad for checked in single for bad in checked.bad], refused)
            why = error.reason
            return _Checked(region.length, [_Bad(region.object, region.offset, region.length, why)])
        return _Checked(region.length, [])

    def _joined_task(self, parts: list[Extent], digest: bytes) -> Callable[[], _Checked]:
        size = sum(part.length for part in parts)

        def run() -> _Checked:
            why = "a block that lies in several objects has another hash: one of them is damaged"
            try:
                for _ in range(2):  # the first time a fault may have been on the way
                    body = []
                    for part in parts:
                        try:
                            body.append(self._reader.get(*_range(part)))
                        except AccessError as error:
                            return _Checked(0, [], (part.object, error))
                    if content_hash(b"".join(body)) == digest:
                        return _Checked(size, [])
            except IntegrityError as error:
                why = error.reason
            return _Checked(size, [_Bad(*_range(part), why) for part in parts])

        return run


def _range(extent: Extent) -> tuple[ObjectName, int, int]:
    return extent.object, extent.offset, extent.length
