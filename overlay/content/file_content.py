"""The bytes of changed files: what a write, a cut or a hole does to data files, and to the records that explain them.

Nothing here changes a table. Each change returns the file's new record and the changes of RANGES; the caller makes
both in one step, before it asks for anything else of this file. The data is in the data file by then, so a crash
between the two leaves bytes that no range speaks of, and the next one to write there overwrites them.

Data files are cut and removed only after a checkpoint, and then by what the tables say at that moment: replaying a
journal finds all that it speaks of, and a change that was not made after all has removed nothing.

A commit *freezes*: the caller passes a higher `generation` from then on, and frozen data files are never written
again. `keep` holds their removal back for as long as a commit reads them.

One thread calls everything, the event loop's, but `segments` and `read_file` with tables of a snapshot, `strays`,
`sync`, `settle` and `usage`, and what `sums` says of itself, which any may call.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile

import msgspec

from penstock.lru import Lru
from penstock.manifest.entry import MAX_SIZE
from penstock.overlay.tables.damage_log import DamageLog
from penstock.overlay.tables.interface import ReadTables, Tables
from penstock.overlay.tables.schema import INODES, InodeRecord, TableChange, inode_key

from .data_files import DataFiles
from .layers import LOWER, ZEROS, Segment, segments, stored
from .ranges import Ranges
from .removal import Removal
from .shared_heads import Key, group_of, members
from .sums import BLOCK_BYTES, Sums

__all__ = ["LOWER", "ZEROS", "FileContent", "Segment"]

_PIECE = 1 << 20
_MERGE_BYTES = 64 << 20
_STORED = 1024
"""Files of which the last answer of `stored` is remembered."""
_SURELY = 1 << 30
"""A file so long fits on any disk."""


class FileContent:
    """The bytes of changed files in the overlay `directory`. Offsets and sizes are bytes, ends exclusive."""

    def __init__(
        self,
        directory: str,
        tables: Tables,
        after_checkpoint: Callable[[Callable[[], None]], None],
        damage: DamageLog | None = None,
    ) -> None:
        """`after_checkpoint` runs an action in this thread once all changes are durable. OSError."""
        self._files = DataFiles(directory)
        self.sums = Sums(self._files, tables, damage or DamageLog())
        self._removal = Removal(self._files)
        self._tables: Tables = tables
        self._after_checkpoint = after_checkpoint
        self._to_cut: set[Key] = set()
        self._to_remove: set[Key] = set()
        self._is_due = False
        self._kept: list[int] = []
        self._stored: Lru[int, tuple[int, int, int]] = Lru(_STORED)

    def segments(
        self, inode: int, record: InodeRecord, start: int, end: int, tables: ReadTables | None = None
    ) -> list[Segment]:
        """Return what [start, end) of a file consists of, in order, never beyond its size. `tables`: a snapshot's."""
        return segments(tables or self._tables, inode, record, start, end)

    def stored(self, inode: int, record: InodeRecord) -> int:
        """Return how many bytes of a file are no hole, as far as a few hundred look-ups can tell."""
        known = self._stored.get(inode)
        if known is None or known[:2] != (record.content, record.size):
            known = record.content, record.size, stored(self._tables, inode, record)
            self._stored.put(inode, known)
        return known[2]

    def read_segment(self, inode: int, segment: Segment) -> bytes:
        """Return the bytes of a segment that is not LOWER. IntegrityError: they are damaged, or lost; OSError."""
        assert segment.source != LOWER  # those are the version's
        if segment.source == ZEROS:
            return bytes(segment.end - segment.start)
        for number in _blocks(segment):
            self.sums.check((inode, segment.source, number))
        return self._files.read((inode, segment.source), segment.start, segment.end)

    def _read_again(self, inode: int, segment: Segment, tables: ReadTables, checked: set[tuple[int, int]]) -> bytes:
        """Return the same by a snapshot, checked however often that was done before."""
        if segment.source == ZEROS:
            return bytes(segment.end - segment.start)
        for number in _blocks(segment):
            if (segment.source, number) not in checked:
                self.sums.check((inode, segment.source, number), tables)
                checked.add((segment.source, number))
        return self._files.read((inode, segment.source), segment.start, segment.end)

    def read_file(
        self,
        inode: int,
        record: InodeRecord,
        start: int,
        end: int,
        lower: Callable[[int, int], bytes],
        tables: ReadTables | None = None,
    ) -> bytes:
        """Return [start, end) of a file, less what lies beyond its size. `lower(start, end)` reads its version."""
        checked: set[tuple[int, int]] = set()
        return b"".join(
            lower(part.start, part.end)
            if part.source == LOWER
            else self.read_segment(inode, part)
            if tables is None
            else self._read_again(inode, part, tables, checked)
            for part in self.segments(inode, record, start, end, tables)
        )

    def write(
        self, inode: int, record: InodeRecord, offset: int, data: bytes | bytearray | memoryview, generation: int
    ) -> tuple[InodeRecord, list[TableChange]]:
        """Write to the data file of `generation`; return the new record (layers, size) and the changes.

        OSError: disk full, file too large. No range speaks of what was written then, but bytes that this generation
        had written before may have been overwritten in part, as on any disk.
        """
        end = offset + memoryview(data).nbytes
        self._check_size(end)
        if end == offset:
            return record, []
        with self._writing(inode, record, generation) as layers:
            self.sums.before_write(inode, generation, offset, end, new=layers is not record.layers)
            self._files.write((inode, generation), offset, data)
        changed = msgspec.structs.replace(record, layers=layers, size=max(record.size, end))
        ranges = Ranges(self._tables, inode, generation)
        return changed, ranges.add(offset, end) if layers is record.layers else ranges.first(offset, end)

    def truncate(
        self, inode: int, record: InodeRecord, size: int, generation: int
    ) -> tuple[InodeRecord, list[TableChange]]:
        """Cut a file, or let it grow by zeros; return the new record (layers, shown, size) and the changes. OSError."""
        if size >= record.size:
            self._check_size(size)  # as any file of that disk: what is then written there would find no place
            return msgspec.structs.replace(record, size=size), []
        changes: list[TableChange] = []
        layers = []
        for number, limit in record.layers:
            if number == generation:
                changes = Ranges(self._tables, inode, generation).cut(size) + self.sums.cut(inode, generation, size)
                self._to_cut.add((inode, generation))
                self._tidy_later()
                layers.append((number, limit))
            else:
                layers.append((number, min(limit, size)))
        changed = msgspec.structs.replace(record, layers=tuple(layers), shown=min(record.shown, size), size=size)
        return changed, changes

    def merge(
        self, inode: int, record: InodeRecord, generation: int, *, most_bytes: int = _MERGE_BYTES
    ) -> tuple[InodeRecord, list[TableChange]]:
        """Make one layer of all that were written before `generation`; return the new record and the changes.

        For files that commits which failed have left with many layers. Not while one is running (`keep`), and not
        when more than `most_bytes` would have to be copied: then the record comes back as it was. OSError.

        Newer bytes are copied into the oldest data file, where what they replace has not shown any more.
        """
        frozen = tuple(layer for layer in record.layers if layer[0] < generation)
        if len(frozen) < 2 or self._kept:
            return record, []
        oldest = frozen[0][0]
        only = msgspec.structs.replace(record, layers=frozen, shown=0)
        parts = [part for part in self.segments(inode, only, 0, record.size) if part.source != ZEROS]
        if sum(part.end - part.start for part in parts if part.source != oldest) > most_bytes:
            return record, []
        # All of them: also where nothing is written, less may count afterwards.
        if gone := self.sums.cut(inode, oldest, 0):
            self._tables.change(gone)
        self.sums.note((inode, oldest, number) for part in parts for number in _blocks(part))
        for part in parts:
            if part.source != oldest:
                for start in range(part.start, part.end, _PIECE):
                    piece = Segment(start, min(start + _PIECE, part.end), part.source)
                    self._files.write((inode, oldest), start, self.read_segment(inode, piece))
        changes = Ranges(self._tables, inode, oldest).replace(_joined(parts))
        changes += self.drop(inode, frozen[1:])
        layers = ((oldest, MAX_SIZE), *(layer for layer in record.layers if layer[0] >= generation))
        return msgspec.structs.replace(record, layers=layers), changes

    def landed(self, inode: int, record: InodeRecord, frozen: InodeRecord) -> tuple[InodeRecord, list[TableChange]]:
        """Return a file's record (layers, shown) and the changes once what `frozen` had is its version.

        `frozen` is its record in the snapshot that was committed, `record` the one of now. The caller sets the entry.
        What was cut meanwhile stays cut: it limits the layer that was the newest. Done again, it changes nothing.
        """
        committed = [number for number, _ in frozen.layers]
        limits = dict(record.layers)
        if committed and committed[-1] not in limits:
            return record, []
        shown = min(frozen.size, limits[committed[-1]]) if committed else record.shown
        layers = tuple(layer for layer in record.layers if layer[0] not in committed)
        changed = msgspec.structs.replace(record, layers=layers, shown=shown)
        return changed, self.drop(inode, frozen.layers)

    def drop(self, inode: int, layers: Sequence[tuple[int, int]]) -> list[TableChange]:
        """Remove these data files, after the next checkpoint; return the changes. The record must not name them."""
        changes: list[TableChange] = []
        for generation, _ in layers:
            changes += Ranges(self._tables, inode, generation).cut(0) + self.sums.cut(inode, generation, 0)
            self._to_remove.add((inode, generation))
            # It would now be cut to nothing, and a commit may be reading it.
            self._to_cut.discard((inode, generation))
        self._tidy_later()
        return changes

    @contextmanager
    def keep(self, generation: int) -> Iterator[None]:
        """Remove no data file of this generation or before, whatever becomes of its file: a commit reads them."""
        self._kept.append(generation)
        try:
            yield
        finally:
            self._kept.remove(generation)
            if self._to_remove:
                self._tidy_later()

    def strays(self, tables: ReadTables) -> list[Key]:
        """Return the data files that no record names, for `remove`: what a crash may leave. Any thread. OSError.

        `tables` are a snapshot's. What was made since is among them, and will turn out to be named.
        """
        return _unnamed(tables, self._files.names())

    def remove(self, keys: Iterable[Key]) -> None:
        """Remove data files after the next checkpoint, those that no record names then."""
        self._to_remove.update(keys)
        if self._to_remove:
            self._tidy_later()

    def clear(self) -> None:
        """Remove all data files at once: the tables are empty, durably. OSError."""
        self._to_cut.clear()
        self._to_remove.clear()
        self._removal.settle()
        self.sums.clear()
        self._files.clear()

    def settle(self) -> None:
        """Return when what is to be removed is gone, its space with it. Blocks."""
        self._removal.settle()

    def sync(self) -> None:
        """Return when all that was written before the call is on the disk. Blocks; any thread. OSError."""
        self._files.sync()

    def usage(self) -> int:
        """Return the bytes that data files take on disk; looks at each of them. Any thread. OSError."""
        return self._files.usage()

    def close(self) -> None:
        """Close all data files, when those that go are gone; syncs nothing."""
        self._removal.settle()
        self._files.close()

    @contextmanager
    def _writing(self, inode: int, record: InodeRecord, generation: int) -> Iterator[tuple[tuple[int, int], ...]]:
        """Yield the layers of a file whose data file of `generation` is being written; the record's, if it is there."""
        if record.layers and record.layers[-1][0] >= generation:
            assert record.layers[-1][0] == generation  # generations only grow
            yield record.layers
            return
        self._removal.keep((inode, generation))
        try:
            yield (*record.layers, (generation, MAX_SIZE))
        except OSError:
            # The file may have been made, and no record will name it.
            self._to_remove.add((inode, generation))
            self._tidy_later()
            raise

    def _check_size(self, size: int) -> None:
        """Raise EFBIG when no data file could be as long as that."""
        if size > _SURELY and size > self._files.largest:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    def _tidy_later(self) -> None:
        if not self._is_due:
            self._after_checkpoint(self._tidy)
            self._is_due = True

    def _tidy(self) -> None:
        """Cut and remove data files as the tables, just committed, say; what a commit still reads stays in line."""
        self._is_due = False
        for inode, generation in list(self._to_cut):
            self._files.cut((inode, generation), Ranges(self._tables, inode, generation).end())
            self._to_cut.discard((inode, generation))
        last = max(self._kept, default=-1)
        free = {key for key in self._to_remove if key[1] > last}
        # A group goes at once when the last of it goes: first, and then there is nothing to give back of each.
        self._removal.add(_unnamed(self._tables, free | {group_of(key) for key in free if key[0] >= 0}))
        self._to_remove -= free


