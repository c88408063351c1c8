"""Bytes of files out of blocks: from the cache at once, else from one shared fetch.

**Invariant:** a block is in flight at most once. What is read and what is fetched ahead go through the same flights,
so a reader that catches up with its readahead joins it.
**Invariant:** the event loop touches a cached block itself only when that takes microseconds: when it is small, or
when a thread has had it verified (which reads it from disk and hashes it: 1 ms or more for a whole block) not long ago.

Used from the event loop's thread only, but for `_obtain`, which runs in threads and uses nothing but the source.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import trio

from penstock.lru import Lru
from penstock.manifest.entry import BLOCK_SIZE, External, TreeEntry, block_count
from penstock.manifest.extents import cut_extents
from penstock.repo.fetch.regions import Region

from .single_flight import SingleFlight
from .source import Source
from .workers import Workers

__all__ = ["BlockReader"]

_SMALL = 64 << 10
"""Bytes that may be verified on the event loop: 15 us of hashing."""
_WARM = 8192
"""Blocks known to have been verified: 8 GiB worth of full ones, in a MiB of memory."""
_RECENT = 32
"""Blocks kept as they came, so that 128 KiB reads do not fetch a block eight times when the cache cannot keep it."""
_RUN = 8
"""Blocks in one fetch."""
_AHEAD = 96
"""Blocks being fetched ahead at any moment, for all files together."""
_GROUP = 64
"""Block hashes of a paged file that are looked up together, in a thread."""
_GROUPS = 1024


class _Obtained(NamedTuple):
    """A block, and whether it came from the store."""

    view: memoryview
    fetched: bool


class BlockReader:
    """Reads ranges of files; fetches ahead where it is told to."""

    def __init__(self, source: Source, nursery: trio.Nursery, workers: Workers) -> None:
        self._source = source
        self._nursery = nursery
        self._workers = workers
        self._flights: SingleFlight[bytes, _Obtained] = SingleFlight(nursery, workers, self._landed)
        self._warm: Lru[bytes, None] = Lru(_WARM)
        self._recent: Lru[bytes, memoryview] = Lru(_RECENT)
        self._groups: Lru[tuple[bytes, int], list[bytes]] = Lru(_GROUPS)
        self._ahead = 0

    async def read_small(self, entry: TreeEntry, neighbours: Callable[[], Region | None]) -> memoryview:
        """Return all of a file of one block. When it must be fetched, what `neighbours` says is fetched with it."""
        digest = self._source.block_hash(entry, 0)
        view = self._held(digest, entry, 0)
        if view is not None:
            return view
        flight = self._flights.join(digest)
        if flight is None:
            region = None if self._source.has_block(digest) else neighbours()
            if region is None:
                self._start(entry, 0, [digest])
            else:
                self._source.count(misses=1)
                self._start_region(region)
            flight = self._flights.join(digest)
            assert flight is not None  # just started
        return (await flight.wait(digest)).view

    def _start_region(self, region: Region) -> None:
        """Put the blocks of a region on their way, but for those that are already."""
        pieces = tuple(piece for piece in region.pieces if piece.digest not in self._flights)
        pieces = tuple({piece.digest: piece for piece in pieces}.values())  # files with the same content
        if pieces:
            region = Region(region.object, pieces)
            digests = [piece.digest for piece in pieces]
            obtain = partial(_obtain_region, self._source, region)
            self._flights.start(digests, obtain, outside=region.is_outside)

    async def bring(self, region: Region) -> None:
        """Have the blocks of a region put into the cache, but for those on their way or just arrived. Never fails."""
        # What is warm may be gone from a small cache since.
        left = tuple(
            piece
            for piece in region.pieces
            if piece.digest not in self._warm or not self._source.has_block(piece.digest)
        )
        if left:
            self._start_region(Region(region.object, left))
        for flight in {self._flights.join(piece.digest) for piece in region.pieces} - {None}:
            assert flight is not None  # mypy does not see the subtraction
            await flight.done.wait()

    async def read(self, entry: TreeEntry, start: int, end: int) -> bytes | memoryview:
        """Return bytes `start` to `end` (both within the file, start < end) of a file.

        Within one block it is a view of the block itself. Raises what fetching raises.
        """
        first, last = start // BLOCK_SIZE, (end - 1) // BLOCK_SIZE
        digests = await self._digests(entry, range(first, last + 1))
        held = [self._held(digest, entry, index) for index, digest in enumerate(digests, first)]
        # No await from here to the joins: whatever is not held is in flight then, and stays joined though it lands.
        self._start(
            entry, first, [digest if view is None else None for view, digest in zip(held, digests, strict=True)]
        )
        joined = [self._flights.join(digest) for digest in digests]
        parts = []
        for index, (view, flight, digest) in enumerate(zip(held, joined, digests, strict=True), first):
            if view is None:
                assert flight is not None  # just started, if nobody else had
                view = (await flight.wait(digest)).view
            offset = index * BLOCK_SIZE
            parts.append(view[max(start - offset, 0) : end - offset])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def fetch_ahead(self, entry: TreeEntry, blocks: range) -> None:
        """Have some blocks fetched in the background, unless too much is on its way already.

        Failures are silent: whoever reads the block tries again, and is told.
        """
        if not blocks or self._ahead + len(blocks) > _AHEAD:
            return
        self._ahead += len(blocks)
        self._nursery.start_soon(self._fetch_ahead, entry, blocks)

    async def _fetch_ahead(self, entry: TreeEntry, blocks: range) -> None:
        try:
            try:
                digests = await self._digests(entry, blocks)
            except Exception:  # noqa: BLE001  # the reader will ask for these hashes itself, and be told why
                return
            known = [digest in self._warm or digest in self._recent for digest in digests]
            self._start(
                entry, blocks.start, [None if is_known else d for is_known, d in zip(known, digests, strict=True)]
            )
            for flight in {self._flights.join(digest) for digest in digests} - {None}:
                assert flight is not None  # mypy does not see the subtraction
                await flight.done.wait()
        finally:
            self._ahead -= len(blocks)

    async def _digests(self, entry: TreeEntry, blocks: range) -> list[bytes]:
        """Return the hashes of some blocks; for files with pages, by way of a thread and a table of groups."""
        if not entry.pages:
            return [self._source.block_hash(entry, index) for index in blocks]
        found: list[bytes] = []
        for group in range(blocks.start // _GROUP, (blocks.stop - 1) // _GROUP + 1):
            key = (entry.hash, group)
            begin = group * _GROUP
            hashes = self._groups.get(key)
            if hashes is None:
                members = range(begin, min(begin + _GROUP, block_count(entry.size)))
                hashes = await self._workers.run(_hashes, self._source, entry, members)
                self._groups.put(key, hashes)
            found += hashes[max(blocks.start - begin, 0) : blocks.stop - begin]
        return found

    def _held(self, digest: bytes, entry: TreeEntry, index: int) -> memoryview | None:
        """Return a block that can be had at once."""
        view = self._recent.peek(digest)
        if view is None:
            if digest not in self._warm and entry.size - index * BLOCK_SIZE > _SMALL:
                return None
            view = self._source.cached_block(digest)
            if view is None:
                self._warm.drop(digest)
                return None
        self._source.count(hits=1)
        return view

    def _start(self, entry: TreeEntry, first: int, wanted: Sequence[bytes | None]) -> None:
        """Put blocks on their way: by position those that are not None, unless they are on their way already."""
        runs: list[tuple[int, list[bytes]]] = []
        seen: set[bytes] = set()
        for index, digest in enumerate(wanted, first):
            if digest is None or digest in self._flights or digest in seen:
                continue
            seen.add(digest)
            if runs and index == runs[-1][0] + len(runs[-1][1]) and len(runs[-1][1]) < _RUN:
                runs[-1][1].append(digest)
            else:
                runs.append((index, [digest]))
        for index, digests in runs:
            obtain = partial(_obtain, self._source, entry, index, digests)
            self._flights.start(digests, obtain, outside=_is_outside(entry, index, len(digests)))

    def _landed(self, digest: bytes, obtained: _Obtained) -> None:
        self._warm.put(digest, None)
        # What lies in the cache is asked of the cache each time: it looks whether the disk still has those bytes.
        if obtained.fetched and not isinstance(obtained.view.obj, mmap.mmap):
            # First in, first out: the blocks of one answer share its memory, and so leave together.
            self._recent.put(digest, obtained.view)


def _obtain_region(source: Source, region: Region) -> list[_Obtained]:
    """Return the blocks of a region from the store. Blocking."""
    return [_Obtained(view, fetched=True) for view in source.fetch_region(region)]


def _is_outside(entry: TreeEntry, first: int, count: int) -> bool:
    """Whether any of these blocks lies, in part or whole, in something else than the bucket's own objects."""
    start = first * BLOCK_SIZE
    parts = cut_extents(entry.extents, start, min(count * BLOCK_SIZE, entry.size - start))
    return any(isinstance(part.object, External) for part in parts)


def _hashes(source: Source, entry: TreeEntry, blocks: range) -> list[bytes]:
    return [source.block_hash(entry, index) for index in blocks]


def _obtain(source: Source, entry: TreeEntry, first: int, digests: list[bytes]) -> list[_Obtained]:
    """Return blocks `first` and following of a file, with these digests, from the cache or the store. Blocking."""
    cached = [source.cached_block(digest) for digest in digests]
    found: list[_Obtained] = []
    for begin, end in _runs(cached):
        if cached[begin] is not None:
            found += [_Obtained(view, fetched=False) for view in cached[begin:end] if view is not None]
            source.count(hits=end - begin)
        else:
            source.count(misses=end - begin)
            found += [_Obtained(view, fetched=True) for view in source.fetch_blocks(entry, first + begin, end - begin)]
    return found


def _runs(cached: Sequence[memoryview | None]) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each run of blocks that are all there or all missing."""
    begin = 0
    for at in range(1, len(cached) + 1):
        if at == len(cached) or (cached[at] is None) != (cached[begin] is None):
            yield begin, at
            begin = at
