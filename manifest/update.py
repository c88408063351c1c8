"""Apply edits to a tree and write only the nodes that they touch. The result is what a rebuild would give."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from penstock.errors import ConflictError, NotFoundError, UsageError

from .build import DirectoryWriter, NodeSink, directory_entry
from .cursor import Cursor
from .descend import LoadNode
from .entry import MAX_DEPTH, Kind, Location, NodeRef, TreeEntry, check_name, display_path
from .hashing import HASH_SIZE
from .node import IndexNode

__all__ = ["EMPTY_DIRECTORY", "Edit", "update"]

EMPTY_DIRECTORY = NodeRef(bytes(HASH_SIZE), 0, 0, Location(bytes(HASH_SIZE), 0, 0, bytes(HASH_SIZE)))
"""For the `directory` of an edit, or as a root: that it begins with nothing. It stands for no node."""


class Edit(NamedTuple):
    """What is to be at a path.

    `entry` None: nothing; what was there goes, a directory with all below it. A file or symlink: that, whatever was
    there. A directory with `directory` set: that content (how a rename moves a tree by reference); without it:
    the content that was there, or none. Missing parents are made.

    `missing_ok`: what is to be removed may not be there; then nothing is made for it either.
    """

    path: tuple[bytes, ...]
    entry: TreeEntry | None
    missing_ok: bool = False


class _Open:
    """A directory that edits go into: the old content that is still to be copied, and what is written so far."""

    def __init__(self, entry: TreeEntry, base: NodeRef | None, load: LoadNode, sink: NodeSink) -> None:
        self.entry = entry
        self.base = base
        self._load = load
        self._sink = sink
        self._cursor: Cursor | None = None
        self._writer = DirectoryWriter(sink)
        self._reused: NodeRef | None = None

    def take(self, name: bytes) -> TreeEntry | None:
        """Copy what sorts before a name; take out and return the old entry of that name."""
        if self._cursor is None:
            self._cursor = Cursor(self.base, self._load)
        cursor = self._cursor
        while not cursor.done:
            if cursor.level >= 0:
                last, _ = cursor.node
                # The last node of a directory did not end at a cut: what follows may belong into it.
                if last < name and not cursor.rightmost and self._reuse(cursor):
                    continue
                cursor.open()
            elif cursor.name < name:
                self._writer.put(cursor.entry)
                cursor.advance()
            else:
                break
        if cursor.done or cursor.name != name:
            return None
        found = cursor.entry
        cursor.advance()
        return found

    def _reuse(self, cursor: Cursor) -> bool:
        last, ref = cursor.node
        if not self._writer.put_node(cursor.level, last, ref):
            return False
        self._reused = ref
        cursor.advance()
        return True

    def put(self, entry: TreeEntry) -> None:
        self._writer.put(entry)

    def finish(self) -> NodeRef:
        if self._cursor is None:
            if self.base is not None:
                return self.base
            return self._writer.finish()
        cursor = self._cursor
        while not cursor.done:
            if cursor.level < 0:
                self._writer.put(cursor.entry)
                cursor.advance()
            elif not self._reuse(cursor):
                cursor.open()
        root = self._writer.finish()
        # An index node of the old tree that is all that is left may hold a single node: that one is the root then.
        while root is self._reused:
            node = self._load(root)
            if not isinstance(node, IndexNode) or len(node) > 1:
                break
            root = self._reused = node.children[0]
        return root


def update(root: NodeRef, edits: Iterable[Edit], load: LoadNode, sink: NodeSink) -> NodeRef:
    """Return the root of the tree with the edits applied.

    Edits come in tree order (plain order of their paths), each path once. NotFoundError: an edit removes what is
    not there. ConflictError: an edit goes below a file. UsageError: bad order, bad name, too deep.

    A directory that is put with no entries in its reference is not loaded.
    """
    stack = [_Open(TreeEntry(b"", Kind.DIRECTORY), root if root.entries else None, load, sink)]
    path: tuple[bytes, ...] = ()  # of the directory on top of the stack
    file: tuple[bytes, ...] | None = None  # the last edit, if it put a file
    last: tuple[bytes, ...] = ()

    def close() -> None:
        done = stack.pop()
        stack[-1].put(directory_entry(done.entry, done.finish()))

    for edit in edits:
        _check(edit, last)
        last = edit.path
        if file is not None and edit.path[: len(file)] == file:
            if edit.missing_ok:
                continue
            raise ConflictError(
                f"{display_path(file)!r} would be a file and a directory",
                why=f"there is also {display_path(edit.path)!r}",
            )
        while edit.path[: len(path)] != path:
            close()
            path = path[:-1]
        while len(path) < len(edit.path) - 1:
            name = edit.path[len(path)]
            old = stack[-1].take(name)
            if old is None and edit.missing_ok:
                break
            if old is not None and old.directory is None:
                if edit.missing_ok:
                    stack[-1].put(old)
                    file = (*path, name)
                    break
                raise ConflictError(
                    f"{display_path((*path, name))!r} is a file", why=f"{display_path(edit.path)!r} would lie below it"
                )
            path = (*path, name)
            stack.append(_Open(old or TreeEntry(name, Kind.DIRECTORY), old.directory if old else None, load, sink))
        if len(path) < len(edit.path) - 1:
            continue  # there is no such directory: nothing to remove
        old = stack[-1].take(edit.path[-1])
        file = None
        if edit.entry is None:
            if old is None and not edit.missing_ok:
                raise NotFoundError(f"cannot remove {display_path(edit.path)!r}", why="it is not there")
        elif edit.entry.kind is Kind.DIRECTORY:
            base = edit.entry.directory or (old.directory if old is not None else None)
            base = base if base is None or base.entries else None
            stack.append(_Open(edit.entry, base, load, sink))
            path = edit.path
        else:
            stack[-1].put(edit.entry)
            file = edit.path
    while len(stack) > 1:
        close()
    return stack[0].finish()


def _check(edit: Edit, last: tuple[bytes, ...]) -> None:
    if edit.path <= last:
        raise UsageError(
            f"edit of {display_path(edit.path)!r} out of order",
            why="edits come in tree order, each path once",
        )
    folder = edit.entry is not None and edit.entry.kind is Kind.DIRECTORY
    if len(edit.path) + folder > MAX_DEPTH:  # what lies in a directory is not to be too deep either
        raise UsageError(f"a path of {len(edit.path)} levels", why=f"the deepest is {MAX_DEPTH}")
    for name in edit.path if edit.path[:-1] != last[:-1] else edit.path[-1:]:
        check_name(name)
    if edit.entry is not None and edit.entry.name != edit.path[-1]:
        raise UsageError(f"entry {edit.entry.name!r} for the path {display_path(edit.path)!r}", why="names differ")
