"""Merge two trees that grew from one, in time proportional to what they changed. Pure.

*Ours* is the tree that is built upon, *theirs* what is brought in, *base* what both grew from. What theirs changed is
applied to ours. Directories that one side added or removed are one step each, taken over by reference.

Both sides may have made the same change. A *conflict* is a path that both changed, each in its own way: two contents,
a file here and a directory there, or something changed below what the other side removed or replaced. Metadata of
directories (and of the version) merges member by member. Modification times are no content: ours stay.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from penstock.errors import UsageError

from .build import NodeSink
from .descend import LoadNode
from .diff import Change, changes, same_content
from .entry import Kind, Metadata, NodeRef, TreeEntry
from .file_attributes import TIMES
from .metadata import canonical_json, parse_metadata
from .tree import Tree
from .update import Edit, update

__all__ = [
    "MOST_CONFLICTS",
    "Choose",
    "Conflict",
    "Deed",
    "Merged",
    "ReadMetadata",
    "Side",
    "merge",
    "merge_metadata",
]

MOST_CONFLICTS = 1000
"""Conflicts that are kept to be shown; all are counted."""

Path = tuple[bytes, ...]


class Side(enum.Enum):
    """Whose state a conflict is settled with."""

    OURS = "ours"
    THEIRS = "theirs"


class Deed(enum.Enum):
    """What one side did at the path of a conflict."""

    ADDED = "added"
    MODIFIED = "modified"
    REMOVED = "deleted"
    BELOW = "changed below"


@dataclass(frozen=True, slots=True)
class Conflict:
    """A path that both sides changed, and how. The path without names is the root: metadata of the version.

    `example` is the first path changed below, when one side changed something there.
    """

    path: Path
    ours: Deed
    theirs: Deed
    example: Path | None = None


ReadMetadata = Callable[[Metadata], bytes]
"""Returns metadata as canonical JSON, fetching it if it is a document."""

Choose = Callable[[Path], "Side | None"]
"""Settles the conflict at a path; None leaves it a conflict."""


@dataclass(slots=True)
class Merged:
    """What came of a merge. `root` is None when a conflict was left.

    `ours`, `theirs` and `both` count changes by who made them, a directory added or removed being one; `settled`
    counts conflicts that `choose` decided, `conflicts` holds the first MOST_CONFLICTS of `conflict_count`.
    """

    root: NodeRef | None = None
    conflicts: list[Conflict] = field(default_factory=list)
    conflict_count: int = 0
    settled: int = 0
    ours: int = 0
    theirs: int = 0
    both: int = 0

    def settle(self, conflict: Conflict, choose: Choose | None) -> Side | None:
        """Count a conflict; return whose state it is settled with."""
        side = choose(conflict.path) if choose is not None else None
        if side is not None:
            self.settled += 1
            return side
        self.conflict_count += 1
        if len(self.conflicts) < MOST_CONFLICTS:
            self.conflicts.append(conflict)
        return None


def merge(
    base: NodeRef | None,
    ours: NodeRef,
    theirs: NodeRef,
    load: LoadNode,
    sink: NodeSink,
    read: ReadMetadata,
    choose: Choose | None = None,
) -> Merged:
    """Merge two trees; `base` None: they have nothing in common.

    Nodes that are new go to `sink`; when a conflict is left, what it was given so far is of no use. All three are
    loaded by `load`, and metadata that both changed by `read`. IntegrityError: a node is not
    what it should be; else what `load` and `read` raise.
    """
    walk = _Walk(base, ours, theirs, load, read, choose)
    root = update(ours, walk.edits(), load, sink)
    if not walk.merged.conflict_count:
        walk.merged.root = root
    return walk.merged


def merge_metadata(base: Metadata, ours: Metadata, theirs: Metadata, read: ReadMetadata) -> Metadata | None:
    """Merge JSON objects member by member; None when both changed one member, each in its own way."""
    if ours == theirs or theirs == base:
        return ours
    if ours == base:
        return theirs
    before, mine, other = (parse_metadata(read(each)) for each in (base, ours, theirs))
    result = dict(mine)
    for name in {*before, *other}:
        old, my, new = (_member(each, name) for each in (before, mine, other))
        if new in (old, my):
            continue
        if my != old and name != TIMES:
            return None
        if name in other:
            result[name] = other[name]
        else:
            del result[name]
    try:
        return canonical_json(result)
    except UsageError:  # together they are too large
        return None


def _member(values: dict[str, object], name: str) -> bytes:
    return canonical_json({name: values[name]}) if name in values else b""


class _Side:
    """The changes that one side made, one at a time."""

    def __init__(self, base: NodeRef | None, root: NodeRef, load: LoadNode) -> None:
        self._changes = changes(base, root, load, load)
        self.head = next(self._changes, None)

    def advance(self, *, below: bool = False) -> None:
        """Go to the next change; into a directory that the current one added or removed only if told."""
        try:
            self.head = self._changes.send(below)
        except StopIteration:
            self.head = None

    def is_below(self, path: Path) -> bool:
        """Whether the current change lies below a path."""
        return self.head is not None and len(self.head.path) > len(path) and self.head.path[: len(path)] == path

    def skip(self, path: Path) -> Path | None:
        """Go past all changes below a path; return the first of them."""
        first = self.head.path if self.head is not None and self.is_below(path) else None
        while self.is_below(path):
            self.advance()
        return first


class _Walk:
    """Goes through the changes of both sides in tree order. One use."""

    def __init__(
        self,
        base: NodeRef | None,
        ours: NodeRef,
        theirs: NodeRef,
        load: LoadNode,
        read: ReadMetadata,
        choose: Choose | None,
    ) -> None:
        self.merged = Merged()
        self._ours = _Side(base, ours, load)
        self._theirs = _Side(base, theirs, load)
        self._tree = Tree(theirs, load)
        self._read = read
        self._choose = choose

    def edits(self) -> Iterator[Edit]:
        """Yield what is to be done to ours, in tree order, up to the first conflict that is left."""
        for edit in self._all_edits():
            if not self.merged.conflict_count:
                yield edit

    def _all_edits(self) -> Iterator[Edit]:
        while True:
            ours, theirs = self._ours.head, self._theirs.head
            if ours is not None and (theirs is None or ours.path < theirs.path):
                yield from self._alone(ours, self._ours, self._theirs)
            elif theirs is not None and (ours is None or theirs.path < ours.path):
                yield from self._alone(theirs, self._theirs, self._ours)
            elif ours is not None and theirs is not None:
                yield from self._together(ours, theirs)
            else:
                return

    def _alone(self, change: Change, side: _Side, other: _Side) -> Iterator[Edit]:
        """Take a change at a path that the other side has not touched; below it, it may have."""
        mine = side is self._ours
        side.advance()
        if _is_folder(change.old) and not _is_folder(change.new) and other.is_below(change.path):
            example = other.skip(change.path)
            ours, theirs = (_deed(change), Deed.BELOW) if mine else (Deed.BELOW, _deed(change))
            conflict = Conflict(change.path, ours, theirs, example)
            if self.merged.settle(conflict, self._choose) is Side.THEIRS:
                yield Edit(change.path, self._tree.resolve(change.path)[1] if mine else change.new)
        elif mine:
            self.merged.ours += 1
        else:
            self.merged.theirs += 1
            yield Edit(change.path, _as_edited(change))

    def _together(self, ours: Change, theirs: Change) -> Iterator[Edit]:
        """Take a path that both sides changed."""
        mine, other = ours.new, theirs.new
        if mine is not None and other is not None and _is_folder(mine) and _is_folder(other):
            # What differs below is listed for both: at once for a directory of the base, else when asked for.
            below = mine.hash != other.hash
            self._ours.advance(below=below)
            self._theirs.advance(below=below)
            yield from self._folders(ours, theirs, mine, other)
            return
        self._ours.advance()
        self._theirs.advance()
        if mine is other or (mine is not None and other is not None and same_content(mine, other)):
            self.merged.both += 1
            return
        example = self._ours.skip(ours.path) or self._theirs.skip(ours.path)
        conflict = Conflict(ours.path, _deed(ours), _deed(theirs), example)
        if self.merged.settle(conflict, self._choose) is Side.THEIRS:
            yield Edit(theirs.path, other)

    def _folders(self, ours: Change, theirs: Change, mine: TreeEntry, other: TreeEntry) -> Iterator[Edit]:
        before: Metadata = ours.old.metadata if ours.old is not None and _is_folder(ours.old) else b""
        metadata = merge_metadata(before, mine.metadata, other.metadata, self._read)
        if metadata is None:
            conflict = Conflict(ours.path, _deed(ours), _deed(theirs))
            if self.merged.settle(conflict, self._choose) is not Side.THEIRS:
                return
            metadata = other.metadata
        else:
            self.merged.both += 1
        if metadata != mine.metadata:
            yield Edit(ours.path, _folder(mine, metadata))


def _is_folder(entry: TreeEntry | None) -> bool:
    return entry is not None and entry.kind is Kind.DIRECTORY


def _deed(change: Change) -> Deed:
    if change.new is None:
        return Deed.REMOVED
    return Deed.ADDED if change.old is None else Deed.MODIFIED


def _as_edited(change: Change) -> TreeEntry | None:
    """Return what to put at the path of a change: of a directory that was there, only its metadata is new."""
    if change.new is not None and _is_folder(change.old) and _is_folder(change.new):
        return _folder(change.new, change.new.metadata)
    return change.new


def _folder(entry: TreeEntry, metadata: Metadata) -> TreeEntry:
    """Return a directory as an edit that leaves its content as it is."""
    return TreeEntry(entry.name, Kind.DIRECTORY, mtime_ns=entry.mtime_ns, metadata=metadata)
