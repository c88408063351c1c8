"""Warm the cache: put all blocks of a version, or of paths in it, where reads need no store any more. Blocking.

The tree is walked in order, what is missing is gathered into large regions, and a bounded number of them is fetched
at a time. Nothing that is there is fetched again, so what was interrupted goes on where it was.

**Invariant:** nothing is evicted for what is warmed: it ends, partly done, before the cache's bound is met.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple

from penstock.errors import AccessError, CancelledError, IntegrityError, PenstockError
from penstock.manifest.entry import BLOCK_SIZE, External, TreeEntry
from penstock.progress import Progress
from penstock.repo.fetch.region_plan import RegionPlanner, pieces_of, place_order, widest_gap
from penstock.repo.fetch.regions import Region, RegionPiece
from penstock.repo.read.snapshot import Snapshot, open_snapshot
from penstock.repo.settings.handle import Handle
from penstock.repo.settings.settings import Settings
from penstock.repo.settings.sizes import format_size

from .trace import Trace
from .warm_selection import FilesBelow, FilesListed, Selection, Wanted

__all__ = ["WarmOutcome", "warm"]

_REQUEST = 4 << 20
"""Bytes in one request: 25 ms of waiting for 40 ms of data."""
_REQUESTS = 16
"""Requests on their way at once: 64 MiB."""
_BATCH = 256
"""Entries whose blocks are looked up together."""
_SCATTERED_BATCH = 2048
"""Of a trace, which may be in any order, so many are put in order of their places, to be fetched in fewer requests."""
_WASTE = 24
"""One byte in so many may be one that lies between blocks of a trace, and is thrown away."""
_FETCHERS = max(1, min(4, (os.cpu_count() or 1) // 2))


@dataclass(frozen=True, slots=True)
class WarmOutcome:
    """What was done, in bytes: of `bytes` asked for, `bytes_there` were in the cache and `bytes_warmed` are now.

    A content that several files have is warmed for one of them and there for the others. `bytes_fetched` is what the
    store sent in `gets` requests, nodes of the tree among it; `files` is how many files were looked at, those of equal
    directories once. `stopped` says why not all was done, empty if it was; `damaged` says what the store no longer has
    as it was, `refused` what it does not give out, such as archived objects; `error` is what ended it, if any.
    Of a trace, `gone` is how many of its paths are not in the version, and `bytes` are those of the others.
    """

    handle: str
    top_hash: bytes
    files: int
    bytes: int
    bytes_there: int
    bytes_warmed: int
    bytes_fetched: int
    gets: int
    stopped: str
    damaged: tuple[str, ...]
    gone: int = 0
    refused: tuple[str, ...] = ()
    error: PenstockError | None = None


def warm(
    handle: Handle,
    paths: Sequence[str],
    settings: Settings,
    progress: Progress,
    *,
    trace: Trace | None = None,
) -> WarmOutcome:
    """Put the blocks of `paths` (of all, when there are none) of a version into the cache.

    With `trace`, and no paths: the blocks that it lists, in its order, as far as the version has them.

    NotFoundError: no such version, or path in it. AccessError: the cache does not work, or the store refuses the
    version. StoreUnreachableError: the version cannot be looked up. What comes up later is in the report.
    """
    with closing(open_snapshot(str(handle), settings, fetchers=_FETCHERS, remember=True)) as snapshot:
        info = snapshot.cache_info()
        assert info is not None  # it was not opened without
        if info.mode != "ok":
            raise AccessError("the cache cannot be warmed", why=f"{info.directory} is {info.mode}")
        selection: Selection
        if trace is not None:
            selection = FilesListed(snapshot.tree, trace)
        else:
            selection = FilesBelow(snapshot.tree, [snapshot.find(path) for path in paths or ("",)])
        pool = ThreadPoolExecutor(_REQUESTS, "penstock-warm")
        try:
            return _Warming(snapshot, progress, pool).run(selection)
        finally:
            # Not waited for after Ctrl-C: closing the snapshot ends the processes that its threads wait for.
            pool.shutdown(wait=False, cancel_futures=True)


class _Full(Exception):  # noqa: N818  # an end, not an error
    """The cache takes no more without an eviction."""


class _Brought(NamedTuple):
    """What came of a fetch: bytes in the cache now, whether it has no room, what is damaged, what the store refuses."""

    kept: int
    lost: int
    full: bool
    damaged: tuple[str, ...] = ()
    refused: tuple[bytes | External, str] | None = None


class _Warming:
    """One run, of one thread; `_bring` and `_bring_joined` are called in others."""

    def __init__(self, snapshot: Snapshot, progress: Progress, pool: ThreadPoolExecutor) -> None:
        self._snapshot = snapshot
        self._stage = progress.stage("warming")
        self._pool = pool
        self._jobs: dict[Future[_Brought], tuple[int, int]] = {}
        self._gatherer = RegionPlanner(_REQUEST)
        self._files = self._bytes = self._there = self._warmed = self._lost = 0
        self._wanted = self._wasted = 0
        self._damaged: list[str] = []
        # By object; what is no single one goes by what was said of it.
        self._refused: dict[bytes | External, str] = {}

    def run(self, selection: Selection) -> WarmOutcome:
        """Warm what is selected."""
        snapshot = self._snapshot
        self._stage.total(selection.size)
        files = iter(selection)
        full = False
        failure: PenstockError | None = None
        try:
            while batch := list(islice(files, _SCATTERED_BATCH if selection.scattered else _BATCH)):
                self._look_at(batch, scattered=selection.scattered)
            for region in self._gatherer.flush():
                self._send_region(region)
            while self._jobs:
                self._collect()
        except _Full:
            full = True
        except CancelledError:
            for job in self._jobs:
                job.cancel()
            raise
        except PenstockError as error:
            failure = error
        finally:
            files.close()
        for job in self._jobs:
            job.cancel()
        while self._jobs:
            self._collect(stopping=True)
        for _, told in selection.unreadable:
            self._note_unreadable(told)
        unseen = sum(ref.size for ref, _ in selection.unreadable)
        if not full and failure is None:
            # What is neither: contents that were on their way already when another file with them came up.
            shared = self._bytes - self._there - self._warmed - self._lost
            self._there += shared + selection.repeated
            self._stage.advance(shared + selection.repeated + unseen + max(selection.absent, 0))
        counts = snapshot.counters()
        return WarmOutcome(
            handle=snapshot.handle,
            top_hash=snapshot.top_hash,
            files=self._files,
            bytes=selection.size - selection.absent,
            bytes_there=self._there,
            bytes_warmed=self._warmed,
            bytes_fetched=counts["bytes_fetched"],
            gets=counts["gets"],
            stopped=self._why_full() if full else "",
            damaged=tuple(self._damaged),
            gone=selection.gone,
            refused=tuple(self._refused.values()),
            error=failure,
        )

    def _look_at(self, files: Sequence[Wanted], *, scattered: bool) -> None:
        """Send for the blocks of some files that are missing, as far as they make whole regions."""
        placed: list[tuple[bytes | External, RegionPiece]] = []
        joined: list[tuple[TreeEntry, int, bytes, int]] = []
        for wanted in files:
            self._files += not wanted.more
            self._bytes += wanted.size
            try:
                mine = list(pieces_of(wanted.entry, self._snapshot.block_hash, wanted.blocks))
                if len(mine) < len(wanted.blocks):
                    joined += self._joined_of(wanted, {piece.digest for _, piece in mine})
            except (IntegrityError, AccessError) as error:  # a page of its hashes cannot be read
                self._lost += wanted.size
                self._note_unreadable(error)
                continue
            placed += mine
        missing = set(
            self._snapshot.missing_blocks([*(piece.digest for _, piece in placed), *(each[2] for each in joined)])
        )
        there = sum(piece.length for _, piece in placed if piece.digest not in missing)
        there += sum(length for _, _, digest, length in joined if digest not in missing)
        self._there += there
        self._stage.advance(there)
        placed = [place for place in placed if place[1].digest in missing]
        if scattered:
            placed.sort(key=place_order)
            self._wanted += sum(piece.length for _, piece in placed)
            self._gatherer.gap = widest_gap(placed, self._wanted // _WASTE - self._wasted)
        for found, piece in placed:
            region = self._gatherer.add(found, piece)
            if region is not None:
                self._send_region(region)
        for entry, index, digest, length in joined:
            if digest in missing:
                missing.discard(digest)
                self._send(1, length, partial(self._bring_joined, entry, index, digest, length))

    def _note_unreadable(self, error: IntegrityError | AccessError) -> None:
        text = str(error)
        if isinstance(error, AccessError):
            self._refused.setdefault(External(text), text)
        else:
            self._damaged.append(text)

    def _joined_of(self, wanted: Wanted, placed: set[bytes]) -> Iterator[tuple[TreeEntry, int, bytes, int]]:
        """Yield the blocks of a file that lie in several places."""
        entry = wanted.entry
        for index in wanted.blocks:
            digest = self._snapshot.block_hash(entry, index)
            if digest not in placed:
                yield entry, index, digest, min(BLOCK_SIZE, entry.size - index * BLOCK_SIZE)

    def _send_region(self, region: Region) -> None:
        size = sum(piece.length for piece in region.pieces)
        if region.object in self._refused:
            self._lost += size
            return
        self._wasted += region.length - size
        self._send(len(region.pieces), size, partial(self._bring, region))

    def _send(self, blocks: int, size: int, bring: Callable[[], _Brought]) -> None:
        """Have something fetched as soon as there is a place for it; `_Full` when the cache has none."""
        while len(self._jobs) >= _REQUESTS:
            self._collect()
        while not self._snapshot.cache_takes(
            # What is on its way is not in the segments yet.
            blocks + sum(count for count, _ in self._jobs.values()),
            size + sum(count for _, count in self._jobs.values()),
        ):
            if not self._jobs:
                raise _Full
            self._collect()
        self._jobs[self._pool.submit(bring)] = (blocks, size)

    def _collect(self, *, stopping: bool = False) -> None:
        """Wait for a fetch, or several, and take note of what came of them."""
        ended, _ = wait(self._jobs, return_when=FIRST_COMPLETED)
        for job in ended:
            del self._jobs[job]
            if job.cancelled():
                continue
            try:
                brought = job.result()
            except PenstockError:
                if not stopping:
                    raise
                continue
            self._warmed += brought.kept
            self._lost += brought.lost
            self._damaged += brought.damaged
            if not stopping:
                self._stage.advance(brought.kept)
            if brought.refused is not None:
                self._refused.setdefault(*brought.refused)
            if brought.full and not stopping:
                raise _Full

    def _bring(self, region: Region) -> _Brought:
        """Fetch a region; where a part of it is damaged, the other blocks of it all the same."""
        damaged: list[str] = []
        lost = 0
        try:
            self._snapshot.fetch_region(region)
        except AccessError as error:
            lost = sum(piece.length for piece in region.pieces)
            return _Brought(0, lost, full=False, refused=(region.object, str(error)))
        except IntegrityError:
            for piece in region.pieces:
                try:
                    self._snapshot.fetch_region(Region(region.object, (piece,)))
                except (IntegrityError, AccessError) as error:
                    damaged.append(str(error))
                    lost += piece.length
        return self._kept({piece.digest: piece.length for piece in region.pieces}, lost, damaged)

    def _bring_joined(self, entry: TreeEntry, index: int, digest: bytes, length: int) -> _Brought:
        try:
            self._snapshot.fetch_blocks(entry, index, 1)
        except AccessError as error:
            return _Brought(0, length, full=False, refused=(External(str(error)), str(error)))
        except IntegrityError as error:
            return _Brought(0, length, full=False, damaged=(str(error),))
        return self._kept({digest: length}, 0, [])

    def _kept(self, sizes: Mapping[bytes, int], lost: int, damaged: Sequence[str]) -> _Brought:
        missing = sum(sizes[digest] for digest in self._snapshot.missing_blocks(list(sizes)))
        return _Brought(sum(sizes.values()) - missing, lost, full=missing > lost, damaged=tuple(damaged))

    def _why_full(self) -> str:
        info = self._snapshot.cache_info()
        assert info is not None
        if info.mode != "ok":
            return f"the cache in {info.directory} is {info.mode}"
        return f"the cache in {info.directory} is full: {format_size(info.bytes)} of {format_size(info.max_bytes)}"
