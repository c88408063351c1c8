"""From what was changed to the edits of a tree, in tree order, with new contents on their way to the bucket.

What lies in the pack that is being filled has no place yet; its edit waits, and so does what comes after it, until the
pack is full (`pack_queue`). In a thread that may block.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec

from penstock.manifest.diff import same_content
from penstock.manifest.entry import Extents, Kind, Metadata, TreeEntry, display_path
from penstock.manifest.hashing import content_hash
from penstock.manifest.update import Edit
from penstock.overlay.outcomes import SpecialFile
from penstock.overlay.tables.schema import InodeRecord, decode_entry
from penstock.overlay.tree.changes import Changed
from penstock.repo.write.data_pack import DataPack
from penstock.repo.write.pack_queue import PackQueue

from .file_composer import Composer

__all__ = ["EditStream"]


_MOST_SEVERAL = 65536
"""Files of several names whose new entries are kept, so that none is read twice; beyond that some are."""


class _Waiting(NamedTuple):
    """An edit to come, and the inode of the file whose new entry it puts; 0: that is settled by another edit."""

    edit: Edit | None
    inode: int
    entry: TreeEntry | None


class EditStream:
    """Makes edits of changes; `prefix` is where the mount's root is in the version, `top` what the version has there.

    `settle` is told the new entry of each file that was composed, as soon as its place is known; `count` the files
    and bytes that were read. `metadata` is, after the last edit, what the version's own is to be; None: as it was.
    `skipped`: paths of what no version holds, and what each is. With `times`, another modification time alone is put;
    `times` counts files that were written anew and have another one, and the content that they had.
    """

    def __init__(
        self,
        composer: Composer,
        pack: DataPack,
        prefix: tuple[bytes, ...],
        top: TreeEntry | None,
        settle: Callable[[int, TreeEntry], None],
        count: Callable[[int, int], None],
        *,
        times: bool = False,
    ) -> None:
        self._composer = composer
        self._prefix = prefix
        self._top = top
        self._settle = settle
        self._count = count
        self._times = times
        self._queue: PackQueue[_Waiting] = PackQueue(pack)
        self._several: dict[int, TreeEntry] = {}
        self.skipped: list[SpecialFile] = []
        self.times = 0
        self.metadata: Metadata | None = None

    def edits(self, changes: Iterable[Changed]) -> Iterator[Edit]:
        """Yield the edits; the last pack is sent before the last of them."""
        for changed in changes:
            waiting = self._take(changed)
            if waiting is not None:
                self._queue.put(waiting, waiting.entry.extents if waiting.entry is not None else ())
                yield from self._placed(self._queue.ready())
        yield from self._placed(self._queue.rest())

    def _placed(self, ready: Iterable[tuple[_Waiting, Extents]]) -> Iterator[Edit]:
        for (edit, inode, entry), extents in ready:
            if entry is None:
                placed = edit
            else:
                entry = msgspec.structs.replace(entry, extents=extents)
                if inode:
                    self._settle(inode, entry)
                placed = edit._replace(entry=entry) if edit is not None else None
            if placed is not None:
                yield placed

    def _take(self, changed: Changed) -> _Waiting | None:
        record = changed.record
        path = (*self._prefix, *changed.path)
        if record is not None and record.special:
            if changed.dirty:
                what = "socket" if stat.S_ISSOCK(record.special) else "named pipe"
                self.skipped.append(SpecialFile(display_path(changed.path), what))
            record = None
        if record is None:
            if changed.committed is None and not changed.forced:
                return None  # there is nothing to remove
            return _Waiting(Edit(path, None, missing_ok=True), 0, None)
        if not changed.path:
            return self._root(changed, record)
        if record.kind is Kind.DIRECTORY:
            return self._directory(changed, record, path)
        known = self._several.get(changed.inode) if record.links else None
        if record.kind is Kind.SYMLINK:
            entry = _entry_of(
                record, path[-1], TreeEntry(b"", record.kind, len(record.target), content_hash(record.target))
            )
            composed = False
        elif known is not None:
            entry, composed = _entry_of(record, path[-1], known), True
        else:
            entry, composed = self._file(changed, record)
            if record.links > 1 and composed and len(self._several) < _MOST_SEVERAL:
                self._several[changed.inode] = entry
        # What the version has already needs no edit; where a directory above begins with less, it has to be put.
        was = changed.committed
        same = not changed.forced and was is not None and same_content(was, entry)
        if same and was is not None and was.mtime_ns != entry.mtime_ns:
            self.times += composed
            same = not self._times
        edit = None if same else Edit(path, entry)
        if edit is None and not composed:
            return None
        return _Waiting(edit, changed.inode if known is None else 0, entry if composed else None)

    def _root(self, changed: Changed, record: InodeRecord) -> _Waiting | None:
        if not self._prefix:
            self.metadata = record.kept_metadata if changed.dirty else None
            return None
        metadata = record.kept_metadata if changed.dirty or self._top is None else self._top.metadata
        entry = TreeEntry(self._prefix[-1], Kind.DIRECTORY, mtime_ns=record.mtime_ns, metadata=metadata)
        return _Waiting(Edit(self._prefix, entry), 0, None)

    def _directory(self, changed: Changed, record: InodeRecord, path: tuple[bytes, ...]) -> _Waiting | None:
        was = changed.committed if not changed.linked and not changed.forced else None
        if was is not None and was.mtime_ns == record.mtime_ns and was.metadata == record.kept_metadata:
            return None
        entry = _entry_of(record, path[-1], TreeEntry(b"", Kind.DIRECTORY, directory=changed.base))
        return _Waiting(Edit(path, entry), 0, None)

    def _file(self, changed: Changed, record: InodeRecord) -> tuple[TreeEntry, bool]:
        """Return a file's entry, and whether its content had to be read."""
        name = changed.path[-1]
        old = decode_entry(record.entry) if record.entry else None
        if old is not None and old.is_file and not record.layers and record.shown == record.size == old.size:
            return _entry_of(record, name, old), False
        found = self._composer.compose(changed.inode, record, old, changed.committed)
        self._count(1, record.size)
        content = TreeEntry(
            b"", record.kind, found.size, found.hash, 0, b"", b"", found.extents, found.blocks, found.pages
        )
        return _entry_of(record, name, content), True


def _entry_of(record: InodeRecord, name: bytes, content: TreeEntry) -> TreeEntry:
    """Return the entry of an inode: its name, and the rest of its record, around a content."""
    return msgspec.structs.replace(
        content,
        name=name,
        kind=record.kind,
        mtime_ns=record.mtime_ns,
        metadata=record.kept_metadata,
        target=record.target,
    )
