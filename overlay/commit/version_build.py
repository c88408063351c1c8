"""The blocking part of a commit: data and nodes of the new version, from a snapshot of the overlay, into the bucket.

**Invariant:** nothing that anybody sees changes: what is sent is named by its hash.

In a thread that may block.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from penstock.errors import NotFoundError
from penstock.manifest.entry import TreeEntry, split_path
from penstock.manifest.file_attributes import with_times
from penstock.manifest.records import Manifest, format_time
from penstock.manifest.tree import Tree
from penstock.manifest.update import EMPTY_DIRECTORY, update
from penstock.overlay.content.file_content import FileContent, Segment
from penstock.overlay.outcomes import SpecialFile
from penstock.overlay.tables.durable_tables import Reader
from penstock.overlay.tables.meta import ChangeCounters, Origin
from penstock.overlay.tables.schema import InodeRecord
from penstock.overlay.tree.changes import Changes
from penstock.overlay.tree.lower import Lower
from penstock.overlay.tree.namespace import Namespace
from penstock.progress import Progress
from penstock.repo.read.snapshot import Snapshot
from penstock.repo.write.upload import Sent
from penstock.repo.write.version_writer import VersionWriter

from .file_composer import Composer
from .kept_blocks import KeptBlocks
from .settlement import Settlement
from .tree_edits import EditStream

__all__ = ["Built", "Frozen", "build_version", "mounted_directory"]


@dataclass(frozen=True, slots=True)
class Frozen:
    """An overlay at one moment: `counters` say how far it had come, `reader` is a snapshot of its tables."""

    origin: Origin
    counters: ChangeCounters
    reader: Reader
    content: FileContent

    def segments(self, inode: int, record: InodeRecord, start: int, end: int) -> list[Segment]:
        """Say where the bytes of a range of a file are."""
        return self.content.segments(inode, record, start, end, self.reader)

    def read_file(
        self, inode: int, record: InodeRecord, start: int, end: int, lower: Callable[[int, int], bytes]
    ) -> bytes:
        """Read a range of a file."""
        return self.content.read_file(inode, record, start, end, lower, self.reader)


@dataclass(frozen=True, slots=True)
class Built:
    """A version that could be published, and what it took: files and bytes that were read, objects that were sent.

    `skipped` could not be taken. `times`: of so many entries the modification time was set, and nothing else changed.
    """

    manifest: Manifest
    files: int
    bytes: int
    data: Sent
    nodes: Sent
    skipped: list[SpecialFile]
    times: int


def mounted_directory(manifest: Manifest, subdir: str, version: Snapshot) -> TreeEntry | None:
    """Return what a version has where an overlay's root is, with its metadata; None: nothing. Blocking."""
    names = split_path(subdir)
    try:
        entry = Tree(manifest.root, version.load).resolve(names)[1]
    except NotFoundError:
        return None
    return entry if names else msgspec.structs.replace(entry, metadata=manifest.metadata)


def build_version(
    frozen: Frozen,
    version: Snapshot,
    writer: VersionWriter,
    settlement: Settlement,
    progress: Progress,
    *,
    times: bool = False,
) -> Built:
    """Make a version of what an overlay has changed; the one that it is of when that is nothing.

    With `times`, modification times that somebody set are recorded where nothing else was changed, too.

    Before anything is looked for in the bucket, the writer takes its lease, to keep there what is found; not so one
    that sends nothing. Any of `penstock.errors` from the store; OSError from the overlay's files.
    """
    origin, load = frozen.origin, version.load
    top = mounted_directory(origin.manifest, origin.subdir, version)
    committed = top.directory if top is not None and top.directory is not None else EMPTY_DIRECTORY
    view = Namespace(frozen.reader, Lower(origin.lower, frozen.reader, load, origin.metadata))
    changes = Changes(frozen.reader, view, frozen.counters.committed, committed, load, times=times)
    if changes.is_empty:
        return Built(origin.manifest, 0, 0, Sent(), Sent(), [], changes.times)
    files = total = 0
    reading = progress.stage("reading")

    def count(more: int, size: int) -> None:
        nonlocal files, total
        files += more
        total += size

    if not writer.dry_run:
        writer.hold(origin.version)
    with writer.content(origin.manifest, enter=False) as content:
        kept = KeptBlocks(version.keep_blocks, version.cache_size // 2 if not writer.dry_run else 0)
        composer = Composer(frozen, version, content, kept, reading.advance)
        prefix = split_path(origin.subdir)
        stream = EditStream(composer, content.data, prefix, top, settlement.add, count, times=times)
        root = update(origin.manifest.root, stream.edits(changes.walk()), load, content)
        kept.flush()
        metadata = origin.manifest.metadata if stream.metadata is None else stream.metadata
        count_of_times = changes.times + stream.times
        if times and count_of_times and (root.hash, metadata) == (origin.manifest.root.hash, origin.manifest.metadata):
            metadata = with_times(version.read_metadata(metadata), format_time(dt.datetime.now(dt.UTC)))
        manifest = content.finish(root, metadata)
        settlement.resolve(content.resolve)
        return Built(manifest, files, total, content.sent[True], content.sent[False], stream.skipped, count_of_times)
