"""After a commit has landed: the overlay takes note, step by step, while the mount goes on.

First what others changed meanwhile is taken in as clean records (`clean_records`); then one change says that all up to
the frozen sequence is committed, and in which version; that is the commit's effect. After it, file by file, records
point to their entries in the new version, and the frozen data files go.

A crash in between loses nothing: before that one change the commit is found by its intent, and what was taken in is
taken in again; after it, files whose frozen data is still there are read from it, and compared when they are next
committed.

**Invariant:** a step looks first and changes last, so one that ends in `NodeMissing` can be taken again.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec

from penstock.errors import ConflictError
from penstock.manifest import diff
from penstock.manifest.descend import LoadNode
from penstock.manifest.entry import Kind, NodeRef, PageRef, TreeEntry, display_path
from penstock.manifest.tree import ROOT_INODE
from penstock.overlay.overlay import Overlay
from penstock.overlay.tables.intent import clear_intent
from penstock.overlay.tables.interface import ReadTables
from penstock.overlay.tables.meta import Origin
from penstock.overlay.tables.schema import INODES, InodeRecord, TableChange, decode_entry, encode_entry, inode_key
from penstock.overlay.tree.clean_records import Stale, absorb, is_dirty
from penstock.overlay.tree.editor import Editor
from penstock.overlay.tree.namespace import MergedNode, Namespace

from .spool import Spool

__all__ = ["Settlement", "Settling", "upstream"]

_HEAD = struct.Struct("<QI")
_STEP_SECONDS = 0.001
_SHOWN = 20


class Settlement:
    """New entries of committed files, in the order of committing: on disk when they are many.

    `directory` is the overlay's, for when the folder for temporary files is full.
    """

    def __init__(self, directory: str) -> None:
        self._resolve: Callable[[bytes], bytes] = bytes
        self._spool = Spool([directory])
        self.files = 0

    def add(self, inode: int, entry: TreeEntry) -> None:
        """Keep a file's entry. PenstockError: no disk has room for it."""
        body = encode_entry(entry)
        self._spool.write(_HEAD.pack(inode, len(body)))
        self._spool.write(body)
        self.files += 1

    def resolve(self, resolve: Callable[[bytes], bytes]) -> None:
        """Say how packs of nodes are named, now that all are full: pages of block hashes lie in them."""
        self._resolve = resolve

    def read(self) -> Iterator[tuple[int, bytes]]:
        """Yield inodes and encoded entries."""
        self._spool.rewind()
        while head := self._spool.read(_HEAD.size):
            inode, length = _HEAD.unpack(head)
            body = self._spool.read(length)
            entry = decode_entry(body)
            yield inode, encode_entry(self._located(entry)) if entry.pages else body

    def _located(self, entry: TreeEntry) -> TreeEntry:
        pages = []
        for page in entry.pages:
            where = msgspec.structs.replace(page.location, pack=self._resolve(page.location.pack))
            pages.append(PageRef(page.hash, where))
        return msgspec.structs.replace(entry, pages=tuple(pages))

    def close(self) -> None:
        """Forget them."""
        self._spool.close()


def upstream(old: NodeRef | None, new: NodeRef | None, load: LoadNode) -> list[diff.Change]:
    """Return what differs between two directories, whole directories that came or went as one change. Blocking."""
    return list(diff.changes(old, new, load, load))


