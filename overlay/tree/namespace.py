"""The merged tree: names and inodes of the lower layer, with the upper layer's records over them. Reads only.

**Invariant:** nothing here changes a table, so a question that ends in `NodeMissing` can be asked again. A record says
all of its inode; an inode without one is as its tree has it. A name in NAMES hides that of the lower layer.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from penstock.manifest.entry import Kind, NodeRef, TreeEntry
from penstock.manifest.tree import ROOT_INODE
from penstock.overlay.tables.interface import ReadTables
from penstock.overlay.tables.schema import FIRST_NEW_INODE, INODES, NAMES, ORDER, InodeRecord, Name, inode_key, name_key

from .lower import Lower
from .refusal import Refused

__all__ = ["UPPER_OFFSET", "MergedItem", "MergedNode", "Namespace"]

UPPER_OFFSET = 1 << 62
"""Offsets of a listing from here on are of names that were added; below are positions in the lower directory."""
_CHILDREN = 2
"""Offset of the first child; 0 and 1 are ``.`` and ``..``."""
_HIDDEN = 1024
"""Directories of which it is remembered how far the upper layer hides them."""


class MergedNode(NamedTuple):
    """An inode: its record, or, when it has none, what its tree has."""

    inode: int
    record: InodeRecord | None
    entry: TreeEntry | None

    @property
    def kind(self) -> Kind:
        """What it is."""
        found = self.record or self.entry
        assert found is not None  # one of them is
        return found.kind

    @property
    def size(self) -> int:
        """Bytes of a file or of a symlink's target."""
        found = self.record or self.entry
        assert found is not None
        return found.size

    @property
    def is_file(self) -> bool:
        """Whether it has content of its own."""
        found = self.record or self.entry
        assert found is not None
        return found.is_file

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return self.kind is Kind.DIRECTORY


class MergedItem(NamedTuple):
    """One name in a directory; `next` is the offset to go on from."""

    name: bytes
    node: MergedNode
    next: int


