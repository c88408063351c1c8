"""Changes to the merged tree: what a system call does, as one set of changes to the tables.

Each looks first and changes last, so that one which ends in `NodeMissing` can be tried again, and a refusal leaves
everything as it was. Refusals are `Refused`, with the errno that the call has. One thread.

**Invariant:** a name in the upper layer and the record of its inode agree on where it is linked.
"""

from __future__ import annotations

import errno
import stat
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from penstock.lru import Lru
from penstock.manifest.entry import MAX_NAME, MAX_TARGET, Kind, Metadata
from penstock.manifest.tree import ROOT_INODE
from penstock.overlay.tables.intent import read_intent
from penstock.overlay.tables.interface import Tables
from penstock.overlay.tables.meta import ChangeCounters, read_counters
from penstock.overlay.tables.schema import (
    FIRST_NEW_INODE,
    INODES,
    NAMES,
    ORDER,
    InodeRecord,
    Name,
    TableChange,
    encode_entry,
    inode_key,
    name_key,
    order_key,
)

from .namespace import MergedNode, Namespace
from .refusal import Refused

__all__ = ["Editor", "new_record"]

_MODES = (0o644, 0o755, 0o755, 0o777)
"""Permission bits by `Kind`, of what has none of its own."""
_SET_ID = stat.S_ISUID | stat.S_ISGID
_GONE = 1024
"""Inodes remembered after they were removed."""


class EditorContent(Protocol):
    """What editing needs of the files' bytes: the face of `file_content.FileContent`."""

    def drop(self, inode: int, layers: Sequence[tuple[int, int]]) -> list[TableChange]:
        """Remove an inode's data files; return the changes."""
        ...


def new_record(node: MergedNode, *, umask: int = 0o022) -> InodeRecord:
    """Return the record of an inode that has had none: what its tree has."""
    if node.record is not None:
        return node.record
    entry = node.entry
    assert entry is not None  # a node without a record has one
    return InodeRecord(
        entry.kind,
        _MODES[entry.kind] if entry.kind is Kind.SYMLINK else (_MODES[entry.kind] | 0o022) & ~umask,
        size=entry.size if entry.kind is not Kind.DIRECTORY else 0,
        mtime_ns=entry.mtime_ns,
        ctime_ns=entry.mtime_ns,
        entry=encode_entry(entry),
        shown=entry.size if entry.is_file else 0,
        target=entry.target,
        metadata=entry.metadata,
    )


class _Batch:
    """The changes of one call, with the counters that they move."""

    def __init__(self, counters: ChangeCounters) -> None:
        self.changes: list[TableChange] = []
        self.sequence, self._inode, self._committed, self._generation = counters
        self.sequence += 1
        self.now = time.time_ns()

    @property
    def counters(self) -> ChangeCounters:
        return ChangeCounters(self.sequence, self._inode, self._committed, self._generation)

    def next_inode(self) -> int:
        self._inode += 1
        return self._inode - 1

    def next_sequence(self) -> int:
        self.sequence += 1
        return self.sequence

    def put(self, inode: int, record: InodeRecord) -> None:
        self.changes.append(TableChange(INODES, inode_key(inode), record.encode()))


