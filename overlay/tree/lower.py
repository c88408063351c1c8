"""The lower layer: the version that was mounted, and directories of other versions that were grafted on since.

Inodes of the version are positions in its pre-order; those of a graft count on from its first one in the same way. The
callable that gives nodes may raise `NodeMissing` (`manifest.tree`).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

import msgspec

from penstock.lru import Lru
from penstock.manifest.descend import LoadNode
from penstock.manifest.entry import Metadata, NodeRef, TreeEntry
from penstock.manifest.tree import ROOT_INODE, Inode, Tree
from penstock.overlay.tables.interface import ReadTables
from penstock.overlay.tables.schema import FIRST_NEW_INODE, GRAFTS, decode_ref, inode_key

from .refusal import Refused

__all__ = ["Lower"]


_DIRECTORIES = 16384
"""Directories kept by inode, at about 500 bytes each."""


class Lower:
    """Trees by inode. Refused ESTALE: an inode that no tree has."""

    def __init__(self, root: NodeRef, tables: ReadTables, load: LoadNode, metadata: Metadata = b"") -> None:
        """`metadata` is the root's: of the version, or of the directory that is mounted."""
        self._root = root
        self._metadata = metadata
        self._tables = tables
        self._load = load
        self._directories: Lru[int, NodeRef] = Lru(_DIRECTORIES)
        self.hidden: dict[int, int] = {}
        """By directory: below which position the upper layer is known to hide all (`namespace`)."""

    def loading(self, load: LoadNode) -> Lower:
        """Return the same trees, asking something else for nodes. What is known of directories is shared."""
        other = Lower(self._root, self._tables, load, self._metadata)
        other._directories, other.hidden = self._directories, self.hidden  # its own class
        return other

    def _tree(self, inode: int) -> tuple[Tree, int] | None:
        """Return the tree that an inode is in, and what its numbers there are less by; None: it is in none."""
        if inode < FIRST_NEW_INODE:
            return (Tree(self._root, self._load), 0) if 0 < inode <= 1 + self._root.entries else None
        found = self._tables.floor(GRAFTS, inode_key(inode))
        if found is None:
            return None
        first, ref = int.from_bytes(found[0], "big"), decode_ref(found[1])
        return (Tree(ref, self._load), first - ROOT_INODE) if inode - first <= ref.entries else None

    def has(self, inode: int) -> bool:
        """Whether an inode is one of a tree's."""
        return self._tree(inode) is not None

    def entry(self, inode: int) -> TreeEntry:
        """Return what a tree has at an inode."""
        tree, shift = self._of(inode)
        entry = tree.by_inode(Inode(inode - shift))
        return msgspec.structs.replace(entry, metadata=self._metadata) if inode == ROOT_INODE else entry

    def directory(self, inode: int) -> NodeRef | None:
        """Return the content of a directory of a tree; None: it is no directory, or in no tree."""
        known = self._directories.get(inode)
        if known is not None:
            return known
        found = self._tree(inode)
        return self.keep(inode, found[0].by_inode(Inode(inode - found[1])).directory) if found is not None else None

    def keep(self, inode: int, ref: NodeRef | None) -> NodeRef | None:
        """Remember the content of a directory: trees do not change. It will be asked for by what is looked up in it."""
        if ref is not None:
            self._directories.put(inode, ref)
        return ref

    def find(self, directory: int, ref: NodeRef, name: bytes) -> tuple[int, TreeEntry] | None:
        """Look up a name in a directory of a tree, whose content is `ref`."""
        found = self._of(directory)[0].find(ref, name)
        if found is None:
            return None
        inode = directory + 1 + found[1]
        self.keep(inode, found[0].directory)
        return inode, found[0]

    def children(self, directory: int, ref: NodeRef, position: int) -> Iterator[tuple[int, int, TreeEntry]]:
        """Yield what a directory of a tree holds from a position on: position, inode, entry."""
        for at, entry in self._of(directory)[0].children_from(ref, position):
            yield at, directory + 1 + at, entry

    def way(self, inode: int) -> list[tuple[int, bytes]]:
        """Return the inodes and names that lead to an inode from its tree's root, which is not among them."""
        tree, shift = self._of(inode)
        found: list[tuple[int, bytes]] = []
        at, ref = ROOT_INODE, tree.root
        for name in tree.path_of(Inode(inode - shift)):
            step = tree.lookup(at, ref, name)
            assert step is not None  # the tree has just named it
            at = step[0]
            ref = step[1].directory or ref
            found.append((at + shift, name))
        return found

    def root_of(self, inode: int) -> int:
        """Return the inode of the root of the tree that an inode is in."""
        return self._of(inode)[1] + ROOT_INODE

    def _of(self, inode: int) -> tuple[Tree, int]:
        found = self._tree(inode)
        if found is None:
            raise Refused(errno.ESTALE, "no such inode")
        return found
