"""Hashes of the bytes of changed files, so that damage on the overlay's disk is noticed: one a MiB of a data file.

A *block* is a MiB of a data file that holds content. Once nobody has written anything for two seconds it is *summed*:
its ranges and their bytes are hashed, off the event loop, and the hash becomes a record of SUMS. The next write to it
removes that record first. What is written all the time is therefore not covered, nor is what a process that died had
not summed yet; a mount looks for that when it begins (`missing`). A block is checked when it is first read in a
process, and whenever a commit reads it (docs/design/010-overlay-checksums.md).

Threads: the overlay's, but for `digests`, `missing`, and `check` with the tables of a snapshot, which any may call.

**Invariant:** at every moment, also one at which the process dies, a record of SUMS is the hash of what is in the file.
Only a power loss can break that, and then all of them are dropped (`durable_tables`).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from blake3 import blake3

from penstock.errors import IntegrityError
from penstock.overlay.tables.damage_log import DamageLog
from penstock.overlay.tables.interface import ReadTables, Tables
from penstock.overlay.tables.schema import INODES, SUMS, InodeRecord, TableChange, sum_key

from .data_files import DataFiles
from .ranges import Ranges

__all__ = ["BLOCK_BYTES", "Block", "Sums", "blocks_of"]

BLOCK_BYTES = 1 << 20
_QUIET_SECONDS = 2.0
_LONGEST_SECONDS = 60.0
_MOST_WRITTEN = 1 << 16
_AT_ONCE = 4096
_KEPT_AT_ONCE = 256
_MOST_KNOWN = 1 << 17
_DIGEST_BYTES = 16
_RANGE = struct.Struct("<QQ")
_NUMBER_BYTES = 8

Block = tuple[int, int, int]
"""Inode, generation, number of a MiB."""


class Sums:
    """The hashes of the data files `files`; `damage` is told of what does not match."""

    def __init__(self, files: DataFiles, tables: Tables, damage: DamageLog) -> None:
        self._files = files
        self._tables = tables
        self._damage = damage
        self._written: dict[Block, float] = {}
        """When blocks were last written that have no hash."""
        self._last = 0.0
        self._known: set[Block] = set()
        """Blocks that were found to be as they should."""

    def before_write(self, inode: int, generation: int, start: int, end: int, *, new: bool = False) -> None:
        """Take away the hashes of what is about to be written. `new`: nothing of this data file has counted before.

        OSError: nothing may be written.
        """
        self._last = now = time.monotonic()
        gone: list[TableChange] = []
        for number in range(start // BLOCK_BYTES, -(-end // BLOCK_BYTES)):
            block = inode, generation, number
            if not new and block not in self._written:
                key = sum_key(*block)
                if self._tables.get(SUMS, key) is not None:
                    gone.append(TableChange(SUMS, key, None))
            self._written[block] = now
        if gone:
            self._tables.change(gone)

    def cut(self, inode: int, generation: int, size: int) -> list[TableChange]:
        """Return the changes after which there are no hashes from `size` on; what lies before it is summed anew."""
        self._last = time.monotonic()
        if size % BLOCK_BYTES:
            self._written[inode, generation, size // BLOCK_BYTES] = self._last
        else:
            self._written.pop((inode, generation, size // BLOCK_BYTES), None)
        start = sum_key(inode, generation, size // BLOCK_BYTES)
        found = self._tables.scan(SUMS, start, start[:-_NUMBER_BYTES])
        return [TableChange(SUMS, key, None) for key, _ in found]

    def due(self, *, now: bool = False) -> dict[Block, float]:
        """Return some of the blocks that were written, for `digests` and `keep`: none while writing goes on.

        Unless they are many, or have waited long. `now`: do not wait for anything.
        """
        if self._written and not now:
            time_now = time.monotonic()
            waited = time_now - next(iter(self._written.values()))
            if (
                time_now - self._last < _QUIET_SECONDS
                and waited < _LONGEST_SECONDS
                and len(self._written) < _MOST_WRITTEN
            ):
                return {}
        return dict(islice(self._written.items(), _AT_ONCE))

    def digests(self, tables: ReadTables, due: Mapping[Block, float]) -> dict[Block, bytes | None]:
        """Return their hashes by a snapshot; None where nothing counts, or it cannot be read. Blocking.

        Only some of them when somebody begins to write meanwhile.
        """
        found: dict[Block, bytes | None] = {}
        begun = self._last
        for block in due:
            if self._last != begun:
                break
            time.sleep(0)  # the event loop goes first: it would wait for the interpreter's switch interval
            try:
                found[block] = self._digest(tables, block)
            except (OSError, IntegrityError):  # whoever reads it is told
                found[block] = None
        return found

    def keep(self, due: Mapping[Block, float], digests: Mapping[Block, bytes | None]) -> Iterator[None]:
        """Take the hashes of blocks that were not written meanwhile, in steps of a millisecond. OSError."""
        rest = iter(digests.items())
        while some := list(islice(rest, _KEPT_AT_ONCE)):
            changes: list[TableChange] = []
            for block, digest in some:
                if self._written.get(block) != due[block]:
                    continue
                if digest is not None and self._has_content(block):
                    changes.append(TableChange(SUMS, sum_key(*block), digest))
                    self._know(block)
            if changes:
                self._tables.change(changes)
            for block, _ in some:
                if self._written.get(block) == due[block]:
                    del self._written[block]
            yield

    def missing(self, tables: ReadTables) -> Iterator[Block]:
        """Yield the blocks that hold content and have no hash, by a snapshot. Blocking."""
        for key, value in tables.scan(INODES, b""):
            inode = int.from_bytes(key, "big")
            time.sleep(0)  # as above
            for generation, _ in InodeRecord.decode(value).layers:
                for number in blocks_of(tables, inode, generation):
                    if tables.get(SUMS, sum_key(inode, generation, number)) is None:
                        yield inode, generation, number

    def note(self, blocks: Iterable[Block]) -> None:
        """Have blocks be summed that turned out to have no hash: those of a process that died."""
        now = time.monotonic()
        for block in blocks:
            self._written.setdefault(block, now)

    def check(self, block: Block, tables: ReadTables | None = None) -> None:
        """Return when a block is what was summed, or was not summed. IntegrityError: it is damaged. OSError.

        `tables` are a snapshot's: then it is looked at again, whatever is known.
        """
        if tables is None and (block in self._known or block in self._written):
            return
        wanted = (tables or self._tables).get(SUMS, sum_key(*block))
        if wanted is not None and self._digest(tables or self._tables, block) not in (wanted, None):
            inode, generation, number = block
            text = f"MiB {number} of the changed file {inode}.{generation}"
            self._damage.note(text)
            raise IntegrityError(
                f"{text} is damaged",
                why="its bytes on the overlay's disk are not those that were written",
                fix="penstock overlay check says which file it is; penstock discard gives up its changes",
            )
        if tables is None:
            self._know(block)

    def clear(self) -> None:
        """Forget everything: the overlay is empty."""
        self._written.clear()
        self._known.clear()

    def _has_content(self, block: Block) -> bool:
        """Whether it still holds some: the file may have been cut, or removed, while it was hashed."""
        inode, generation, number = block
        return bool(Ranges(self._tables, inode, generation).cover(number * BLOCK_BYTES, (number + 1) * BLOCK_BYTES))

    def _know(self, block: Block) -> None:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known.add(block)

    def _digest(self, tables: ReadTables, block: Block) -> bytes | None:
        inode, generation, number = block
        found = blake3()
        start = number * BLOCK_BYTES
        parts = Ranges(tables, inode, generation).cover(start, start + BLOCK_BYTES)
        for first, last in parts:
            found.update(_RANGE.pack(first, last))
            found.update(self._files.read((inode, generation), first, last))
        return found.digest(_DIGEST_BYTES) if parts else None


def blocks_of(tables: ReadTables, inode: int, generation: int) -> Iterator[int]:
    """Yield the numbers of the blocks of a data file that hold content, in order."""
    at = -1
    for first, last in Ranges(tables, inode, generation).every():
        for number in range(max(first // BLOCK_BYTES, at + 1), -(-last // BLOCK_BYTES)):
            at = number
            yield number