class Editor:
    """Changes names and attributes. `is_open` says whether a file or directory is still in use when it is removed."""

    def __init__(
        self,
        tables: Tables,
        data: EditorContent,
        is_open: Callable[[int], bool],
        *,
        umask: int = 0o022,
        epoch_ns: int = 0,
        hidden: dict[int, int] | None = None,
    ) -> None:
        """`hidden`: what `Lower.hidden` is to the views that show these tables."""
        self._tables = tables
        self._data = data
        self._is_open = is_open
        self._umask = umask
        self._epoch_ns = epoch_ns
        self._hidden = hidden if hidden is not None else {}
        self._counters = read_counters(tables)
        intent = read_intent(tables)
        self._frozen = intent.sequence if intent is not None else 0
        self._gone: Lru[int, InodeRecord] = Lru(_GONE)

    @property
    def counters(self) -> ChangeCounters:
        """The counters, as the last change left them."""
        return self._counters

    def gone(self, inode: int) -> MergedNode | None:
        """Return one of the inodes that were removed last: it may still be somebody's working directory, say."""
        record = self._gone.get(inode)
        return MergedNode(inode, record, None) if record is not None else None

    def record_of(self, node: MergedNode) -> InodeRecord:
        """Return the record of an inode, or the one that it would have."""
        record = new_record(node, umask=self._umask)
        if not record.mtime_ns and node.record is None:
            record = msgspec.structs.replace(record, mtime_ns=self._epoch_ns, ctime_ns=self._epoch_ns)
        return record

    def create(
        self,
        view: Namespace,
        parent: int,
        name: bytes,
        kind: Kind,
        *,
        mode: int = 0,
        target: bytes = b"",
        uid: int | None = None,
        gid: int | None = None,
        note: bytes = b"",
    ) -> MergedNode:
        """Make a file, a directory or a symlink. EEXIST, ENAMETOOLONG, ENOENT (the directory was removed), ENOTDIR.

        In a directory whose group is to be that of all in it (S_ISGID), it is, and directories pass that on.
        """
        _check_name(name)
        if len(target) > MAX_TARGET:
            raise Refused(errno.ENAMETOOLONG, "a symlink's target is too long")
        folder = self._folder(view, parent)
        upper = view.name(parent, name)
        below = view.below_in(parent, folder.record, name) if upper is None else None
        if below is not None or (upper is not None and upper.inode):
            raise Refused(errno.EEXIST, "the name is taken")
        over = upper is not None and upper.over  # nothing has the name: at most a whiteout, which says what it hides
        if folder.record is not None and folder.record.mode & stat.S_ISGID:
            gid = folder.record.gid
            mode |= stat.S_ISGID if kind is Kind.DIRECTORY else 0
        batch = _Batch(self._counters)
        inode = batch.next_inode()
        if kind is Kind.FILE and mode & stat.S_IXUSR:
            kind = Kind.EXECUTABLE
        record = InodeRecord(
            kind,
            mode & 0o7777 if kind is not Kind.SYMLINK else 0o777,
            batch.sequence,
            batch.sequence,
            size=len(target),
            mtime_ns=batch.now,
            ctime_ns=batch.now,
            parent=parent,
            name=name,
            target=target,
            uid=uid,
            gid=gid,
        )
        batch.put(inode, record)
        self._link(batch, parent, name, inode, over=over)
        self._touch(batch, folder)
        self._make(batch, note, grows=True)
        return MergedNode(inode, record, None)

    def unlink(self, view: Namespace, parent: int, name: bytes, note: bytes = b"") -> int:
        """Remove a name that is no directory's; return its inode. ENOENT, EISDIR."""
        node = self._existing(view, parent, name)
        if node.is_directory:
            raise Refused(errno.EISDIR, "a directory")
        return self._remove(view, parent, name, node, note)

    def rmdir(self, view: Namespace, parent: int, name: bytes, note: bytes = b"") -> int:
        """Remove an empty directory; return its inode. ENOENT, ENOTDIR, ENOTEMPTY."""
        node = self._existing(view, parent, name)
        if not node.is_directory:
            raise Refused(errno.ENOTDIR, "no directory")
        if not view.is_empty(node.inode):
            raise Refused(errno.ENOTEMPTY, "not empty")
        return self._remove(view, parent, name, node, note)

    def _remove(self, view: Namespace, parent: int, name: bytes, node: MergedNode, note: bytes) -> int:
        folder = self._folder(view, parent)
        batch = _Batch(self._counters)
        self._unlink(batch, view, parent, name)
        self._discard(batch, node)
        self._touch(batch, folder)
        self._make(batch, note)
        return node.inode

    def rename(
        self,
        view: Namespace,
        parent: int,
        name: bytes,
        new_parent: int,
        new_name: bytes,
        *,
        replace: bool = True,
        exchange: bool = False,
        note: bytes = b"",
    ) -> int | None:
        """Move what a name stands for; return the inode that was replaced. ENOENT, EEXIST, EISDIR, ENOTDIR, ENOTEMPTY.

        A directory's content moves with it, at no cost: it is found by the directory's inode.
        """
        _check_name(new_name)
        source = self._existing(view, parent, name)
        folders = {parent: self._folder(view, parent), new_parent: self._folder(view, new_parent)}
        target = view.lookup(new_parent, new_name)
        if exchange and target is None:
            raise Refused(errno.ENOENT, "nothing to exchange with")
        if target is not None and not exchange:
            if not replace:
                raise Refused(errno.EEXIST, "the name is taken")
            if target.inode == source.inode:
                return None
            if target.is_directory and not source.is_directory:
                raise Refused(errno.EISDIR, "a directory")
            if source.is_directory and not target.is_directory:
                raise Refused(errno.ENOTDIR, "no directory")
            if target.is_directory and not view.is_empty(target.inode):
                raise Refused(errno.ENOTEMPTY, "not empty")
        if source.is_directory:
            self._refuse_below(view, new_parent, source.inode)
        if exchange and target is not None and target.is_directory:
            self._refuse_below(view, parent, target.inode)
        over = self._is_over(view, new_parent, new_name)
        batch = _Batch(self._counters)
        if exchange and target is not None:
            self._move(batch, view, target, parent, name, over=self._is_over(view, parent, name))
            batch.next_sequence()  # a cookie of its own
        else:
            self._unlink(batch, view, parent, name)
            if target is not None:
                self._discard(batch, target)
        self._move(batch, view, source, new_parent, new_name, over=over)
        for folder in folders.values():
            self._touch(batch, folder)
        self._make(batch, note)
        return target.inode if target is not None and not exchange else None

    def _refuse_below(self, view: Namespace, inode: int, above: int) -> None:
        while inode != ROOT_INODE:
            if inode == above:
                raise Refused(errno.EINVAL, "a directory cannot be moved into itself")
            place = view.place(inode)
            if place is None:
                return
            inode = place[0]

    def _move(self, batch: _Batch, view: Namespace, node: MergedNode, parent: int, name: bytes, *, over: bool) -> None:
        old = view.name(parent, name)
        if old is not None and old.inode:
            batch.changes.append(TableChange(ORDER, order_key(parent, old.cookie), None))
        record = msgspec.structs.replace(
            self.record_of(node), parent=parent, name=name, sequence=batch.sequence, ctime_ns=batch.now
        )
        batch.put(node.inode, record)
        self._link(batch, parent, name, node.inode, over=over)

    def change(
        self,
        node: MergedNode,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        mtime_ns: int | None = None,
        atime_ns: int | None = None,
        metadata: Metadata | None = None,
    ) -> MergedNode:
        """Change attributes. Only what a version holds counts as a change of it: the executable bit, and metadata.

        Another owner does not inherit the right to run a file as somebody.
        """
        record = self.record_of(node)
        batch = _Batch(self._counters)
        fields: dict[str, object] = {"ctime_ns": batch.now}
        if mode is not None:
            fields["mode"] = mode & 0o7777
            if record.is_file:
                kind = Kind.EXECUTABLE if mode & stat.S_IXUSR else Kind.FILE
                if kind is not record.kind:
                    fields.update(kind=kind, sequence=batch.sequence)
        elif (uid is not None or gid is not None) and record.is_file:
            fields["mode"] = _without_set_id(record.mode)
        if uid is not None:
            fields["uid"] = uid
        if gid is not None:
            fields["gid"] = gid
        if mtime_ns is not None:
            fields["mtime_ns"] = mtime_ns
        if atime_ns is not None:
            fields["atime_ns"] = atime_ns
        if metadata is not None and metadata != record.metadata:
            fields.update(metadata=metadata, sequence=batch.sequence)
        changed: InodeRecord = msgspec.structs.replace(record, **fields)
        batch.put(node.inode, changed)
        self._make(batch)
        return MergedNode(node.inode, changed, None)

    def put_content(
        self, node: MergedNode, record: InodeRecord, changes: list[TableChange], *, now: bool = True
    ) -> MergedNode:
        """Keep what `content` made of a file: its new record, and the changes of its ranges.

        Nobody runs as its owner what somebody has written to.
        """
        batch = _Batch(self._counters)
        fields: dict[str, object] = {"sequence": batch.sequence, "content": batch.sequence}
        if now:
            fields.update(mtime_ns=batch.now, ctime_ns=batch.now)
        if record.mode & _SET_ID:
            fields["mode"] = _without_set_id(record.mode)
        changed: InodeRecord = msgspec.structs.replace(record, **fields)
        batch.put(node.inode, changed)
        batch.changes += changes
        self._make(batch, grows=record.size >= node.size)
        return MergedNode(node.inode, changed, None)

    def forget(self, node: MergedNode) -> None:
        """Remove what is left of an inode that is linked nowhere, and now closed."""
        if node.record is not None and node.record.parent == 0:
            batch = _Batch(self._counters)
            self._erase(batch, node)
            self._make(batch)

    def freeze(self) -> ChangeCounters:
        """Have later writes go to other data files; return how far things are: what a commit takes."""
        frozen = self._counters
        self._frozen = frozen.sequence
        batch = _Batch(frozen._replace(generation=frozen.generation + 1))
        self._make(batch)
        return frozen

    def apply(self, changes: list[TableChange], counters: ChangeCounters) -> None:
        """Make changes that were worked out elsewhere, with the counters that go with them."""
        self._tables.change([*changes, counters.change()])
        self._hidden.clear()  # what was removed may be back; no call of a program's brings a name of the version back
        self._counters = counters

    def _folder(self, view: Namespace, inode: int) -> MergedNode:
        """Return the directory that a change is made in. ENOENT: it was removed; ENOTDIR."""
        node = view.node(inode)
        if not node.is_directory:
            raise Refused(errno.ENOTDIR, "no directory")
        if node.record is not None and node.record.parent == 0:
            raise Refused(errno.ENOENT, "the directory was removed")
        return node

    def _existing(self, view: Namespace, parent: int, name: bytes) -> MergedNode:
        node = view.lookup(parent, name)
        if node is None:
            raise Refused(errno.ENOENT, "no such name")
        return node

    def _is_over(self, view: Namespace, parent: int, name: bytes) -> bool:
        """Whether the last commit, or the version, may have something of this name in this directory."""
        upper = view.name(parent, name)
        if upper is not None:
            # What a commit took may land at any moment, or have landed unnoticed.
            committed = max(self._counters.committed, self._frozen)
            return upper.over or (upper.inode != 0 and upper.sequence <= committed)
        return view.below(parent, name) is not None

    def _link(self, batch: _Batch, parent: int, name: bytes, inode: int, *, over: bool) -> None:
        upper = Name(inode, batch.sequence, batch.sequence, over)
        batch.changes.append(TableChange(NAMES, name_key(parent, name), upper.encode()))
        batch.changes.append(TableChange(ORDER, order_key(parent, upper.cookie), name))

    def _unlink(self, batch: _Batch, view: Namespace, parent: int, name: bytes) -> None:
        upper = view.name(parent, name)
        if upper is not None and upper.inode:
            batch.changes.append(TableChange(ORDER, order_key(parent, upper.cookie), None))
        whiteout = Name(0, batch.sequence, 0, True).encode() if self._is_over(view, parent, name) else None
        batch.changes.append(TableChange(NAMES, name_key(parent, name), whiteout))

    def _discard(self, batch: _Batch, node: MergedNode) -> None:
        """Unlink an inode for good: it goes at once, or when it is closed."""
        if node.is_directory:
            prefix = inode_key(node.inode)
            for table in (NAMES, ORDER):
                batch.changes += [TableChange(table, key, None) for key, _ in self._tables.scan(table, prefix, prefix)]
        if self._is_open(node.inode):
            record = msgspec.structs.replace(self.record_of(node), parent=0, ctime_ns=batch.now)
            batch.put(node.inode, record)
        elif node.record is not None:
            self._erase(batch, node)

    def _erase(self, batch: _Batch, node: MergedNode) -> None:
        batch.changes.append(TableChange(INODES, inode_key(node.inode), None))
        if node.record is None:
            return
        if node.record.layers:
            batch.changes += self._data.drop(node.inode, node.record.layers)
        if node.inode >= FIRST_NEW_INODE:
            self._gone.put(node.inode, msgspec.structs.replace(node.record, parent=0, layers=(), size=0, shown=0))

    def _touch(self, batch: _Batch, folder: MergedNode) -> None:
        record = msgspec.structs.replace(self.record_of(folder), mtime_ns=batch.now, ctime_ns=batch.now)
        batch.put(folder.inode, record)

    def _make(self, batch: _Batch, note: bytes = b"", *, grows: bool = False) -> None:
        counters = batch.counters
        self._tables.change([*batch.changes, counters.change()], note, grows=grows)
        self._counters = counters


def _without_set_id(mode: int) -> int:
    """Return permission bits without S_ISUID, and without S_ISGID where the group may run the file, as Linux has it."""
    return mode & ~(_SET_ID if mode & stat.S_IXGRP else stat.S_ISUID)


def _check_name(name: bytes) -> None:
    if len(name) > MAX_NAME:
        raise Refused(errno.ENAMETOOLONG, "the name is too long")
