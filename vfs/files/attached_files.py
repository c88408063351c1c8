"""Files that are attached to a version's commit, as a mount shows them: at the root, after all that the version has.

Their inodes lie above all others and are named by content, so that one stands for the same bytes whichever version the
mount is brought to, and no inode of a version depends on them. They are files alone; a name that the version itself has
is the version's. Pure but for the nodes that are asked for.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from penstock.manifest.entry import NodeRef, TreeEntry
from penstock.manifest.tree import Inode, LoadNode, Tree

__all__ = ["FIRST_ATTACHED_INODE", "AttachedFile", "attached_files"]

_HASHED_BITS = 40
FIRST_ATTACHED_INODE = (1 << 49) - (1 << _HASHED_BITS)
"""What a handle can name (`file_handles`) ends with them; what is new in a mount begins far below."""
_MOST = 64


class AttachedFile(NamedTuple):
    """One of them: its number in the listing of them, its inode, and what it is."""

    number: int
    inode: Inode
    entry: TreeEntry


def attached_files(root: NodeRef | None, attachments: NodeRef | None, load: LoadNode) -> list[AttachedFile]:
    """Return the files that are attached, but for names that the tree at `root` has; `load` as for `Tree`."""
    if attachments is None:
        return []
    tree = Tree(attachments, load)
    found = []
    for number, (_, entry) in enumerate(islice(tree.children(attachments), _MOST)):
        if entry.is_file and (root is None or tree.find(root, entry.name) is None):
            inode = FIRST_ATTACHED_INODE + int.from_bytes(entry.hash[: _HASHED_BITS // 8], "big")
            found.append(AttachedFile(number, Inode(inode), entry))
    return found