class Settling:
    """Takes an overlay to what has landed: `step` until it returns False, in the overlay's thread.

    All up to `sequence` is in the version of `origin`; `others` is what that version has beyond it. `frozen` are the
    tables that were committed, `settlement` the new entries of files; None: they stay as they are. `stale` grows by
    what the kernel has to forget.
    """

    def __init__(
        self,
        overlay: Overlay,
        editor: Editor,
        origin: Origin,
        sequence: int,
        others: Sequence[diff.Change],
        frozen: ReadTables | None,
        settlement: Settlement | None,
        is_open: Callable[[int], bool],
    ) -> None:
        self._overlay = overlay
        self._editor = editor
        self._origin = origin
        self._sequence = sequence
        self._others = others
        self._frozen = frozen
        self._is_open = is_open
        self._files = settlement.read() if settlement is not None else iter(())
        self._checked = self._absorbed = 0
        self.noted = False
        """Whether the overlay has taken note: from then on, all up to the sequence is committed."""
        self._renewed: set[int] = set()
        """What others' changes have replaced: when a conflict was settled their way, it has their content."""
        self.stale: list[Stale] = []

    def step(self, view: Namespace) -> bool:
        """Take the next step, of about a millisecond; False when there is none left.

        NodeMissing: again, with the node. ConflictError: what others changed was changed here since the commit
        began, so nothing is settled, and the next commit merges with what landed. OSError: the overlay's disk refuses.
        """
        end = time.monotonic() + _STEP_SECONDS
        try:
            while not self.noted:
                self._take_in(view)
                if time.monotonic() > end:
                    return True
        except ConflictError:
            # As if it had not landed: the next commit merges with it.
            self._editor.apply([clear_intent()], self._editor.counters)
            raise
        return self._settle_files(view, end)

    def _take_in(self, view: Namespace) -> None:
        if self._checked < len(self._others):
            self._check(view)
        elif self._absorbed < len(self._others):
            drop = self._overlay.content.drop
            change = self._others[self._absorbed]
            stale = absorb(self._editor, view, change, self._sequence, drop, self._is_open)
            self._renewed.update(each.inode for each in stale)
            self.stale += stale
            self._absorbed += 1
        else:
            self._note(view)

    def _check(self, view: Namespace) -> None:
        """Look at what others changed, all in one step, so that nothing comes between this and the taking in."""
        dirty = [change.path for change in self._others if is_dirty(view, change, self._sequence)]
        if dirty:
            shown = ", ".join(map(display_path, dirty[:_SHOWN])) + (" and more" if len(dirty) > _SHOWN else "")
            raise ConflictError(
                f"{len(dirty)} {'path has' if len(dirty) == 1 else 'paths have'} changed here and there",
                why=f"others changed them meanwhile: {shown}",
                fix="penstock conflicts shows both sides; a commit merges what differs, and takes --ours or --theirs",
            )
        self._checked = len(self._others)

    def _note(self, view: Namespace) -> None:
        committed = max(self._sequence, self._editor.counters.committed)
        counters = self._editor.counters._replace(committed=committed)
        changes = [self._origin.change(), clear_intent()]
        root = view.record(ROOT_INODE)
        if root is not None and root.sequence <= self._sequence and root.metadata != self._origin.metadata:
            entry = TreeEntry(b"", Kind.DIRECTORY, metadata=self._origin.metadata)
            mode = self._editor.record_of(MergedNode(ROOT_INODE, None, entry)).mode
            renewed = msgspec.structs.replace(root, mode=mode, own_mode=False, metadata=entry.metadata)
            changes.append(TableChange(INODES, inode_key(ROOT_INODE), renewed.encode()))
        self._editor.apply(changes, counters)
        self._overlay.settle(self._origin)
        self.noted = True

    def _settle_files(self, view: Namespace, end: float) -> bool:
        for inode, entry in self._files:
            record = view.record(inode)
            frozen = self._frozen_record(inode)
            if record is not None and frozen is not None and inode not in self._renewed:
                changed, changes = self._overlay.content.landed(inode, record, frozen)
                changed = msgspec.structs.replace(changed, entry=entry)
                self._editor.apply(
                    [TableChange(INODES, inode_key(inode), changed.encode()), *changes], self._editor.counters
                )
            if time.monotonic() > end:
                return True
        return False

    def _frozen_record(self, inode: int) -> InodeRecord | None:
        value = self._frozen.get(INODES, inode_key(inode)) if self._frozen is not None else None
        return InodeRecord.decode(value) if value is not None else None