class Namespace:
    """The merged tree over `lower`."""

    def __init__(self, tables: ReadTables, lower: Lower) -> None:
        self._tables = tables
        self.lower = lower

    def record(self, inode: int) -> InodeRecord | None:
        """Return the record of an inode."""
        value = self._tables.get(INODES, inode_key(inode))
        return InodeRecord.decode(value) if value is not None else None

    def name(self, parent: int, name: bytes) -> Name | None:
        """Return what the upper layer says of a name."""
        value = self._tables.get(NAMES, name_key(parent, name))
        return Name.decode(value) if value is not None else None

    def node(self, inode: int) -> MergedNode:
        """Return an inode. Refused ESTALE: there is none such."""
        record = self.record(inode)
        if record is not None:
            return MergedNode(inode, record, None)
        return MergedNode(inode, None, self.lower.entry(inode))

    def lookup(self, parent: int, name: bytes) -> MergedNode | None:
        """Return what a name in a directory stands for; None: nothing. Refused ENOTDIR, ESTALE."""
        upper = self.name(parent, name)
        if upper is not None:
            return self.node(upper.inode) if upper.inode else None
        found = self.below(parent, name)
        if found is None:
            return None
        record = self.record(found[0])
        return MergedNode(found[0], record, None) if record is not None else MergedNode(found[0], None, found[1])

    def below(self, parent: int, name: bytes) -> tuple[int, TreeEntry] | None:
        """Return what the lower layer has of a name in a directory that is linked somewhere."""
        return self.below_in(parent, self.record(parent), name)

    def below_in(self, parent: int, record: InodeRecord | None, name: bytes) -> tuple[int, TreeEntry] | None:
        """Return that for a directory whose record is at hand."""
        ref = self._listing(parent, record)
        return self.lower.find(parent, ref, name) if ref is not None else None

    def listing(self, inode: int) -> NodeRef | None:
        """Return the lower layer's content of a directory; None: all its names are the upper layer's."""
        return self._listing(inode, self.record(inode))

    def _listing(self, inode: int, record: InodeRecord | None) -> NodeRef | None:
        if record is not None:
            if record.kind is not Kind.DIRECTORY:
                raise Refused(errno.ENOTDIR, "no directory")
            if record.parent == 0:
                return None  # removed: it is empty, whatever the version has below it
        if inode >= FIRST_NEW_INODE and not self.lower.has(inode):
            if record is None:
                raise Refused(errno.ESTALE, "no such inode")
            return None
        found = self.lower.directory(inode)
        if found is None:
            raise Refused(errno.ENOTDIR, "no directory")
        return found

    def items(self, directory: int, offset: int) -> Iterator[MergedItem]:
        """Yield the names of a directory from an offset on, without ``.`` and ``..``.

        First come those of the lower layer, in byte order, then those that were added, as they were.
        """
        if offset < UPPER_OFFSET:
            ref = self.listing(directory)
            if ref is not None:
                changed = self.is_changed(directory)
                begin = max(offset - _CHILDREN, 0)
                # What was removed from the front of a large directory is passed over once, not by every listing.
                hidden = self.lower.hidden
                known = hidden.get(directory, 0) if changed else 0
                front = changed and begin <= known
                for at, inode, entry in self.lower.children(directory, ref, max(begin, known)):
                    if front:
                        self._remember(hidden, directory, at)
                    if changed and self._is_hidden(directory, entry.name, inode):
                        continue
                    front = False
                    record = self.record(inode)
                    node = MergedNode(inode, record, None) if record is not None else MergedNode(inode, None, entry)
                    yield MergedItem(entry.name, node, at + 1 + _CHILDREN)
        yield from self._added(directory, max(offset - UPPER_OFFSET, 0))

    def _remember(self, hidden: dict[int, int], directory: int, position: int) -> None:
        if len(hidden) >= _HIDDEN and directory not in hidden:
            hidden.clear()
        hidden[directory] = position

    def pass_hidden(self, directory: int, most: int) -> bool:
        """Find out what a listing from the front can pass over, looking at `most` names; whether that is all of it.

        For directories so large that they are not to be looked through in one step.
        """
        before = self.lower.hidden.get(directory, 0)
        ref = self.listing(directory) if self.is_changed(directory) else None
        if ref is None:
            return True
        for at, inode, entry in islice(self.lower.children(directory, ref, before), most):
            self._remember(self.lower.hidden, directory, at)
            if not self._is_hidden(directory, entry.name, inode):
                return True
        return self.lower.hidden.get(directory, 0) == before

    def _is_hidden(self, directory: int, name: bytes, inode: int) -> bool:
        """Whether a name of the lower layer is none here, or another one's, or listed among those that were added."""
        upper = self.name(directory, name)
        return upper is not None and (upper.inode != inode or upper.cookie != 0)

    def _added(self, directory: int, cookie: int) -> Iterator[MergedItem]:
        prefix = inode_key(directory)
        for key, name in self._tables.scan(ORDER, prefix + cookie.to_bytes(8, "big"), prefix):
            upper = self.name(directory, name)
            at = int.from_bytes(key[8:], "big")
            if upper is not None and upper.cookie == at and upper.inode:
                yield MergedItem(name, self.node(upper.inode), UPPER_OFFSET + at + 1)

    def is_changed(self, directory: int) -> bool:
        """Whether the upper layer says anything of the names in a directory."""
        prefix = inode_key(directory)
        return next(self._tables.scan(NAMES, prefix, prefix), None) is not None

    def names(self, directory: int) -> Iterator[tuple[bytes, Name]]:
        """Yield what the upper layer says of the names in a directory, whiteouts too, in byte order."""
        prefix = inode_key(directory)
        for key, value in self._tables.scan(NAMES, prefix, prefix):
            yield key[len(prefix) :], Name.decode(value)

    def names_from(self, directory: int) -> Iterator[tuple[int, bytes, Name]]:
        """Yield directories, names, and what the upper layer says of them, from an inode on."""
        for key, value in self._tables.scan(NAMES, inode_key(directory)):
            yield int.from_bytes(key[:8], "big"), key[8:], Name.decode(value)

    def records(self, inode: int) -> Iterator[tuple[int, InodeRecord]]:
        """Yield the upper layer's records from an inode on."""
        for key, value in self._tables.scan(INODES, inode_key(inode)):
            yield int.from_bytes(key, "big"), InodeRecord.decode(value)

    def is_empty(self, directory: int) -> bool:
        """Whether a directory has no names."""
        return next(self.items(directory, 0), None) is None

    def place(self, inode: int) -> tuple[int, bytes] | None:
        """Return the directory and the name that an inode is linked at; None: nowhere (any more). Not for the root.

        Of several names it is the one that was made last, or found by looking through all.
        """
        record = self.record(inode)
        if record is not None and record.links:
            return self._one_of_several(inode, record)
        if record is not None and record.parent is not None:
            return (record.parent, record.name) if record.parent else None
        way = self.lower.way(inode)
        if not way:
            return None
        parent = way[-2][0] if len(way) > 1 else self.lower.root_of(inode)
        name = way[-1][1]
        # One that has no record of its own can only be hidden, by a whiteout or by another one of its name.
        return (parent, name) if record is not None or self.name(parent, name) is None else None

    def _one_of_several(self, inode: int, record: InodeRecord) -> tuple[int, bytes] | None:
        if record.parent:
            upper = self.name(record.parent, record.name)
            if upper is not None and upper.inode == inode:
                return record.parent, record.name
        places = ((parent, name) for parent, name, upper in self.names_from(0) if upper.inode == inode)
        return next(places, None)

    def path(self, inode: int) -> tuple[bytes, ...] | None:
        """Return the names that lead to an inode from the root; None: it is linked nowhere."""
        names: list[bytes] = []
        while inode != ROOT_INODE:
            place = self.place(inode)
            if place is None:
                return None
            inode, name = place
            names.append(name)
        names.reverse()
        return tuple(names)

    def resolve(self, names: tuple[bytes, ...]) -> MergedNode | None:
        """Follow a path from the root; None: there is no such."""
        node = self.node(ROOT_INODE)
        for name in names:
            if not node.is_directory:
                return None
            found = self.lookup(node.inode, name)
            if found is None:
                return None
            node = found
        return node
