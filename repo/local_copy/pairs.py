"""A version and a directory gone through side by side, and what of them is equal: names, kinds, sizes, bytes.

Both are walked in tree order, with the listings of the local directories on the way in memory. What the directory's
ignore files leave out of a push is not looked at, unless the version has it. Nothing is changed.
"""

from __future__ import annotations

import enum
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from penstock.manifest.entry import BLOCK_SIZE, Kind, NodeRef, TreeEntry, block_count
from penstock.manifest.hashing import content_hash
from penstock.manifest.tree import Tree
from penstock.repo.push.ignore_rules import IgnoreRules

from .choice import Choice, Standing
from .local_directory import LocalDirectory, LocalName, Names

__all__ = ["Pair", "State", "check_content", "equal_blocks", "first_look", "is_blocking", "pairs"]


KnownHash = Callable[[TreeEntry, int], bytes | None]
"""The hash of the content of a block of a file; None: nobody knows it."""


class Pair(NamedTuple):
    """One name: its entry of the version, and what lstat(2) says of it here; None where it is not there."""

    names: Names
    entry: TreeEntry | None
    status: os.stat_result | None


class State(enum.Enum):
    """What a name of the directory is, beside the version."""

    SAME = "same"
    MISSING = "missing"
    EXTRA = "extra"
    MODIFIED = "modified"
    OTHER_KIND = "other kind"
    OTHER_MODE = "other mode"
    """A file with the same bytes that is executable, or not, where the version says otherwise."""
    UNREAD = "unread"
    """What it is, its content has to tell."""
    UNKNOWN = "unknown"
    """A file of the right size, where the version says nothing of the content: it is pinned by identity, and was never
    read here."""


def first_look(pair: Pair) -> State:
    """Return what can be said without reading."""
    entry, status = pair.entry, pair.status
    if status is None:
        return State.MISSING
    if entry is None:
        return State.EXTRA
    kind = stat.S_IFMT(status.st_mode)
    if entry.directory is not None:
        return State.SAME if kind == stat.S_IFDIR else State.OTHER_KIND
    if entry.kind is Kind.SYMLINK:
        return State.UNREAD if kind == stat.S_IFLNK else State.OTHER_KIND
    if kind != stat.S_IFREG:
        return State.OTHER_KIND
    return State.UNREAD if status.st_size == entry.size else State.MODIFIED


def is_blocking(pair: Pair) -> bool:
    """Whether what is here has to go before the entry can have its place: one of the two is a directory."""
    if pair.status is None or pair.entry is None:
        return False
    return (pair.entry.directory is not None) != stat.S_ISDIR(pair.status.st_mode)


def is_other_mode(entry: TreeEntry, mode: int) -> bool:
    """Whether a file is executable by its owner, or not, where the version says otherwise."""
    return (entry.kind is Kind.EXECUTABLE) != bool(mode & stat.S_IXUSR)


def check_content(directory: LocalDirectory, pair: Pair, known_hash: KnownHash) -> State:
    """Return what an `UNREAD` file or symlink is, by its content."""
    entry = pair.entry
    assert entry is not None
    if entry.kind is Kind.SYMLINK:
        return State.SAME if directory.read_link(pair.names) == entry.target else State.MODIFIED
    descriptor = directory.open_file(pair.names)
    if descriptor is None:  # it was replaced by something else since it was listed
        return State.MODIFIED
    try:
        with directory.explained("read", pair.names):
            status = os.fstat(descriptor)
            if status.st_size != entry.size:
                return State.MODIFIED
            is_known = True
            for is_equal in equal_blocks(descriptor, entry, known_hash):
                if is_equal is False:
                    return State.MODIFIED
                is_known = is_known and is_equal is not None
            if not is_known:
                return State.UNKNOWN
    finally:
        os.close(descriptor)
    return State.OTHER_MODE if is_other_mode(entry, status.st_mode) else State.SAME


def equal_blocks(descriptor: int, entry: TreeEntry, known_hash: KnownHash) -> Iterator[bool | None]:
    """Yield of each block of a file whether a local file has the same bytes at the same place; None: nobody knows."""
    for index in range(block_count(entry.size)):
        wanted = known_hash(entry, index)
        if wanted is None:
            yield None
            continue
        length = min(BLOCK_SIZE, entry.size - index * BLOCK_SIZE)
        data = os.pread(descriptor, length, index * BLOCK_SIZE)
        yield len(data) == length and content_hash(data) == wanted


def pairs(tree: Tree, root: NodeRef, directory: LocalDirectory, choice: Choice) -> Iterator[Pair]:
    """Yield every name that the version or the directory has, as far as it is meant, in tree order.

    What is below a directory that the version does not have is not gone into: it is one name.
    """
    stack = [_Level(tree, root, directory, (), choice.start, IgnoreRules.at_top(os.fsencode(directory.path)))]
    walks = [iter(stack[0].pairs(choice))]
    while walks:
        level = stack[-1]
        for pair, standing in walks[-1]:
            if pair is not None:
                yield pair
            if standing is not None:
                stack.append(level.below(standing))
                walks.append(iter(stack[-1].pairs(choice)))
                break
        else:
            walks.pop()
            stack.pop()


class _Below(NamedTuple):
    """A directory of the version to go into: whether there is one here, and where it stands."""

    entry: TreeEntry
    is_here: bool
    at: Standing


class _Level:
    """One directory of the version, and the one here, if there is one."""

    def __init__(
        self,
        tree: Tree,
        ref: NodeRef,
        directory: LocalDirectory,
        names: Names,
        at: Standing,
        rules: IgnoreRules | None,
    ) -> None:
        self._tree = tree
        self._ref = ref
        self._directory = directory
        self._names = names
        self._at = at
        self._rules = rules
        """None: there is no such directory here."""

    def below(self, found: _Below) -> _Level:
        """Return the level of a directory in this one."""
        names = (*self._names, found.entry.name)
        assert found.entry.directory is not None
        rules = None
        if found.is_here and self._rules is not None:
            path = os.path.join(os.fsencode(self._directory.path), *names)
            rules = self._rules.inside(path, found.entry.name)
        return _Level(self._tree, found.entry.directory, self._directory, names, found.at, rules)

    def pairs(self, choice: Choice) -> Iterator[tuple[Pair | None, _Below | None]]:
        """Yield what is meant of it, and the directories to go into."""
        for entry, status in self._merged():
            name = entry.name if entry is not None else status.name  # type: ignore[union-attr]  # one of them is there
            names = (*self._names, name)
            found = status.status if status is not None else None
            is_folder = found is not None and stat.S_ISDIR(found.st_mode)
            taken, at = choice.step(
                self._at, names, directory=entry.directory is not None if entry is not None else is_folder
            )
            if entry is None and self._rules is not None and self._rules.ignores(name, directory=is_folder):
                continue
            pair = Pair(names, entry, found) if taken else None
            if entry is not None and entry.directory is not None and at is not None:
                yield pair, _Below(entry, is_folder, at)
            elif pair is not None:
                yield pair, None

    def _merged(self) -> Iterator[tuple[TreeEntry | None, LocalName | None]]:
        here = iter(self._directory.listing(self._names) if self._rules is not None else ())
        local = next(here, None)
        for _, entry in self._tree.children(self._ref):
            while local is not None and local.name < entry.name:
                yield None, local
                local = next(here, None)
            if local is not None and local.name == entry.name:
                yield entry, local
                local = next(here, None)
            else:
                yield entry, None
        while local is not None:
            yield None, local
            local = next(here, None)