def _unnamed(tables: ReadTables, keys: Iterable[Key]) -> list[Key]:
    """Return those of these data files that no record names, and those groups of which it names none: groups first."""
    found: dict[Key, set[Key]] = {}
    for key in keys:
        found.setdefault(key if key[0] < 0 else group_of(key), set()).add(key)
    unnamed = []
    for group, its in found.items():
        named = _named(tables, group)
        unnamed += [key for key in its if (key[0] not in named if key[0] >= 0 else not named)]
    return sorted(unnamed)


def _named(tables: ReadTables, group: Key) -> set[int]:
    """Return the inodes of a group whose records name its generation."""
    inodes = members(group)
    first, end = inode_key(inodes.start), inode_key(inodes.stop)
    # All of a group's keys begin with the same seven bytes.
    records = takewhile(lambda item: item[0] < end, tables.scan(INODES, first, first[:-1]))
    return {
        int.from_bytes(key, "big")
        for key, value in records
        if any(number == group[1] for number, _ in InodeRecord.decode(value).layers)
    }


def _blocks(segment: Segment) -> range:
    return range(segment.start // BLOCK_BYTES, -(-segment.end // BLOCK_BYTES))


def _joined(parts: list[Segment]) -> list[tuple[int, int]]:
    """Return the intervals that these segments, in order, make up."""
    intervals: list[tuple[int, int]] = []
    for start, end, _ in parts:
        if intervals and intervals[-1][1] == start:
            intervals[-1] = intervals[-1][0], end
        else:
            intervals.append((start, end))
    return intervals
