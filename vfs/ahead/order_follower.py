"""Fetch ahead of readers whose order is known: the next files are in the cache before they are opened.

What is due is decided in `announced_order`; here it is carried out, in two ways at once:
- the *lead*: the next files of each order, those that are neighbours in a pack in one request;
- the *sweep*: when the cache can hold all that was announced, that is fetched in tree order, in large requests, as
  soon as the announcement is complete. It overtakes the lead, which in random order needs a request for every few
  files.

**Invariant:** nothing here fails a reader, or keeps one waiting: requests on their way are at most LEAD_REQUESTS and
SWEEP_REQUESTS, a third of what the fetchers do at once, and half of their byte budget.
**Invariant:** bytes fetched that nobody announced (gaps between files in a pack) are at most WASTE of the others.

Used from the event loop's thread only.
"""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import NamedTuple

import trio

from penstock.manifest.entry import External, NodeRef
from penstock.manifest.node import Node
from penstock.manifest.tree import Inode, NodeMissing, Tree
from penstock.repo.fetch.region_plan import RegionPlanner, pieces_of, place_order, widest_gap
from penstock.repo.fetch.regions import Region, RegionPiece
from penstock.vfs.source.source import Source
from penstock.vfs.source.workers import Workers

from .announced_order import Announced, Order
from .background import BackgroundFetches, run_guarded

__all__ = ["OrderFollower", "patient_tree"]

_WINDOW = 64 << 20
_LEAST_WINDOW = 1 << 20
_SHARE = 8
"""The lead is this part of the cache at the most: what is fetched ahead must still be there when it is opened."""
_HEAD_BLOCKS = 4
"""Blocks of a large file that are fetched before it is opened; then its own readahead takes over."""
_LEAD_REQUEST = 1 << 20
_LEAD_REQUESTS = 8
_SWEEP_REQUEST = 4 << 20
_SWEEP_REQUESTS = 4
_SWEEP_FILES = 2 << 20
"""Files of an order that is still swept: they are sorted, which takes 40 bytes each for a moment."""
_SWEEP_BATCH = 256
_WASTE = 24
"""One byte in so many may be one that nobody announced."""

Place = tuple[bytes | External, RegionPiece]


class _Sight(NamedTuple):
    """A file that was looked at: its blocks that are missing, as far as they lie in one place each, and its bytes."""

    size: int
    missing: list[Place]


