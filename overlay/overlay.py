"""One overlay, opened: its tables, its files' bytes, what it is of. The directory is one process's at a time.

All of it belongs to one thread (the event loop's, in a mount), but for what `records` and `content` say of others.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable

from penstock.manifest.descend import LoadNode
from penstock.overlay.content.file_content import FileContent
from penstock.overlay.tables.durable_tables import DurableTables
from penstock.overlay.tables.meta import ChangeCounters, Origin, read_counters, read_origin
from penstock.overlay.tables.schema import INODES, NAMES, InodeRecord, Name, TableChange, inode_key
from penstock.overlay.tree.editor import Editor
from penstock.overlay.tree.lower import Lower
from penstock.overlay.tree.namespace import MergedNode, Namespace

__all__ = ["Overlay"]

_BATCH = 4096
_LAST_SECONDS = 5.0
"""What is not summed by then, a 100,000 files, say, is when the overlay is mounted the next time."""


class Overlay:
    """The upper layer in a directory: `view` shows it over the version that it is of, `editor` changes it."""

    def __init__(self, directory: str, *, trusted: bool = False) -> None:
        """Open or make it. `trusted`: a process that had looked through it had it open until now.

        ConflictError: another process has it open. IntegrityError: it is damaged. OSError.
        """
        self.directory = directory
        self.records = DurableTables(directory, self._sync_data, self._settle_data, trusted=trusted)
        try:
            self.content = FileContent(directory, self.records, self.records.after_checkpoint, self.records.damage)
        except BaseException:
            self.records.close(checkpoint=False)  # which would need the content
            raise
        self._origin = read_origin(self.records)
        self._lower: Lower | None = None
        self._hidden: dict[int, int] = {}

    def _sync_data(self) -> None:
        self.content.sync()

    def _settle_data(self) -> None:
        self.content.settle()

    @property
    def origin(self) -> Origin | None:
        """What it is of; None: nothing yet."""
        return self._origin

    @property
    def counters(self) -> ChangeCounters:
        """How far it has come."""
        return read_counters(self.records)

    def begin(self, origin: Origin) -> None:
        """Empty it, and have it be of `origin`."""
        self.records.clear()
        self.content.clear()
        self.records.change([origin.change(), ChangeCounters().change()])
        self.records.checkpoint()
        self._origin = origin
        self._lower = None
        self._hidden.clear()

    def settle(self, origin: Origin) -> None:
        """Take note that the origin is another one now; its change was made already."""
        if self._origin is None or self._origin.metadata != origin.metadata:
            self._lower = None
        self._origin = origin

    def editor(self, is_open: Callable[[int], bool], *, umask: int, epoch_ns: int) -> Editor:
        """Return what changes the tree.

        `is_open` says of an inode whether somebody still uses it; `umask`, and `epoch_ns` (the time of what has none),
        are for attributes that the version does not hold.
        """
        return Editor(self.records, self.content, is_open, umask=umask, epoch_ns=epoch_ns, hidden=self._hidden)

    def view(self, load: LoadNode) -> Namespace:
        """Return the merged tree; nodes of the version come from `load`."""
        assert self._origin is not None
        if self._lower is None:
            self._lower = Lower(self._origin.lower, self.records, load, self._origin.metadata)
            self._lower.hidden = self._hidden
        return Namespace(self.records, self._lower.loading(load))

    def is_dirty(self) -> bool:
        """Whether there is anything that was not committed."""
        committed = self.counters.committed
        for _, value in self.records.scan(NAMES, b""):
            if Name.decode(value).sequence > committed:
                return True
        for _, value in self.records.scan(INODES, b""):
            record = InodeRecord.decode(value)
            if record.sequence > committed and record.parent != 0:
                return True
        return False

    def remove_orphans(self) -> None:
        """Remove what was still open when it was unlinked: to be called while nothing is open."""
        changes: list[TableChange] = []
        for key, value in self.records.scan(INODES, b""):
            record = InodeRecord.decode(value)
            if record.parent == 0:
                changes.append(TableChange(INODES, key, None))
                changes += self.content.drop(int.from_bytes(key, "big"), record.layers)
            if len(changes) >= _BATCH:
                self.records.change(changes)
                changes = []
        if changes:
            self.records.change(changes)

    def node(self, inode: int) -> MergedNode | None:
        """Return an inode that has a record; None: it has none."""
        value = self.records.get(INODES, inode_key(inode))
        return MergedNode(inode, InodeRecord.decode(value), None) if value is not None else None

    def bytes_free(self) -> int:
        """Return what the disk has left."""
        facts = os.statvfs(self.directory)
        return facts.f_bavail * facts.f_frsize

    def make_room(self) -> bool:
        """Give the disk back what waits for a checkpoint; whether there was any. Blocks. OSError."""
        if not self.records.frees_space:
            return False
        self.records.checkpoint()
        self.content.settle()
        self.records.hold_reserve()  # before somebody else takes the room
        return True

    def sum_up(self, seconds: float) -> None:
        """Sum what was written and is not summed yet (`sums`), for so long at most. Blocks. OSError, IntegrityError."""
        sums, until = self.content.sums, time.monotonic() + seconds
        if not sums.due(now=True):
            return
        with self.records.snapshot() as reader:
            while (due := sums.due(now=True)) and time.monotonic() < until:
                deque(sums.keep(due, sums.digests(reader, due)), maxlen=0)

    def close(self, *, keep_up: bool = True) -> None:
        """Write everything to disk, and let go of the directory. Not `keep_up`: leave it as a process that dies does.

        OSError, IntegrityError: it is let go all the same, and nothing is lost.
        """
        try:
            if keep_up:
                self.sum_up(_LAST_SECONDS)
        finally:
            try:
                self.records.close(checkpoint=keep_up)
            finally:
                self.content.close()
