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
from penstock.manifest.entry import MAX_MTIME, MAX_NAME, MAX_SIZE, MAX_TARGET, Kind, Metadata
from penstock.manifest.file_attributes import has_room, kept_mode, mode_of, shown_mode
from penstock.manifest.tree import ROOT_INODE
from penstock.overlay.tables.intent import read_intent
from penstock.overlay.tables.interface import Tables
from penstock.overlay.tables.meta import ChangeCounters, read_counters
from penstock.overlay.tables.schema import (
    FIRST_NEW_INODE,
    INODES,
    NAMES,
    ORDER,
    OVER,
    SEVERAL,
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

_SET_ID = stat.S_ISUID | stat.S_ISGID
_GONE = 1024
"""Inodes remembered after they were removed."""
_MOST_LINKS = 1 << 24
"""Names of an inode: FUSE counts them in 32 bits."""


class EditorContent(Protocol):
    """What editing needs of the files' bytes: the face of `file_content.FileContent`."""

    def drop(self, inode: int, layers: Sequence[tuple[int, int]]) -> list[TableChange]:
        """Remove an inode's data files; return the changes."""
        ...


def new_record(node: MergedNode, *, umask: int = 0o022, epoch_ns: int = 0) -> InodeRecord:
    """Return the record of an inode that has had none: what its tree has, and `epoch_ns` where that has no time."""
    if node.record is not None:
        return node.record
    entry = node.entry
    assert entry is not None  # a node without a record has one
    mtime_ns = epoch_ns if entry.mtime_ns is None else entry.mtime_ns
    return InodeRecord(
        entry.kind,
        shown_mode(entry.kind, entry.metadata, umask),
        size=entry.size if entry.kind is not Kind.DIRECTORY else 0,
        mtime_ns=mtime_ns,
        ctime_ns=mtime_ns,
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
        return new_record(node, umask=self._umask, epoch_ns=self._epoch_ns)

    def create(
        self,
        view: Namespace,
        parent: int,
        name: bytes,
        kind: Kind,
        *,
        mode: int = 0,
        target: bytes = b"",
        special: int = 0,
        uid: int | None = None,
        gid: int | None = None,
        note: bytes = b"",
    ) -> MergedNode:
        """Make a file, a directory or a symlink, or (`special`) a pipe or a socket.

        EEXIST, ENAMETOOLONG, ENOENT (the directory was removed), ENOTDIR.

        In a directory whose group is to be that of all in it (S_ISGID), it is, and directories pass that on.
        """
        _check_name(name)
        if len(target) > MAX_TARGET:
            raise Refused(errno.ENAMETOOLONG, "a symlink's target is too long")
        folder = self._folder(view, parent)
        flags = self._free(view, folder, name)
        if folder.record is not None and folder.record.mode & stat.S_ISGID:
            gid = folder.record.gid
            mode |= stat.S_ISGID if kind is Kind.DIRECTORY else 0
        batch = _Batch(self._counters)
        inode = batch.next_inode()
        if kind is Kind.FILE and mode & stat.S_IXUSR and not special:
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
            special=special,
            own_mode=True,
        )
        batch.put(inode, record)
        self._link(batch, parent, name, inode, flags)
        self._touch(batch, folder)
        self._make(batch, note, grows=True)
        return MergedNode(inode, record, None)

    def link(self, view: Namespace, inode: int, parent: int, name: bytes, note: bytes = b"") -> MergedNode:
        """Give an inode one more name. EEXIST, ENAMETOOLONG, ENOENT (it, or the directory, was removed), EPERM, EMLINK.

        Where the version has it stays its name, and keeps its place in the directory's listing.
        """
        _check_name(name)
        node = view.node(inode)
        if node.is_directory:
            raise Refused(errno.EPERM, "a directory")
        record = self.record_of(node)
        place = view.place(inode) if not record.links else None
        if record.parent == 0 or (place is None and not record.links):
            raise Refused(errno.ENOENT, "it was removed")
        if record.links >= _MOST_LINKS:
            raise Refused(errno.EMLINK, "too many names")
        folder = self._folder(view, parent)
        flags = self._free(view, folder, name)
        batch = _Batch(self._counters)
        if place is not None:
            first = view.name(*place) or Name(inode, self._counters.committed, 0, OVER)
            marked = first._replace(flags=first.flags | SEVERAL)
            batch.changes.append(TableChange(NAMES, name_key(*place), marked.encode()))
        changed = msgspec.structs.replace(
            record, parent=parent, name=name, links=max(record.links, 1) + 1, ctime_ns=batch.now
        )
        batch.put(inode, changed)
        self._link(batch, parent, name, inode, flags | SEVERAL)
        self._touch(batch, folder)
        self._make(batch, note, grows=True)
        return MergedNode(inode, changed, None)

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
        self._discard(batch, view, node, parent, name)
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
                self._discard(batch, view, target, new_parent, new_name)
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
        self._link(batch, parent, name, node.inode, over | (SEVERAL if record.links else 0))

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
        """Change attributes. Only what is hashed of a version counts as a change of it: permission bits, and metadata.

        Another owner does not inherit the right to run a file as somebody. ENOSPC: metadata has no room for the bits.
        """
        record = self.record_of(node)
        batch = _Batch(self._counters)
        fields: dict[str, object] = {"ctime_ns": batch.now}
        if mode is not None:
            fields.update(self._with_mode(record, mode & 0o7777, batch.sequence))
        elif (uid is not None or gid is not None) and record.kind is not Kind.DIRECTORY:
            fields.update(_without_set_id(record))
        if uid is not None:
            fields["uid"] = uid
        if gid is not None:
            fields["gid"] = gid
        if mtime_ns is not None:
            fields.update(mtime_ns=_bounded(mtime_ns), timed=batch.sequence)
        if atime_ns is not None:
            fields["atime_ns"] = _bounded(atime_ns) or None  # what 0 is written as: see `InodeRecord`
        if metadata is not None and metadata != record.metadata:
            if not has_room(metadata) and kept_mode(record.kind, record.mode) is not None:
                raise Refused(errno.ENOSPC, "metadata would leave no room for the mode")
            fields.update(metadata=metadata, sequence=batch.sequence)
        changed: InodeRecord = msgspec.structs.replace(record, **fields)
        batch.put(node.inode, changed)
        self._make(batch)
        return MergedNode(node.inode, changed, None)

    def _with_mode(self, record: InodeRecord, mode: int, sequence: int) -> dict[str, object]:
        """Return the fields that other permission bits change."""
        kind = record.kind
        if record.is_file:
            kind = Kind.EXECUTABLE if mode & stat.S_IXUSR else Kind.FILE
        kept = kept_mode(kind, mode)
        was = kept_mode(record.kind, record.mode) if record.own_mode else mode_of(record.metadata)
        if kind is record.kind and kept == was:
            return {"mode": mode, "own_mode": True}
        if not has_room(record.metadata):
            raise Refused(errno.ENOSPC, "metadata has no room for a mode")
        return {"mode": mode, "own_mode": True, "kind": kind, "sequence": sequence}

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
            fields.update(_without_set_id(record))
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

    def _free(self, view: Namespace, folder: MergedNode, name: bytes) -> int:
        """Return the flags of a name that something is to have in a directory. EEXIST: something has it."""
        upper = view.name(folder.inode, name)
        below = view.below_in(folder.inode, folder.record, name) if upper is None else None
        if below is not None or (upper is not None and upper.inode):
            raise Refused(errno.EEXIST, "the name is taken")
        return upper.flags & OVER if upper is not None else 0  # at most a whiteout, which says what it hides

    def _link(self, batch: _Batch, parent: int, name: bytes, inode: int, flags: int) -> None:
        upper = Name(inode, batch.sequence, batch.sequence, flags)
        batch.changes.append(TableChange(NAMES, name_key(parent, name), upper.encode()))
        batch.changes.append(TableChange(ORDER, order_key(parent, upper.cookie), name))

    def _unlink(self, batch: _Batch, view: Namespace, parent: int, name: bytes) -> None:
        upper = view.name(parent, name)
        if upper is not None and upper.inode:
            batch.changes.append(TableChange(ORDER, order_key(parent, upper.cookie), None))
        whiteout = Name(0, batch.sequence, 0, OVER).encode() if self._is_over(view, parent, name) else None
        batch.changes.append(TableChange(NAMES, name_key(parent, name), whiteout))

    def _discard(self, batch: _Batch, view: Namespace, node: MergedNode, parent: int, name: bytes) -> None:
        """Take a name away from an inode; with its last one it goes at once, or when it is closed."""
        if node.record is not None and node.record.links > 1:
            batch.put(node.inode, _one_name_less(view, node.inode, node.record, parent, name, batch.now))
            return
        if node.is_directory:
            prefix = inode_key(node.inode)
            for table in (NAMES, ORDER):
                batch.changes += [TableChange(table, key, None) for key, _ in self._tables.scan(table, prefix, prefix)]
        if self._is_open(node.inode):
            record = msgspec.structs.replace(self.record_of(node), parent=0, links=0, ctime_ns=batch.now)
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
            gone = msgspec.structs.replace(node.record, parent=0, links=0, layers=(), size=0, shown=0)
            self._gone.put(node.inode, gone)

    def _touch(self, batch: _Batch, folder: MergedNode) -> None:
        record = msgspec.structs.replace(self.record_of(folder), mtime_ns=batch.now, ctime_ns=batch.now)
        batch.put(folder.inode, record)

    def _make(self, batch: _Batch, note: bytes = b"", *, grows: bool = False) -> None:
        counters = batch.counters
        self._tables.change([*batch.changes, counters.change()], note, grows=grows)
        self._counters = counters


def _bounded(time_ns: int) -> int:
    """Return a time as near as a version can hold it."""
    return max(-MAX_SIZE, min(time_ns, MAX_MTIME))


def _one_name_less(view: Namespace, inode: int, record: InodeRecord, parent: int, name: bytes, now: int) -> InodeRecord:
    """Return the record of what loses one of several names; with one left that is known, it is as any other."""
    links, at = record.links - 1, record.parent
    if links == 1 and at and (at, record.name) != (parent, name):
        left = view.name(at, record.name)
        links = 0 if left is not None and left.inode == inode else 1
    return msgspec.structs.replace(record, links=links, ctime_ns=now)


def _without_set_id(record: InodeRecord) -> dict[str, object]:
    """Return the fields of a mode without S_ISUID, and without S_ISGID where the group may run it, as Linux has it."""
    mode = record.mode & ~(_SET_ID if record.mode & stat.S_IXGRP else stat.S_ISUID)
    return {"mode": mode, "own_mode": True} if mode != record.mode else {}


def _check_name(name: bytes) -> None:
    if len(name) > MAX_NAME:
        raise Refused(errno.ENAMETOOLONG, "the name is too long")