class OrderFollower:
    """Carries out what `Announced` of one mount says. `bring` has a region's blocks put into the cache."""

    def __init__(
        self, source: Source, nursery: trio.Nursery, workers: Workers, bring: Callable[[Region], Awaitable[None]]
    ) -> None:
        self._source = source
        self._nursery = nursery
        self._workers = workers
        window = _WINDOW
        while window > _LEAST_WINDOW and not source.cache_holds(_SHARE * window):
            window //= 2
        # A cache that does not hold even that would be emptied by what is fetched ahead.
        self._announced = Announced(window if source.cache_holds(_SHARE * window) else 0)
        self._moved = trio.Event()
        self._begun = False
        self._lead_fetches = BackgroundFetches(bring, _LEAD_REQUESTS)
        self._sweep_fetches = BackgroundFetches(bring, _SWEEP_REQUESTS)
        self._wanted = self._wasted = 0

    def add(self, client: str, token: str, at: int, inodes: array[int], size: int, *, last: bool) -> None:
        """Take a part of an announcement, as `Announced.add`; `last` completes it."""
        order = self._announced.add(client, token, at, inodes, size, trio.current_time())
        if not self._begun:
            self._begun = True
            self._nursery.start_soon(self._follow)
        self._moved.set()
        if last and len(order.inodes) <= _SWEEP_FILES and self._source.cache_holds(order.size):
            self._nursery.start_soon(run_guarded, self._sweep, order)

    def drop(self, client: str) -> None:
        """Forget a client's announcement."""
        self._announced.drop(client)

    def opened(self, inode: int) -> bool:
        """Take note of an opened file; whether it was announced as one of the next."""
        if not self._begun or not self._announced.opened(inode, trio.current_time()):
            return False
        self._moved.set()
        return True

    async def _follow(self) -> None:
        while True:
            due = self._announced.due(trio.current_time())
            if due is None:
                self._moved = trio.Event()
                await self._moved.wait()
            else:
                await run_guarded(self._fetch_lead, *due)

    async def _fetch_lead(self, order: Order, room: int) -> None:
        """Fetch the next files of an order, at least one and else no more than `room` bytes."""
        upcoming = order.upcoming()
        sights: list[_Sight] = []
        try:
            for sight in await self._workers.run(_look, self._source, upcoming):
                room -= sight.size
                if sights and room < 0:
                    break
                sights.append(sight)
        finally:
            # Also when it failed: not again for these, or a store that is down would be asked without an end.
            order.took([sight.size for sight in sights] or [0] * len(upcoming))
        places = [place for sight in sights for place in sight.missing]
        rank = {piece.digest: at for at, (_, piece) in reversed(list(enumerate(places)))}
        places.sort(key=place_order)
        gatherer = RegionPlanner(_LEAD_REQUEST, gap=self._gap(places))
        regions = [region for found, piece in places if (region := gatherer.add(found, piece)) is not None]
        regions += gatherer.flush()
        regions.sort(key=lambda region: min(rank[piece.digest] for piece in region.pieces))
        for region in regions:
            await self._send(region, self._lead_fetches, self._nursery)

    async def _sweep(self, order: Order) -> None:
        """Fetch all of an order in tree order, as long as nothing takes its place."""
        inodes = await self._workers.run(_in_tree_order, order.inodes)
        async with trio.open_nursery() as nursery:
            gatherer = RegionPlanner(_SWEEP_REQUEST)
            for at in range(0, len(inodes), _SWEEP_BATCH):
                batch = inodes[at : at + _SWEEP_BATCH].tolist()
                if order not in self._announced:
                    return
                sights = await self._workers.run(_look, self._source, batch)
                places = [place for sight in sights for place in sight.missing]
                gatherer.gap = self._gap(places)
                for found, piece in places:
                    region = gatherer.add(found, piece)
                    if region is not None:
                        await self._send(region, self._sweep_fetches, nursery)
            for region in gatherer.flush():
                await self._send(region, self._sweep_fetches, nursery)

    def _gap(self, places: Sequence[Place]) -> int:
        """Return how large a gap between some blocks, in order, may be fetched with them."""
        self._wanted += sum(piece.length for _, piece in places)
        return widest_gap(places, self._wanted // _WASTE - self._wasted)

    async def _send(self, region: Region, fetches: BackgroundFetches, nursery: trio.Nursery) -> None:
        self._wasted += region.length - sum(piece.length for piece in region.pieces)
        await fetches.send(region, nursery)


def _in_tree_order(inodes: array[int]) -> array[int]:
    return array("Q", sorted(inodes))


def patient_tree(source: Source) -> Tree:
    """Return a version's tree that loads nodes where it must: for threads."""

    def load(ref: NodeRef) -> Node:
        try:
            return source.peek(ref)
        except NodeMissing:
            return source.load(ref)

    return Tree(source.root, load)


def _look(source: Source, inodes: Sequence[int]) -> list[_Sight]:
    """Look at some files: what they have, and what of it the cache has not. Blocking."""
    tree = patient_tree(source)
    found: list[tuple[int, list[Place]]] = []
    for inode in inodes:
        places = list(islice(pieces_of(tree.by_inode(Inode(inode)), source.block_hash), _HEAD_BLOCKS))
        found.append((sum(piece.length for _, piece in places), places))
    missing = set(source.missing_blocks([piece.digest for _, places in found for _, piece in places]))
    return [_Sight(size, [place for place in places if place[1].digest in missing]) for size, places in found]
