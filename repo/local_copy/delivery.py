"""Blocks brought into the files of a copy that is being made: from the cache, by few requests, or from a file here.

What is wanted of many files is fetched together (`block_plan`), in portions: the first request leaves when a few files
are known, and not when a whole batch is. A block that was asked for before, for this batch or one that still waits,
is not asked for again: whoever wants it too is given it when it comes, or from the file that has it by then. Without
that a copy of a file far behind its twin is a request of its own, and cuts the long ranges around it.

`Delivery.send` is called by one thread; pieces come in others. What a batch's `jobs` do for files of the next one is
done before the batch is settled.

**Invariant:** a block is written only where its hash was checked just before.
**Invariant:** a file is put into `whole` of its batch once, when its last block was written.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from penstock.errors import AccessError, IntegrityError
from penstock.manifest.entry import BLOCK_SIZE, External, Kind, block_count
from penstock.manifest.hashing import content_hash
from penstock.progress import Stage
from penstock.repo.fetch.regions import Region
from penstock.repo.read.block_plan import ScatteredBlock, WantedBlock, plan_blocks
from penstock.repo.read.snapshot import Snapshot

from .local_directory import LocalDirectory, Staging
from .pairs import Pair

__all__ = ["Batch", "CopiedFile", "Delivery", "write_at"]

_HELD = 128
"""Blocks from the cache that one thread writes."""


class CopiedFile:
    """A file on its way into the directory."""

    __slots__ = ("batch", "change", "entry", "is_lost", "left", "mode", "name", "names")

    batch: Batch
    """The one that its last block was asked for with."""

    def __init__(self, pair: Pair) -> None:
        assert pair.entry is not None
        self.names = pair.names
        self.entry = pair.entry
        self.mode = 0o777 if pair.entry.kind is Kind.EXECUTABLE else 0o666
        self.name = ""
        self.left = block_count(pair.entry.size)
        self.change: Literal["fetched", "replaced"] = "fetched" if pair.status is None else "replaced"
        self.is_lost = False

    @property
    def is_large(self) -> bool:
        """Whether it has more than one block, so that it comes in parts."""
        return self.entry.size > BLOCK_SIZE


class _Asked:
    """A block that was asked for: who wants it, and what came of it (None: it is on its way)."""

    __slots__ = ("outcome", "owners")

    def __init__(self, owners: list[WantedBlock[CopiedFile]]) -> None:
        self.owners = owners
        self.outcome: Literal["here"] | IntegrityError | AccessError | None = None


_AskedBlocks = dict[bytes, _Asked]


@dataclass(slots=True)
class Batch:
    """Files that are synced together; `whole` are those that only wait for their names.

    `blocks` are those that are still to be asked for, of `bytes_left` bytes. `count` and `bytes` are of all there were.
    """

    jobs: list[Future[None]] = field(default_factory=list)
    blocks: list[WantedBlock[CopiedFile]] = field(default_factory=list)
    count: int = 0
    bytes: int = 0
    bytes_left: int = 0
    whole: deque[CopiedFile] = field(default_factory=deque)
    asked: _AskedBlocks = field(default_factory=dict)

    def want_nothing(self, file: CopiedFile) -> None:
        """Take a file that is whole."""
        self.whole.append(file)
        self.count += 1

    def want(self, file: CopiedFile, index: int) -> None:
        """Take a block of a file that has to come."""
        file.batch = self
        length = min(BLOCK_SIZE, file.entry.size - index * BLOCK_SIZE)
        self.blocks.append(WantedBlock(file, file.entry, index))
        self.bytes_left += length
        self.bytes += length
        self.count += 1


class Delivery:
    """Brings blocks into staged files.

    `lose` is told of each file that a block could not be had for, and why: by any thread, one at a time.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        directory: LocalDirectory,
        staging: Staging,
        stage: Stage,
        requests: int,
        lose: Callable[[CopiedFile, IntegrityError | AccessError], None],
    ) -> None:
        self._snapshot = snapshot
        self._directory = directory
        self._staging = staging
        self._stage = stage
        self._pool = ThreadPoolExecutor(requests, "penstock-fetch")
        self._lock = threading.Lock()
        self._stopped = False
        self._refused: dict[bytes | External, AccessError] = {}
        """Objects that the store does not give out: they are asked for once."""
        self._tell_lost = lose

    def stop(self) -> None:
        """Begin nothing more; what is on its way is let go of."""
        self._stopped = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def send(self, batch: Batch, earlier: Sequence[Batch]) -> None:
        """Have the blocks brought that a batch wants; `earlier`: those that are not settled yet."""
        fresh = self._fresh(batch, earlier)
        batch.blocks, batch.bytes_left = [], 0
        plan = plan_blocks(fresh, self._snapshot.block_hash, self._snapshot.missing_blocks)
        asked = {digest: _Asked(owners) for digest, owners in plan.wanted.items()}
        batch.asked.update(asked)
        for at in range(0, len(plan.held), _HELD):
            batch.jobs.append(self._pool.submit(self._bring_held, asked, plan.held[at : at + _HELD]))
        batch.jobs += [self._pool.submit(self._bring, asked, region) for region in plan.regions]
        batch.jobs += [self._pool.submit(self._bring_scattered, asked[each.digest], each) for each in plan.scattered]

    def _fresh(self, batch: Batch, earlier: Sequence[Batch]) -> Iterable[WantedBlock[CopiedFile]]:
        """Return the blocks that nobody has asked for; the others are given what came, or is to come."""
        every = [batch, *earlier]
        fresh = []
        for wanted in batch.blocks:
            digest = self._snapshot.block_hash(wanted.entry, wanted.index)
            asked = next((found for each in every if (found := each.asked.get(digest)) is not None), None)
            if asked is None or wanted.entry.is_identity:  # of that, only its own object says what it is
                fresh.append(wanted)
                continue
            with self._lock:
                if asked.outcome is None:
                    asked.owners.append(wanted)
                    continue
            batch.jobs.append(self._pool.submit(self._repeat, digest, asked, wanted))
        return fresh

    def _repeat(self, digest: bytes, asked: _Asked, wanted: WantedBlock[CopiedFile]) -> None:
        """Bring a block from a file that it was written to."""
        if self._stopped:
            return
        if isinstance(asked.outcome, (IntegrityError, AccessError)):
            self._lose(wanted.owner, asked.outcome)
            return
        source, length = asked.owners[0], min(BLOCK_SIZE, wanted.entry.size - wanted.index * BLOCK_SIZE)
        data = self._read_here(source.owner, length, source.index * BLOCK_SIZE)
        if content_hash(data) == digest:
            self._write(wanted, memoryview(data))
        else:  # somebody has changed that file
            self._bring_scattered(_Asked([wanted]), ScatteredBlock(digest, wanted.entry, wanted.index))

    def _read_here(self, file: CopiedFile, length: int, offset: int) -> bytes:
        """Read from a file that was written: unfinished, or in its place by now. Nothing, when it is neither."""
        descriptor = self._staging.open_unfinished(file.name)
        if descriptor is None:
            descriptor = self._directory.open_file(file.names)
        if descriptor is None:
            return b""
        try:
            with self._directory.explained("read", file.names):
                return os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)

    def _bring_held(self, asked: _AskedBlocks, digests: Sequence[bytes]) -> None:
        for digest in digests:
            block = self._snapshot.cached_block(digest)
            if block is None:  # evicted by now
                first = asked[digest].owners[0]
                self._bring_scattered(asked[digest], ScatteredBlock(digest, first.entry, first.index))
            else:
                self._take(asked[digest], block)

    def _bring(self, asked: _AskedBlocks, region: Region) -> None:
        if self._stopped:
            return
        refused = self._refused.get(region.object)
        try:
            if refused is not None:
                raise refused
            blocks = self._snapshot.read_region(region)
        except AccessError as error:
            self._refused[region.object] = error
            for piece in region.pieces:
                self._fail(asked[piece.digest], error)
            return
        except IntegrityError as error:
            if len(region.pieces) == 1:
                self._fail(asked[region.pieces[0].digest], error)
                return
            for piece in region.pieces:  # those that are sound, one by one
                self._bring(asked, Region(region.object, (piece,)))
            return
        for piece, block in zip(region.pieces, blocks, strict=True):
            self._take(asked[piece.digest], block)

    def _bring_scattered(self, asked: _Asked, block: ScatteredBlock) -> None:
        if self._stopped:
            return
        try:
            (data,) = self._snapshot.fetch_blocks(block.entry, block.index, 1)
        except (IntegrityError, AccessError) as error:
            self._fail(asked, error)
            return
        self._take(asked, data)

    def _take(self, asked: _Asked, data: memoryview) -> None:
        """Write a block wherever it is wanted, also where that is said meanwhile."""
        at = 0
        while not self._stopped:
            with self._lock:
                if at == len(asked.owners):
                    asked.outcome = "here"
                    return
            self._write(asked.owners[at], data)
            at += 1

    def _write(self, wanted: WantedBlock[CopiedFile], data: memoryview) -> None:
        file, entry, staging = wanted.owner, wanted.entry, self._staging
        with self._directory.explained("write", file.names):
            if not file.is_large:
                staging.write(file.name, data, file.mode, entry.mtime_ns)
            else:
                target = staging.open_partial(file.name, file.mode)
                try:
                    write_at(target, data, wanted.index * BLOCK_SIZE)
                finally:
                    os.close(target)
            with self._lock:
                file.left -= 1
                is_whole = not file.left
            if is_whole:
                if file.is_large:
                    staging.finish(file.name, entry.mtime_ns)
                file.batch.whole.append(file)
        self._stage.advance(len(data))

    def _fail(self, asked: _Asked, error: IntegrityError | AccessError) -> None:
        with self._lock:
            asked.outcome = error
        for wanted in asked.owners:
            self._lose(wanted.owner, error)

    def _lose(self, file: CopiedFile, error: IntegrityError | AccessError) -> None:
        with self._lock:
            if not file.is_lost:
                file.is_lost = True
                self._tell_lost(file, error)


def write_at(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all of it at a place of a file."""
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
