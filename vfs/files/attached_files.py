"""Files that are attached to a version's commit, as a mount shows them: at the root, after all that the version has.

Their inodes follow the last one of the version's, so that no inode of the version depends on them. They are files
alone; a name that the version itself has is the version's. Pure but for the nodes that are asked for.
"""

from __future__ import annotations

from typing import NamedTuple

from penstock.manifest.entry import NodeRef, TreeEntry
from penstock.manifest.tree import ROOT_INODE, Inode, LoadNode, Tree

__all__ = ["AttachedFile", "attached_files"]

_MOST = 64


class AttachedFile(NamedTuple):
    """One of them: where it is listed, counted from the version's first entry, its inode, and what it is."""

    position: int
    inode: Inode
    entry: TreeEntry


def attached_files(root: NodeRef, attachments: NodeRef | None, load: LoadNode) -> list[AttachedFile]:
    """Return the files that are attached to the version whose tree is `root`; `load` as for `Tree`."""
    if attachments is None:
        return []
    tree = Tree(root, load)
    found = []
    for at, entry in Tree(attachments, load).children(attachments):
        if at >= _MOST:
            break
        if entry.is_file and tree.find(root, entry.name) is None:
            position = root.entries + at
            found.append(AttachedFile(position, Inode(ROOT_INODE + 1 + position), entry))
    return found
