"""Fetch more than was asked for, where the reads so far say that it will be: neighbours, directories, everything.

What is decided is decided in `small_file_rules`; here it is carried out. Small files lie side by side in packs in tree
order, so the files behind a missed one, in tree order, come along in the same request.

**Invariant:** nothing here fails a reader: a fetch ahead that fails is forgotten, and who reads the file is told.
**Invariant:** requests on their way are at most AHEAD_REQUESTS for directories and everything together.

Used from the event loop's thread only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice

import trio

from penstock.manifest.entry import External, NodeRef, TreeEntry
from penstock.manifest.node import Node
from penstock.manifest.tree import ROOT_INODE, Inode, NodeMissing, Tree
from penstock.repo.fetch.region_plan import RegionPlanner, pieces_of
from penstock.repo.fetch.regions import Region, RegionPiece
from penstock.vfs.source.source import Source
from penstock.vfs.source.workers import Workers

from .background import BackgroundFetches, run_guarded
from .small_file_rules import Evidence, MissPlan

__all__ = ["Prefetcher"]

_REQUEST = 4 << 20
"""Bytes in one request ahead: 25 ms of waiting for 40 ms of data."""
_REQUESTS = 6
_MOST_ENTRIES = 512
"""Entries looked at for one miss: about 0.3 ms."""
_BATCH = 256
_LEAST = 256
"""Bytes that an entry counts for, at the least, when it is decided how far to fetch ahead."""

Bring = Callable[[Region], Awaitable[None]]
"""Has a region's blocks put into the cache, except those that are on their way."""


class Prefetcher:
    """Carries out what `Evidence` of one mount says."""

    def __init__(
        self,
        source: Source,
        nursery: trio.Nursery,
        workers: Workers,
        load: Callable[[NodeRef], Awaitable[Node]],
        bring: Bring,
    ) -> None:
        self._source = source
        self._nursery = nursery
        self._workers = workers
        self._load = load
        self._tree = Tree(source.root, source.peek)
        self._evidence = Evidence(source.root.entries, fits=source.cache_holds(source.root.size))
        self._fetches = BackgroundFetches(bring, _REQUESTS)
        self.sweeping = False

    def opened(self, inode: Inode) -> None:
        """Take note of a file that begins to be read; fetch what lies ahead of it, if it is one of many in order."""
        length = self._evidence.open(inode)
        if length:
            self._evidence.ahead(self._source.root.entries + 2)  # not again before this one is known to reach how far
            self._nursery.start_soon(run_guarded, self._fetch_ahead, Inode(inode + 1), length)

    def region(self, inode: Inode, entry: TreeEntry, *, alone: bool = False) -> Region | None:
        """Return what to fetch for a missed file of one block: at least its block. None: it lies in several places.

        `alone`: the miss says nothing of other files, because which ones follow is known.
        """
        plan = self._evidence.miss(entry.size) if not alone else MissPlan(entry.size)
        if plan.everything:
            self.sweeping = True
            self._nursery.start_soon(run_guarded, self._fetch_everything)
        pieces = list(islice(pieces_of(entry, self._source.block_hash), 1))
        if not pieces:
            return None
        found, first = pieces[0]
        gatherer = RegionPlanner(plan.length)
        gatherer.add(found, first)
        if plan.length > entry.size:
            for piece in self._missing(self._behind(inode, found, first.offset + plan.length)):
                ended = gatherer.add(found, piece)
                if ended is not None:
                    self._evidence.brought(ended.length)
                    return ended
        (region,) = gatherer.flush()
        self._evidence.brought(region.length)
        return region

    def _behind(self, inode: Inode, found: object, end: int) -> list[RegionPiece]:
        """Return the blocks of the files behind one that lie in the same object before byte `end`."""
        pieces: list[RegionPiece] = []
        try:
            for _, entry in islice(self._tree.walk_from(inode), 1, _MOST_ENTRIES):
                if not entry.is_file or entry.pages:
                    continue
                for place, piece in pieces_of(entry, self._source.block_hash):
                    if place != found or piece.offset + piece.length > end:
                        return pieces
                    pieces.append(piece)
        except NodeMissing:
            pass  # what is in memory will do
        return pieces

    def _missing(self, pieces: Sequence[RegionPiece]) -> Iterator[RegionPiece]:
        missing = set(self._source.missing_blocks([piece.digest for piece in pieces]))
        return (piece for piece in pieces if piece.digest in missing)

    async def _fetch_ahead(self, start: Inode, length: int) -> None:
        """Fetch `length` bytes of files from an inode on, and say behind which file the next window is due."""
        middle = start
        left = length
        async with trio.open_nursery() as nursery:
            gatherer = RegionPlanner(_REQUEST)
            while left > 0 and (batch := await self._entries(start)):
                wanted = []
                for inode, entry in batch:
                    if entry.is_file and entry.size > length:
                        middle, left = inode, 0  # it has a read-ahead of its own
                        break
                    wanted.append(entry)
                    # What has no bytes is not free: a tree may be empty files without end.
                    left -= max(entry.size if entry.is_file else 0, _LEAST)
                    if left > length // 2:
                        middle = inode
                    if left <= 0:
                        break
                await self._gather(gatherer, wanted, nursery)
                start = Inode(batch[-1][0] + 1)
            self._evidence.ahead(middle)
            for region in gatherer.flush():
                await self._fetches.send(region, nursery)

    async def _fetch_everything(self) -> None:
        """Fetch what is not in the cache yet, in tree order."""
        start = ROOT_INODE
        try:
            async with trio.open_nursery() as nursery:
                gatherer = RegionPlanner(_REQUEST)
                while batch := await self._entries(start):
                    await self._gather(gatherer, [entry for _, entry in batch], nursery)
                    start = Inode(batch[-1][0] + 1)
                for region in gatherer.flush():
                    await self._fetches.send(region, nursery)
        finally:
            self.sweeping = False

    async def _entries(self, start: Inode) -> list[tuple[Inode, TreeEntry]]:
        """Return some entries in tree order from an inode on (from the root, behind it), loading nodes on the way.

        Empty at the end of the tree only.
        """
        found: list[tuple[Inode, TreeEntry]] = []
        last = ROOT_INODE + self._source.root.entries
        while start <= last and len(found) < _BATCH:
            try:
                for inode, entry in islice(self._tree.walk_from(start), _BATCH - len(found)):
                    found.append((inode, entry))
                    start = Inode(inode + 1)
                return found
            except NodeMissing as missing:
                await self._load(missing.ref)
        return found

    async def _gather(self, gatherer: RegionPlanner, entries: Sequence[TreeEntry], nursery: trio.Nursery) -> None:
        places = []
        for entry in entries:
            if entry.is_file and entry.size:
                if entry.pages:  # its hashes may have to be fetched
                    places += await self._workers.run(_pieces, self._source, entry)
                else:
                    places += pieces_of(entry, self._source.block_hash)
        missing = set(await self._workers.run(self._source.missing_blocks, [piece.digest for _, piece in places]))
        for found, piece in places:
            region = gatherer.add(found, piece) if piece.digest in missing else None
            if region is not None:
                await self._fetches.send(region, nursery)


def _pieces(source: Source, entry: TreeEntry) -> list[tuple[bytes | External, RegionPiece]]:
    return list(pieces_of(entry, source.block_hash))
