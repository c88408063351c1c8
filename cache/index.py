"""The index: which segment holds a block, which segments were read when, how many blocks went bad.

All of it can be lost. `open_index` builds it again from the segments when what lies on disk cannot be trusted; its
callers hold the layout lock. A record may point to a segment that is gone: that is a miss, and the finder drops it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from .cache_directory import CacheDirectory, Clock
from .disposal import remove_environment
from .environment import PAGE_BYTES, Environment, IndexDamagedError, open_environment
from .index_state import IndexState
from .layout import INDEX_SLACK_BYTES, SpaceBudget
from .record import KEY_BYTES, BlockRecord
from .segment import read_records

__all__ = ["BlockIndex", "RecordLocation", "open_index", "rebuild_index"]

_NAMES = (b"blocks", b"uses")
_BLOCKS, _USES = 0, 1
_LOCATION = struct.Struct(">QII")
_NUMBER = struct.Struct(">Q")
_QUARANTINED = b"quarantined"

_BATCH = 32
"""Changes in one transaction: it bounds the pages that a transaction copies, and so the file between two looks."""
_FEWEST_A_PAGE = 20
"""Records in a page of an LMDB tree, less than half full after it was split."""
_SLACK_PAGES = INDEX_SLACK_BYTES // PAGE_BYTES


class RecordLocation(NamedTuple):
    """Where a block lies: `offset` and `length` in bytes, within the file of `segment`."""

    segment: int
    offset: int
    length: int


class BlockIndex:
    """The records of one environment. Thread-safe; IndexDamagedError and OSError from every method."""

    def __init__(self, directory: CacheDirectory, budget: SpaceBudget) -> None:
        self._data = os.path.join(directory.index, "data.mdb")
        self._pages = budget.index_bytes // PAGE_BYTES
        self._environment: Environment = open_environment(directory.index, _NAMES)
        # Where only a small map was to be had, there is room for an eighth less than it.
        self._pages = min(self._pages, self._environment.map_bytes // 8 * 7 // PAGE_BYTES)
        self._inode = os.stat(self._data).st_ino

    def current(self) -> bool:
        """Whether this is still the index of the directory, rather than one that was replaced."""
        try:
            return os.stat(self._data).st_ino == self._inode
        except FileNotFoundError:
            return False

    def get(self, key: bytes) -> RecordLocation | None:
        """Return where the block is."""
        value = self._environment.get(_BLOCKS, key)
        return None if value is None else _location(value)

    def get_many(self, keys: Iterable[bytes]) -> list[RecordLocation | None]:
        """Return where the blocks are, in the order asked."""
        with self._environment.transaction() as transaction:
            values = transaction.get_many(_BLOCKS, list(keys))
        return [None if value is None else _location(value) for value in values]

    def insert(self, items: Sequence[tuple[bytes, RecordLocation]]) -> bool:
        """Add records, keeping what is there already. False when the index has no room: evict and try again.

        IndexDamagedError when the file outgrew its share although its records fit: rebuild it.
        """
        for start in range(0, len(items), _BATCH):
            with self._environment.transaction(write=True) as transaction:
                if transaction.pages(_BLOCKS) > self._pages - _SLACK_PAGES:
                    return False
                for key, location in items[start : start + _BATCH]:
                    transaction.put(_BLOCKS, key, _LOCATION.pack(*location), overwrite=False)
            if self._environment.file_pages() > self._pages - _SLACK_PAGES // 8:
                raise IndexDamagedError("the cache index outgrew its share")
        return True

    def has_room(self, blocks: int) -> bool:
        """Whether records of so many more blocks surely fit."""
        with self._environment.transaction() as transaction:
            pages = transaction.pages(_BLOCKS) + blocks // _FEWEST_A_PAGE + 1
        return pages <= self._pages - _SLACK_PAGES

    def remove(self, items: Iterable[tuple[bytes, RecordLocation]]) -> int:
        """Drop records that (still) say so; return how many did."""
        removed = 0
        pending = iter(items)
        while batch := list(islice(pending, _BATCH)):
            with self._environment.transaction(write=True) as transaction:
                for key, location in batch:
                    if transaction.get(_BLOCKS, key) == _LOCATION.pack(*location):
                        removed += transaction.delete(_BLOCKS, key)
        return removed

    def forget_segment(self, number: int, records: Iterable[BlockRecord]) -> None:
        """Drop all that is known of a segment about to be evicted."""
        self.remove((key, RecordLocation(number, offset, length)) for key, offset, length in records)
        with self._environment.transaction(write=True) as transaction:
            transaction.delete(_USES, _NUMBER.pack(number))

    def quarantine(self, key: bytes, location: RecordLocation) -> None:
        """Drop the record of a damaged block, and count it once however many find it."""
        if not self.remove([(key, location)]):
            return
        with self._environment.transaction(write=True) as transaction:
            count = _number(transaction.get(_USES, _QUARANTINED) or bytes(8))
            transaction.put(_USES, _QUARANTINED, _NUMBER.pack(count + 1))

    def mark_hits(self, segments: Sequence[int], clock: int) -> None:
        """Note that the segments were read when the newest had the number `clock`."""
        for start in range(0, len(segments), _BATCH):
            with self._environment.transaction(write=True) as transaction:
                for number in segments[start : start + _BATCH]:
                    transaction.put(_USES, _NUMBER.pack(number), _NUMBER.pack(clock))

    def hits(self, segments: Sequence[int]) -> dict[int, int]:
        """Return the clock at the last hit of those segments that had one."""
        with self._environment.transaction() as transaction:
            values = transaction.get_many(_USES, [_NUMBER.pack(number) for number in segments])
        found = zip(segments, values, strict=True)
        return {number: _number(value) for number, value in found if value is not None}

    def counts(self) -> tuple[int, int]:
        """Return the number of blocks, and of those that were quarantined."""
        with self._environment.transaction() as transaction:
            blocks = transaction.entries(_BLOCKS)
            return blocks, _number(transaction.get(_USES, _QUARANTINED) or bytes(8))

    def after(self, key: bytes, limit: int) -> list[tuple[bytes, RecordLocation]]:
        """Return the records of up to `limit` blocks, by key, from the first whose key is greater."""
        with self._environment.transaction() as transaction:
            rows = transaction.rows_from(_BLOCKS, key + b"\0", limit)
        return [(found, _location(value)) for found, value in rows]

    def close(self) -> None:
        """Let go of the environment."""
        self._environment.release()

    def sync(self) -> None:
        """Write the index to the disk."""
        self._environment.sync()


def _location(value: bytes) -> RecordLocation:
    if len(value) != _LOCATION.size:
        raise IndexDamagedError("the cache index is damaged", why="a record has the wrong length")
    return RecordLocation._make(_LOCATION.unpack(value))


def _number(value: bytes) -> int:
    if len(value) != _NUMBER.size:
        raise IndexDamagedError("the cache index is damaged", why="a record has the wrong length")
    number: int = _NUMBER.unpack(value)[0]
    return number


def open_index(
    directory: CacheDirectory, state: IndexState, budget: SpaceBudget, clock: Clock, *, sole: bool
) -> BlockIndex:
    """Open the index, or rebuild it; under the layout lock. `sole`: no other process has it open."""
    if state.trusted(sole=sole):
        try:
            index = BlockIndex(directory, budget)
        except IndexDamagedError:
            return rebuild_index(directory, state, budget, clock)
        state.begin()
        return index
    return rebuild_index(directory, state, budget, clock)


def rebuild_index(directory: CacheDirectory, state: IndexState, budget: SpaceBudget, clock: Clock) -> BlockIndex:
    """Put a new index, made from the segments, in the place of the old one; under the layout lock.

    Others go on with the old one, whose file is unlinked, until they see the clock tick. Where two segments hold a
    block, the newer counts: the older copy may have been quarantined. Segments that find no room are unlinked.
    """
    state.forget()
    remove_environment(directory.index)
    segments = directory.segments()
    os.mkdir(directory.index, 0o700)
    index = BlockIndex(directory, budget)
    try:
        room = True
        for segment in reversed(segments):
            room = room and index.insert(_located(directory, segment.number))
            if not room and segment.sealed:
                os.unlink(segment.path)
        state.begin()
    except (OSError, IndexDamagedError):
        index.close()
        raise
    clock.tick(clock.next(segments[-1].number if segments else 0))
    return index


def _located(directory: CacheDirectory, number: int) -> list[tuple[bytes, RecordLocation]]:
    descriptor = directory.open_segment(number)
    if descriptor is None:
        return []
    try:
        records = read_records(descriptor)
    finally:
        os.close(descriptor)
    latest = {key: RecordLocation(number, offset, length) for key, offset, length in records if len(key) == KEY_BYTES}
    return sorted(latest.items())
