"""What differs between two trees, in time proportional to the difference: equal hashes are never looked into.

`diff` lists everything; `changes` lists a directory that appears or goes as one change, and what lies below it only
when it is told to, so that a million files that were added as one directory cost one step.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import NamedTuple

from .cursor import Cursor
from .descend import LoadNode, check_depth
from .entry import Kind, NodeRef, TreeEntry

__all__ = ["Change", "changes", "diff", "same_content"]


class Change(NamedTuple):
    """One path that differs: `old` is None where it was added, `new` is None where it was removed.

    A directory is listed when it appears or goes, becomes one or ceases to be one, or when its metadata changed;
    not because something below it changed. Everything below an added or removed directory is listed.
    """

    path: tuple[bytes, ...]
    old: TreeEntry | None
    new: TreeEntry | None


class _Pair(NamedTuple):
    path: tuple[bytes, ...]
    old: NodeRef | None
    new: NodeRef | None


def same_content(old: TreeEntry, new: TreeEntry) -> bool:
    """Whether two entries say the same, times and places aside."""
    return (old.kind, old.size, old.hash, old.metadata) == (new.kind, new.size, new.hash, new.metadata)


def diff(old: NodeRef | None, new: NodeRef | None, load_old: LoadNode, load_new: LoadNode) -> Iterator[Change]:
    """Yield what changed from one tree to another, in tree order; None is the empty tree.

    Memory: one path of nodes of each.
    """
    found = changes(old, new, load_old, load_new)
    change = next(found, None)
    while change is not None:
        yield change
        try:
            change = found.send(True)
        except StopIteration:
            return


def changes(
    old: NodeRef | None, new: NodeRef | None, load_old: LoadNode, load_new: LoadNode
) -> Generator[Change, bool | None, None]:
    """Like `diff`, but go below a directory that was added or removed only when True is sent for its change."""
    stack = [_directories(_Pair((), old, new), load_old, load_new)]
    below: bool | None = True
    while stack:
        for found in stack[-1]:
            if isinstance(found, Change):
                below = yield found
            elif below or (found.old is not None and found.new is not None):
                # A pair with one side missing comes right after the change that it belongs to.
                stack.append(_directories(found, load_old, load_new))
                break
        else:
            stack.pop()


def _directories(pair: _Pair, load_old: LoadNode, load_new: LoadNode) -> Iterator[Change | _Pair]:
    if pair.old is not None and pair.new is not None and pair.old.hash == pair.new.hash:
        return
    old = Cursor(pair.old, load_old)
    new = Cursor(pair.new, load_new)
    while not (old.done and new.done):
        level_old = -1 if old.done else old.level
        level_new = -1 if new.done else new.level
        if level_old >= 0 or level_new >= 0:
            if level_old == level_new and old.node[1].hash == new.node[1].hash:
                old.advance()
                new.advance()
                continue
            if level_old >= level_new:
                old.open()
            if level_new >= level_old:
                new.open()
            continue
        if new.done or (not old.done and old.name < new.name):
            yield from _compare(pair.path, old.entry, None)
            old.advance()
        elif old.done or new.name < old.name:
            yield from _compare(pair.path, None, new.entry)
            new.advance()
        else:
            # Of the hundreds in two leaves that differ most are equal: to make them all was most of a diff's time.
            alike = old.leaf[0].count_alike(old.leaf[1], *new.leaf)
            if not alike:
                yield from _compare(pair.path, old.entry, new.entry)
            old.advance(alike or 1)
            new.advance(alike or 1)


def _compare(parent: tuple[bytes, ...], old: TreeEntry | None, new: TreeEntry | None) -> Iterator[Change | _Pair]:
    some = old or new
    assert some is not None
    path = (*parent, some.name)
    below_old = old.directory if old is not None else None
    below_new = new.directory if new is not None else None
    both = below_old is not None and below_new is not None
    if (
        old is None
        or new is None
        or not ((both and old.metadata == new.metadata) or (old.kind is not Kind.DIRECTORY and same_content(old, new)))
    ):
        yield Change(path, old, new)
    if below_old is not None or below_new is not None:
        check_depth(len(path))
        yield _Pair(path, below_old, below_new)
