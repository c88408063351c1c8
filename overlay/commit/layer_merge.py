"""After a commit that did not land: what it froze becomes one layer with what was frozen before, file by file.

Without that, a file that is written between commits that fail has one data file more for each, and every read looks
through all of them. Changes no tree and no content; a crash leaves each file as it was, or merged.

Used in the overlay's thread, when no commit is under way.
"""

from __future__ import annotations

import logging
import time

from penstock.overlay.overlay import Overlay
from penstock.overlay.tables.schema import INODES, InodeRecord, TableChange, inode_key
from penstock.overlay.tree.clean_records import Stale
from penstock.overlay.tree.editor import Editor
from penstock.overlay.tree.namespace import Namespace

__all__ = ["LayerMerge"]

_log = logging.getLogger(__name__)
_STEP_SECONDS = 0.001
_MOST_BYTES = 8 << 20
"""Bytes that are copied at once: about 5 ms. A file in which more would have to be keeps its layers."""


class LayerMerge:
    """Goes through all records: `step` until it returns False. The kernel has nothing to forget."""

    def __init__(self, overlay: Overlay, editor: Editor) -> None:
        self._overlay = overlay
        self._editor = editor
        self._records = overlay.records.scan(INODES, b"")
        self.stale: list[Stale] = []

    def step(self, view: Namespace) -> bool:
        """Take the next step, of some milliseconds at most; False when there is none left, or the disk refuses."""
        end = time.monotonic() + _STEP_SECONDS
        generation = self._editor.counters.generation
        try:
            for key, value in self._records:
                if len(InodeRecord.decode(value).layers) > 1:
                    self._merge(view, int.from_bytes(key, "big"), generation)
                if time.monotonic() > end:
                    return True
        except OSError as error:
            _log.warning("layers of changed files stay as they are: %s", error)
        return False

    def _merge(self, view: Namespace, inode: int, generation: int) -> None:
        record = view.record(inode)  # what was read ahead may have changed since
        if record is None:
            return
        merged, changes = self._overlay.content.merge(inode, record, generation, most_bytes=_MOST_BYTES)
        if merged != record:
            changed = TableChange(INODES, inode_key(inode), merged.encode())
            self._editor.apply([changed, *changes], self._editor.counters)
