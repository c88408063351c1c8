"""Look into a tree: by path, by inode number, one directory at a time. Pure: nodes come from a callable.

The inode number of an entry is its position in pre-order, the root being 1: it is found from a path and back by the
counts in the nodes alone. There is no table of inodes, whatever the number of files.

The callable either returns the node, fetching it if need be, or raises `NodeMissing`, for callers that must not
block: they fetch the node and ask again. A look-up asks for one node a level, so asking again is cheap.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import NewType

from penstock.errors import AccessError, IntegrityError, NotFoundError

from .descend import LoadNode, check_depth, open_child
from .entry import Kind, NodeRef, TreeEntry, display_path
from .node import IndexNode, Leaf

__all__ = ["ROOT_INODE", "Inode", "LoadNode", "NodeMissing", "Tree"]

Inode = NewType("Inode", int)
ROOT_INODE = Inode(1)
_Step = tuple[int, IndexNode, int, bytes]
"""Where a listing stands in an index node: positions before the node, the node, the child, the name all sort after."""


class NodeMissing(Exception):  # noqa: N818  # a signal between two callers, not an error
    """Raised by a `LoadNode` that does not fetch: `ref` is what it would need."""

    def __init__(self, ref: NodeRef) -> None:
        super().__init__(ref)
        self.ref = ref


class Tree:
    """The tree below one directory, which has inode number 1 here."""

    def __init__(self, root: NodeRef, load: LoadNode) -> None:
        self.root = root
        self._load = load

    def find(self, directory: NodeRef, name: bytes) -> tuple[TreeEntry, int] | None:
        """Look up a name in a directory: the entry, and its position below the directory; None: no such name."""
        node = self._load(directory)
        before = 0
        low = b""
        while isinstance(node, IndexNode):
            at = node.child_for(name)
            if at == len(node):
                return None
            before += node.positions[at]
            node, low = open_child(node, at, low, self._load)
        at = node.find(name)
        return (node.entry(at), before + node.positions[at]) if at >= 0 else None

    def lookup(self, parent: Inode, directory: NodeRef, name: bytes) -> tuple[Inode, TreeEntry] | None:
        """Like `find`, with inode numbers: `directory` is the content of the directory `parent`."""
        found = self.find(directory, name)
        return (Inode(parent + 1 + found[1]), found[0]) if found is not None else None

    def resolve(self, names: tuple[bytes, ...]) -> tuple[Inode, TreeEntry]:
        """Follow a path from the root. NotFoundError names the first component that is not there."""
        inode = ROOT_INODE
        entry = root_entry(self.root)
        for depth, name in enumerate(names):
            if entry.directory is None:
                raise NotFoundError(f"{display_path(names[:depth])!r} is not a directory")
            found = self.lookup(inode, entry.directory, name)
            if found is None:
                raise NotFoundError(f"no such file or directory: {display_path(names[: depth + 1])!r}")
            inode, entry = found
        return inode, entry

    def by_inode(self, inode: Inode) -> TreeEntry:
        """Return the entry with an inode number; NotFoundError when the tree has none such."""
        last: tuple[Leaf, int] | None = None
        for last in self._descend(inode):  # noqa: B007  # the last one is meant
            pass
        return last[0].entry(last[1]) if last is not None else root_entry(self.root)

    def path_of(self, inode: Inode) -> tuple[bytes, ...]:
        """Return the names that lead to an inode number."""
        return tuple(leaf.names[at] for leaf, at in self._descend(inode))

    def locate(self, inode: Inode) -> tuple[tuple[bytes, ...], TreeEntry]:
        """Return both at once: the names that lead to an inode number, and the entry."""
        names: list[bytes] = []
        last: tuple[Leaf, int] | None = None
        for leaf, at in self._descend(inode):
            names.append(leaf.names[at])
            last = leaf, at
        return tuple(names), last[0].entry(last[1]) if last is not None else root_entry(self.root)

    def files(self) -> Iterator[range]:
        """Yield the inode numbers of all files, executable or not, in order: ranges that do not touch each other.

        Every node is loaded, and no entry is made. Directories and symlinks have numbers, too, so that the counts in
        the nodes alone do not tell how many files there are.
        """
        run = range(0)
        stack = [self._runs(ROOT_INODE, self.root)]
        while stack:
            for found in stack[-1]:
                if isinstance(found, range):
                    if found.start != run.stop:
                        if run:
                            yield run
                        run = found
                    else:
                        run = range(run.start, found.stop)
                else:
                    check_depth(len(stack))
                    stack.append(self._runs(*found))
                    break
            else:
                stack.pop()
        if run:
            yield run

    def _runs(self, parent: Inode, directory: NodeRef) -> Iterator[range | tuple[Inode, NodeRef]]:
        """Yield a directory's files as ranges of inode numbers, and its directories, in order."""
        for before, leaf, _ in self._leaves(directory, None):
            first = parent + 1 + before
            if leaf.holds_files_only:
                yield range(first, first + len(leaf))
                continue
            for at, position in zip(range(len(leaf)), leaf.positions, strict=False):
                inode = Inode(first + position)
                below = leaf.directory(at)
                if below is not None:
                    yield inode, below
                elif leaf.kind(at) is not Kind.SYMLINK:
                    yield range(inode, inode + 1)

    def leaves(self, enter: Callable[[NodeRef], bool]) -> Iterator[tuple[Inode, Inode, Leaf]]:
        """Yield leaves of the tree: the inode of their directory, the one that their first entry has, the leaf.

        A directory is gone into if `enter` says so: what it says no to costs nothing, also where a tree of a few nodes
        names them over and over. The entry at an index has the inode of the first one and that index's position more.
        """
        stack = [self._leaves_and_below(ROOT_INODE, self.root, enter)]
        while stack:
            for found in stack[-1]:
                if len(found) == 3:
                    yield found
                    continue
                check_depth(len(stack))
                stack.append(self._leaves_and_below(*found, enter))
                break
            else:
                stack.pop()

    def _leaves_and_below(
        self, parent: Inode, directory: NodeRef, enter: Callable[[NodeRef], bool]
    ) -> Iterator[tuple[Inode, Inode, Leaf] | tuple[Inode, NodeRef]]:
        for before, leaf, _ in self._leaves(directory, None):
            first = Inode(parent + 1 + before)
            yield parent, first, leaf
            if leaf.holds_files_only:
                continue
            for at, position in zip(range(len(leaf)), leaf.positions, strict=False):
                below = leaf.directory(at)
                if below is not None and enter(below):
                    yield Inode(first + position), below

    def _descend(self, inode: Inode) -> Iterator[tuple[Leaf, int]]:
        """Yield the way from the root (not included) to the entry with this number: leaves, and indices in them."""
        below = inode - ROOT_INODE
        if not 0 <= below <= self.root.entries:
            raise NotFoundError(f"no inode {inode}", why=f"the tree has {self.root.entries} entries")
        ref = self.root
        depth = 0
        while below:
            check_depth(depth)
            depth += 1
            node = self._load(ref)
            position = below - 1
            low = b""
            while isinstance(node, IndexNode):
                at, position = node.at_position(position)
                node, low = open_child(node, at, low, self._load)
            at, below = node.at_position(position)
            yield node, at
            if below:
                directory = node.directory(at)
                assert directory is not None  # only directories have positions below them
                ref = directory

    def children(self, directory: NodeRef, *, after: bytes | None = None) -> Iterator[tuple[int, TreeEntry]]:
        """Yield a directory's entries in order, each with its position below it, from the name behind `after` on."""
        for before, leaf, first in self._leaves(directory, after):
            for at in range(first, len(leaf)):
                yield before + leaf.positions[at], leaf.entry(at)

    def children_from(self, directory: NodeRef, position: int) -> Iterator[tuple[int, TreeEntry]]:
        """Like `children`, from the entry that starts at a position on (or the first one behind it)."""
        if position >= directory.entries:
            return
        node = self._load(directory)
        stack: list[_Step] = []
        before = 0
        low = b""
        while isinstance(node, IndexNode):
            at, _ = node.at_position(position - before)
            stack.append((before, node, at, low))
            before += node.positions[at]
            node, low = open_child(node, at, low, self._load)
        at, inside = node.at_position(position - before)
        for start, leaf, first in self._from(stack, before, node, at + bool(inside)):
            for index in range(first, len(leaf)):
                yield start + leaf.positions[index], leaf.entry(index)

    def _leaves(self, directory: NodeRef, after: bytes | None) -> Iterator[tuple[int, Leaf, int]]:
        """Yield a directory's leaves: positions before it, the leaf, the index of the first entry that is meant."""
        node = self._load(directory)
        stack: list[_Step] = []
        before = 0
        low = b""
        while isinstance(node, IndexNode):
            at = 0 if after is None else bisect_right(node.lasts, after)
            if at == len(node):
                return
            stack.append((before, node, at, low))
            before += node.positions[at]
            node, low = open_child(node, at, low, self._load)
        yield from self._from(stack, before, node, 0 if after is None else bisect_right(node.names, after))

    def _from(self, stack: list[_Step], before: int, leaf: Leaf, first: int) -> Iterator[tuple[int, Leaf, int]]:
        yield before, leaf, first
        while stack:
            start, parent, at, low = stack.pop()
            at += 1
            if at == len(parent):
                continue
            stack.append((start, parent, at, low))
            start += parent.positions[at]
            node, low = open_child(parent, at, low, self._load)
            while isinstance(node, IndexNode):
                stack.append((start, node, 0, low))
                node, low = open_child(node, 0, low, self._load)
            yield start, node, 0

    def walk_from(self, inode: Inode) -> Iterator[tuple[Inode, TreeEntry]]:
        """Yield entries in tree order from one inode on, to the end of the tree; from the root, all but the root."""
        stack: list[tuple[Inode, Iterator[tuple[int, TreeEntry]]]] = []
        parent, ref, below = ROOT_INODE, self.root, inode - ROOT_INODE
        if below == 0:
            stack.append((parent, self.children(ref)))
        while below:
            position = below - 1
            start, entry = self._containing(ref, position)
            if start == position:
                stack.append((parent, self.children_from(ref, position)))
                break
            stack.append((parent, self.children_from(ref, start + 1 + entry.entries)))
            assert entry.directory is not None  # only directories have positions below them
            parent, ref, below = Inode(parent + 1 + start), entry.directory, position - start
        while stack:
            parent, children = stack[-1]
            for position, entry in children:
                number = Inode(parent + 1 + position)
                yield number, entry
                if entry.directory is not None:
                    stack.append((number, self.children(entry.directory)))
                    break
            else:
                stack.pop()

    def _containing(self, directory: NodeRef, position: int) -> tuple[int, TreeEntry]:
        """Return the entry of a directory that a position falls on or below, and the position of that entry."""
        node = self._load(directory)
        before = 0
        low = b""
        while isinstance(node, IndexNode):
            at, _ = node.at_position(position - before)
            before += node.positions[at]
            node, low = open_child(node, at, low, self._load)
        at, _ = node.at_position(position - before)
        return before + node.positions[at], node.entry(at)

    def walk(self, directory: NodeRef | None = None) -> Iterator[tuple[tuple[bytes, ...], TreeEntry]]:
        """Yield every entry below a directory (default: the root) with its path, in tree order."""
        stack: list[tuple[tuple[bytes, ...], Iterator[tuple[int, TreeEntry]]]] = [
            ((), self.children(directory or self.root)),
        ]
        while stack:
            path, children = stack[-1]
            for _, entry in children:
                names = (*path, entry.name)
                yield names, entry
                if entry.kind is Kind.DIRECTORY:
                    assert entry.directory is not None  # decoding gives every directory its node
                    check_depth(len(names))
                    stack.append((names, self.children(entry.directory)))
                    break
            else:
                stack.pop()

    def walk_once(
        self,
        directory: NodeRef,
        first: Callable[[NodeRef], bool],
        unreadable: Callable[[NodeRef, IntegrityError | AccessError], None] | None = None,
    ) -> Iterator[TreeEntry]:
        """Yield entries below a directory in tree order, without those of a node that `first` is False for.

        A tree of a few nodes may hold more entries than anybody can list, by naming the same nodes over and over. With
        `unreadable`, a node that is damaged, or that the store does not give out, is told, and the rest is walked.
        """
        stack = [self._children_once(directory, first, unreadable)]
        while stack:
            for entry in stack[-1]:
                yield entry
                if entry.directory is not None:
                    check_depth(len(stack))
                    stack.append(self._children_once(entry.directory, first, unreadable))
                    break
            else:
                stack.pop()

    def _children_once(
        self,
        directory: NodeRef,
        first: Callable[[NodeRef], bool],
        unreadable: Callable[[NodeRef, IntegrityError | AccessError], None] | None,
    ) -> Iterator[TreeEntry]:
        pending: list[tuple[IndexNode | None, int, bytes]] = [(None, 0, b"")]
        while pending:
            parent, at, low = pending.pop()
            ref = directory if parent is None else parent.children[at]
            if not first(ref):
                continue
            try:
                node, low = (self._load(ref), low) if parent is None else open_child(parent, at, low, self._load)
            except (IntegrityError, AccessError) as error:
                if unreadable is None:
                    raise
                unreadable(ref, error)
                continue
            if isinstance(node, IndexNode):
                pending += [(node, child, low) for child in reversed(range(len(node)))]
            else:
                yield from map(node.entry, range(len(node)))


def root_entry(ref: NodeRef) -> TreeEntry:
    """Return an entry, with an empty name, for the directory at the root of a tree."""
    return TreeEntry(b"", Kind.DIRECTORY, ref.size, ref.hash, directory=ref)
