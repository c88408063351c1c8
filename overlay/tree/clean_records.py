"""What others changed, taken into the merged tree as clean records: after a commit that merged, and for a refresh.

A directory that came is a graft: new inodes over a tree of another version, whatever its size. A file that changed
keeps its inode, so that who has it open goes on with the new content, as on any shared file system.

Used in the overlay's thread. **Invariant:** `absorb` looks first and changes last, in one change; to take the same in
again gives the same tree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from penstock.errors import ConflictError
from penstock.manifest import diff
from penstock.manifest.entry import Kind, TreeEntry, display_path
from penstock.manifest.tree import ROOT_INODE
from penstock.overlay.tables.schema import (
    GRAFTS,
    INODES,
    NAMES,
    ORDER,
    OVER,
    Name,
    TableChange,
    encode_entry,
    encode_ref,
    inode_key,
    name_key,
    order_key,
)

from .editor import Editor
from .namespace import MergedNode, Namespace
from .subtree import Subtree

__all__ = ["Drop", "Stale", "absorb", "is_dirty", "put_clean", "renew"]

Drop = Callable[[int, Sequence[tuple[int, int]]], list[TableChange]]
"""Removes data files of an inode: `file_content.FileContent.drop`."""


class Stale(NamedTuple):
    """What the kernel may not believe any longer: a name in a directory, and the content of an inode (0: none).

    `gone`: the inode has this name no more, and no other one.
    """

    parent: int
    name: bytes
    inode: int
    gone: bool = False


def is_dirty(view: Namespace, change: diff.Change, sequence: int) -> bool:
    """Whether something changed after `sequence`, at a path or around it, that is in the way of taking a change in."""
    inode = int(ROOT_INODE)
    node: MergedNode | None = None
    for depth, name in enumerate(change.path, 1):
        upper = view.name(inode, name)
        if upper is not None and upper.sequence > sequence:
            return True
        node = view.lookup(inode, name)
        if depth < len(change.path):
            if node is None or not node.is_directory:
                return True
            inode = node.inode
    if node is None:
        return False
    if node.record is not None and node.record.sequence > sequence:
        return True
    stays = change.new is not None and change.new.kind is Kind.DIRECTORY and change.old is not None
    return node.is_directory and not stays and _is_dirty_below(view, node.inode, sequence)


def _is_dirty_below(view: Namespace, directory: int, sequence: int) -> bool:
    below = Subtree(view, directory)
    if any(upper.sequence > sequence for _, _, upper in below.names()):
        return True
    return any(node.record is not None and node.record.sequence > sequence for node in below.found)


def absorb(
    editor: Editor,
    view: Namespace,
    change: diff.Change,
    sequence: int,
    drop: Drop,
    is_open: Callable[[int], bool],
) -> list[Stale]:
    """Take one change of another version in. ConflictError: something at that path changed after `sequence`.

    Its path is from the mount's root. NodeMissing: again, with the node.
    """
    if is_dirty(view, change, sequence):
        raise ConflictError(
            f"{display_path(change.path)!r} changed here and there",
            why="others changed it while it was written here",
            fix="Commit it: what differs is merged, or named.",
        )
    folder = view.resolve(change.path[:-1])
    assert folder is not None  # `is_dirty` has passed it
    whole = change.old is None or change.old.kind is not Kind.DIRECTORY
    return put_clean(editor, view, folder.inode, change.path[-1], change.new, drop, is_open, whole=whole)


def put_clean(
    editor: Editor,
    view: Namespace,
    parent: int,
    name: bytes,
    new: TreeEntry | None,
    drop: Drop,
    is_open: Callable[[int], bool],
    *,
    whole: bool,
) -> list[Stale]:
    """Have a name stand for what the committed version has, None: for nothing; it is clean then. NodeMissing: again.

    `whole`: of a directory, the content too, and not its metadata alone.
    """
    node = view.lookup(parent, name)
    if new is not None and node is not None and _stays(node, new, whole=whole):
        upper = view.name(parent, name)
        linked = upper._replace(sequence=editor.counters.committed).encode() if upper is not None else None
        renew(editor, node, new, drop, [TableChange(NAMES, name_key(parent, name), linked)] if linked else [])
        return [Stale(parent, name, node.inode)]
    counters = editor.counters
    changes = _removed(editor, view, parent, name, node, drop, is_open)
    if new is None:
        whiteout = Name(0, counters.committed, 0, OVER)
        changes.append(TableChange(NAMES, name_key(parent, name), whiteout.encode()))
    else:
        counters = counters._replace(sequence=counters.sequence + 1, inode=counters.inode + 1 + new.entries)
        changes += _added(editor, parent, name, new, counters.sequence)
    editor.apply(changes, counters)
    if node is None:
        return [Stale(parent, name, 0)]
    return [Stale(parent, name, node.inode, gone=node.record is None or node.record.links <= 1)]


def _stays(node: MergedNode, new: TreeEntry, *, whole: bool) -> bool:
    """Whether an inode goes on with another content: a file as a file, a symlink, a directory with other metadata.

    One that has other names as well does not, for what comes is about one of them; nor does a pipe or a socket.
    """
    if node.record is not None and (node.record.links > 1 or node.record.special):
        return False
    if new.kind is Kind.DIRECTORY:
        return node.is_directory and not whole
    return new.is_file == node.is_file and not node.is_directory


def renew(editor: Editor, node: MergedNode, new: TreeEntry, drop: Drop, more: Sequence[TableChange] = ()) -> None:
    """Give an inode what the committed version has; of a directory, its metadata. It is clean then.

    `more` changes are made with it.
    """
    record, committed = editor.record_of(node), editor.counters.committed
    fresh = editor.record_of(MergedNode(node.inode, None, new))
    if new.kind is Kind.DIRECTORY:
        changed = msgspec.structs.replace(
            record, mode=fresh.mode, own_mode=False, sequence=committed, metadata=new.metadata
        )
        editor.apply([TableChange(INODES, inode_key(node.inode), changed.encode()), *more], editor.counters)
        return
    changed = msgspec.structs.replace(
        record,
        kind=new.kind,
        mode=fresh.mode,
        own_mode=False,
        sequence=committed,
        content=committed,
        size=new.size,
        mtime_ns=fresh.mtime_ns,
        entry=encode_entry(new),
        shown=new.size if new.is_file else 0,
        target=new.target,
        metadata=new.metadata,
        layers=(),
    )
    changes = [TableChange(INODES, inode_key(node.inode), changed.encode()), *drop(node.inode, record.layers), *more]
    editor.apply(changes, editor.counters)


def _removed(
    editor: Editor,
    view: Namespace,
    parent: int,
    name: bytes,
    node: MergedNode | None,
    drop: Drop,
    is_open: Callable[[int], bool],
) -> list[TableChange]:
    """Take what has a name out of the tree; who has it open keeps it."""
    changes: list[TableChange] = []
    upper = view.name(parent, name)
    if upper is not None and upper.inode:
        changes.append(TableChange(ORDER, order_key(parent, upper.cookie), None))
    if node is None:
        return changes
    gone = [node]
    if node.is_directory:
        below = Subtree(view, node.inode)
        for directory, below_name, under in below.names():
            changes.append(TableChange(NAMES, name_key(directory, below_name), None))
            if under.inode:
                changes.append(TableChange(ORDER, order_key(directory, under.cookie), None))
        gone += below.found
    names = Counter(each.inode for each in gone)
    for each in {each.inode: each for each in gone}.values():
        if each.record is not None and each.record.links > names[each.inode]:
            left = msgspec.structs.replace(each.record, links=each.record.links - names[each.inode])
            changes.append(TableChange(INODES, inode_key(each.inode), left.encode()))
        elif is_open(each.inode):
            orphan = msgspec.structs.replace(editor.record_of(each), parent=0, links=0)
            changes.append(TableChange(INODES, inode_key(each.inode), orphan.encode()))
        elif each.record is not None:
            changes.append(TableChange(INODES, inode_key(each.inode), None))
            changes += drop(each.inode, each.record.layers)
    return changes


def _added(editor: Editor, parent: int, name: bytes, entry: TreeEntry, cookie: int) -> list[TableChange]:
    inode = editor.counters.inode
    committed = editor.counters.committed
    record = msgspec.structs.replace(editor.record_of(MergedNode(inode, None, entry)), parent=parent, name=name)
    changes = [
        TableChange(INODES, inode_key(inode), record.encode()),
        TableChange(NAMES, name_key(parent, name), Name(inode, committed, cookie, OVER).encode()),
        TableChange(ORDER, order_key(parent, cookie), name),
    ]
    if entry.directory is not None:
        changes.append(TableChange(GRAFTS, inode_key(inode), encode_ref(entry.directory)))
    return changes
