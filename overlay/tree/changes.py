"""What differs from the committed version: a walk over what was touched, in tree order.

The walk is what a commit and a status have in common. It costs the tables' size once, and then what was touched;
memory: the directories that lead to changes, and the names of changed things that were not renamed.

**Invariant:** the version that the clean records stand for, with all that the walk yields applied in its order, is the
merged tree. A directory that was made or moved begins with what its own tree has of it, or with nothing; therefore all
that the tables say below it is yielded, changed since the last commit or not.

Reads a snapshot of the tables only. May load nodes: call it where blocking is allowed.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import NamedTuple

from penstock.errors import NotFoundError
from penstock.manifest.descend import LoadNode
from penstock.manifest.entry import Kind, NodeRef, TreeEntry
from penstock.manifest.tree import ROOT_INODE, Tree
from penstock.manifest.update import EMPTY_DIRECTORY
from penstock.overlay.tables.interface import ReadTables
from penstock.overlay.tables.schema import (
    FIRST_NEW_INODE,
    INODES,
    NAMES,
    SEVERAL,
    InodeRecord,
    Name,
    decode_entry,
    inode_key,
    name_key,
)

from .namespace import Namespace

__all__ = ["MOST_RENAMES", "Changed", "Changes", "Path"]

MOST_RENAMES = 100_000
"""Beyond so many, what was renamed is told as removed and added."""

Path = tuple[bytes, ...]


class Changed(NamedTuple):
    """One thing that differs, or may: at `path`, from the root of the mount. What is gone may never have been there.

    `record` None: there is nothing (any more). `linked`: the name is new, or stands for something else than it did;
    of a directory, `base` is then the content it begins with. `dirty`: changed since the last commit; what is not is
    to be applied all the same, for a directory above begins with less. `forced`: it lies below such a directory.
    `committed`: what the committed version has at the path; below a directory that was renamed, at the path it had.
    `source`: where the committed version has what was renamed, and what it has there, as far as `renames` can tell.
    """

    path: Path
    inode: int
    record: InodeRecord | None
    linked: bool
    dirty: bool
    forced: bool
    base: NodeRef | None
    committed: TreeEntry | None
    source: tuple[Path, TreeEntry] | None = None


class _Frame(NamedTuple):
    """A directory that is being walked; `committed` is what the committed version has there."""

    path: Path
    inode: int
    forced: bool
    empty: bool
    committed: NodeRef | None
    items: Iterator[tuple[bytes, Name | int]]


class Changes:
    """What differs between the merged tree `view` and the tree `committed`, which all up to a sequence is in.

    With `renames`, where things came from is looked up: of what the mounted version had, and up to MOST_RENAMES. With
    `times`, what somebody gave another modification time is changed; without, `times` counts what has that alone.
    """

    def __init__(
        self,
        tables: ReadTables,
        view: Namespace,
        sequence: int,
        committed: NodeRef,
        load: LoadNode,
        *,
        renames: bool = False,
        times: bool = False,
    ) -> None:
        self._tables = tables
        self._view = view
        self._sequence = sequence
        self._root = committed
        self._tree = Tree(committed, load)
        self._touched: dict[int, dict[bytes, int]] = {}
        """Directories on the way to changes; of each, children that are on the way or changed, and not linked anew."""
        self.sources: dict[int, tuple[Path, TreeEntry]] = {}
        """By inode of what was renamed: where the committed version has it."""
        self._renames = renames
        self._with_times = times
        self.times = 0
        self.is_empty = True
        self._touch(ROOT_INODE, ROOT_INODE)
        self._collect()

    def _collect(self) -> None:
        last = -1
        for key, value in self._tables.scan(NAMES, b""):
            parent = int.from_bytes(key[:8], "big")
            several = value[-1] & SEVERAL
            if parent == last and not several:
                continue
            upper = Name.decode(value)
            if upper.sequence > self._sequence:
                last = parent
                if self._touch(parent, ROOT_INODE):
                    self.is_empty = False
            elif several and upper.inode:
                self._look_at_one_of_several(parent, key[8:], upper.inode)
        for key, value in self._tables.scan(INODES, b""):
            record = InodeRecord.decode(value)
            inode = int.from_bytes(key, "big")
            if record.timed > self._sequence >= record.sequence and record.parent != 0 and inode != ROOT_INODE:
                self.times += 1
            if self._is_dirty(record) and record.parent != 0 and not record.links:
                if inode == ROOT_INODE or self._touch_child(inode, ROOT_INODE):
                    self.is_empty = False
                if self._renames and record.parent and inode < FIRST_NEW_INODE:
                    self._look_for_source(inode, record, record.parent)

    def _is_dirty(self, record: InodeRecord) -> bool:
        return record.sequence > self._sequence or (self._with_times and record.timed > self._sequence)

    def _look_at_one_of_several(self, parent: int, name: bytes, inode: int) -> None:
        """Note a name that is as it was, and of which the inode has changed: its record does not say all its names."""
        record = self._view.record(inode)
        if record is not None and self._is_dirty(record) and self._touch(parent, ROOT_INODE):
            self._touched[parent][name] = inode
            self.is_empty = False

    def _look_for_source(self, inode: int, record: InodeRecord, parent: int) -> None:
        upper = self._view.name(parent, record.name)
        if not self._root.entries or len(self.sources) >= MOST_RENAMES:
            return
        if upper is None or upper.sequence <= self._sequence:
            return
        path = tuple(step for _, step in self._view.lower.way(inode))
        try:
            found = self._tree.resolve(path)[1]
        except NotFoundError:
            return  # an earlier commit has moved it, or what it was in
        # What has the name there may be another thing by now. Of directories that cannot be told: both have changed.
        same = record.entry and decode_entry(record.entry).hash == found.hash
        if same if record.kind is not Kind.DIRECTORY else found.kind is Kind.DIRECTORY:
            self.sources[inode] = path, found

    def _touch(self, directory: int, top: int) -> bool:
        """Note a directory, and the way to it from `top`; False when it is linked nowhere."""
        way: list[tuple[int, int, bytes]] = []
        at = directory
        while at not in self._touched and at != top:
            place = self._place(at)
            if place is None:
                return False
            way.append((at, *place))
            at = place[0]
        self._touched.setdefault(at, {})
        for inode, parent, name in reversed(way):
            self._note(parent, name, inode)
            self._touched.setdefault(inode, {})
        return True

    def _touch_child(self, inode: int, top: int) -> bool:
        place = self._place(inode)
        if place is None or not self._touch(place[0], top):
            return False
        self._note(*place, inode)
        return True

    def _note(self, parent: int, name: bytes, inode: int) -> None:
        upper = self._view.name(parent, name)
        if upper is None or upper.sequence <= self._sequence:
            self._touched[parent][name] = inode

    def _place(self, inode: int) -> tuple[int, bytes] | None:
        place = self._view.place(inode)
        if place is None:
            return None
        upper = self._view.name(*place)
        return place if upper is None or upper.inode == inode else None

    def _touch_below(self, directory: int, ref: NodeRef) -> None:
        """Note all that the tables say of what a directory of a tree held there: its inodes are a range."""
        last = directory + ref.entries
        self._touched.setdefault(directory, {})
        for key, _ in self._tables.scan(NAMES, inode_key(directory)):
            parent = int.from_bytes(key[:8], "big")
            if parent > last:
                break
            if parent != directory:
                self._touch(parent, directory)
        for key, value in self._tables.scan(INODES, inode_key(directory + 1)):
            inode = int.from_bytes(key, "big")
            if inode > last:
                break
            if InodeRecord.decode(value).parent is None:
                self._touch_child(inode, directory)

    def walk(self) -> Iterator[Changed]:
        """Yield what differs. A directory comes before what lies in it, names in byte order."""
        root = self._view.record(ROOT_INODE)
        if root is not None and not self.is_empty:
            dirty = root.sequence > self._sequence
            yield Changed((), ROOT_INODE, root, False, dirty, False, None, None)
        stack = [self._frame((), ROOT_INODE, forced=False, empty=False, committed=self._root)]
        while stack:
            frame = stack[-1]
            for name, what in frame.items:
                found = self._linked(frame, name, what) if isinstance(what, Name) else self._child(frame, name, what)
                if found is None:
                    continue
                changed, below = found
                if changed is not None:
                    yield changed
                if below is not None:
                    stack.append(below)
                    break
            else:
                stack.pop()

    def _frame(self, path: Path, inode: int, *, forced: bool, empty: bool, committed: NodeRef | None) -> _Frame:
        # Ordered by name alone: a name is in one of the two only.
        items = heapq.merge(
            self._names(inode, forced=forced), sorted(self._touched.get(inode, {}).items()), key=lambda item: item[0]
        )
        return _Frame(path, inode, forced, empty, committed, items)

    def _names(self, directory: int, *, forced: bool) -> Iterator[tuple[bytes, Name | int]]:
        prefix = inode_key(directory)
        for key, value in self._tables.scan(NAMES, prefix, prefix):
            upper = Name.decode(value)
            if forced or upper.sequence > self._sequence:
                yield key[8:], upper

    def _committed(self, frame: _Frame, name: bytes) -> TreeEntry | None:
        if frame.committed is None or not frame.committed.entries:
            return None  # EMPTY_DIRECTORY has no node to look into
        found = self._tree.find(frame.committed, name)
        return found[0] if found is not None else None

    def _linked(self, frame: _Frame, name: bytes, upper: Name) -> tuple[Changed, _Frame | None] | None:
        """Return what a name in the tables comes to, and the directory to go on in."""
        path = (*frame.path, name)
        committed = self._committed(frame, name)
        dirty = upper.sequence > self._sequence
        if not upper.inode:
            if frame.empty and not dirty:
                return None
            return Changed(path, 0, None, True, dirty, frame.forced, None, committed), None
        record = self._view.record(upper.inode)
        assert record is not None  # what is linked by the tables has one
        dirty = dirty or self._is_dirty(record)
        if record.kind is not Kind.DIRECTORY:
            source = self.sources.get(upper.inode)
            return Changed(path, upper.inode, record, True, dirty, frame.forced, None, committed, source), None
        lower = self._view.listing(upper.inode)
        base = lower if lower is not None else EMPTY_DIRECTORY
        if lower is not None:
            self._touch_below(upper.inode, lower)
        source = self.sources.get(upper.inode)
        was = source[1] if source is not None else committed
        ref = was.directory if was is not None else None
        below = self._frame(path, upper.inode, forced=True, empty=lower is None, committed=ref)
        return Changed(path, upper.inode, record, True, dirty, frame.forced, base, committed, source), below

    def _child(self, frame: _Frame, name: bytes, inode: int) -> tuple[Changed | None, _Frame | None] | None:
        """Return what an inode that is where it was comes to, and the directory to go on in."""
        if frame.forced and self._tables.get(NAMES, name_key(frame.inode, name)) is not None:
            return None  # it comes as a name
        path = (*frame.path, name)
        committed = self._committed(frame, name)
        record = self._view.record(inode)
        below = None
        if inode in self._touched:
            ref = committed.directory if committed is not None else None
            below = self._frame(path, inode, forced=frame.forced, empty=frame.empty, committed=ref)
        if record is None:
            return None, below
        dirty = self._is_dirty(record)
        if not dirty and not frame.forced and record.kind is not Kind.DIRECTORY:
            return None
        return Changed(path, inode, record, False, dirty, frame.forced, None, committed), below
