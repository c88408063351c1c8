"""The blocking part of a commit: data and nodes of the new version, from a snapshot of the overlay, into the bucket.

**Invariant:** nothing that anybody sees changes: what is sent is named by its hash.

Used by `commit`, in a thread that may block.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass

import msgspec

from penstock.cache import LocationIndex
from penstock.errors import NotFoundError
from penstock.manifest.build import DiscardSink
from penstock.manifest.entry import Entry, NodeRef, split_path
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree
from penstock.manifest.update import EMPTY_DIRECTORY, update
from penstock.overlay.content.file_content import FileContent, Segment
from penstock.overlay.tables.durable_tables import Reader
from penstock.overlay.tables.meta import ChangeCounters, Origin
from penstock.overlay.tables.schema import InodeRecord
from penstock.overlay.tree.changes import Changes
from penstock.overlay.tree.lower import Lower
from penstock.overlay.tree.namespace import Namespace
from penstock.progress import Progress, Stage
from penstock.repo.read.snapshot import Snapshot
from penstock.repo.settings.settings import Settings
from penstock.repo.write.data_pack import DataPack
from penstock.repo.write.known_places import KnownPlaces
from penstock.repo.write.node_pack import NodePackWriter
from penstock.repo.write.upload import Sent, Upload

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
    """A version that could be published, and what it took: files and bytes that were read, objects that were sent."""

    manifest: Manifest
    files: int
    bytes: int
    data: Sent
    nodes: Sent


class _Counted:
    """Counts objects instead of sending them: for a dry run."""

    def __init__(self, sending: Stage) -> None:
        self._sending = sending
        self._known: set[str] = set()
        self.sent = Sent()

    def send(self, key: str, body: bytes | bytearray, *, data: bool) -> None:
        """Count an object, once."""
        if data and key not in self._known:
            self._known.add(key)
            self.sent.objects += 1
            self.sent.bytes += len(body)
            self._sending.advance(len(body))


def mounted_directory(manifest: Manifest, subdir: str, version: Snapshot) -> Entry | None:
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
    settings: Settings,
    settlement: Settlement,
    progress: Progress,
    *,
    hold: Callable[[], None],
    dry_run: bool = False,
) -> Built | None:
    """Make a version of what an overlay has changed; None when it has changed nothing. With `dry_run`, send nothing.

    `hold` is called before anything is looked for in the bucket, to keep there what is found.

    Any of `penstock.errors` from the store; OSError from the overlay's files.
    """
    origin, load = frozen.origin, version.load
    top = mounted_directory(origin.manifest, origin.subdir, version)
    committed = top.directory if top is not None and top.directory is not None else EMPTY_DIRECTORY
    view = Namespace(frozen.reader, Lower(origin.lower, frozen.reader, load, origin.metadata))
    changes = Changes(frozen.reader, view, frozen.counters.committed, committed, load)
    if changes.is_empty:
        return None
    files = total = 0
    reading, sending = progress.stage("reading"), progress.stage("uploading")

    def count(more: int, size: int) -> None:
        nonlocal files, total
        files += more
        total += size
        reading.advance(size)

    def edit(sender: Upload | _Counted, sink: NodePackWriter | DiscardSink, pack: DataPack) -> tuple[NodeRef, bytes]:
        kept = KeptBlocks(version.keep_blocks, version.cache_size // 2 if not dry_run else 0)
        composer = Composer(frozen, version, sink, sender, pack, places, kept)
        stream = EditStream(composer, pack, split_path(origin.subdir), top, settlement.add, count)
        root = update(origin.manifest.root, stream.edits(changes.walk()), load, sink)
        kept.flush()
        return root, origin.manifest.metadata if stream.metadata is None else stream.metadata

    store = version.repository.store
    with ExitStack() as stack:
        index = stack.enter_context(closing(LocationIndex(settings.cache_directory, settings.cache_size)))
        places = KnownPlaces(store, index, Tree(origin.manifest.root, load), origin.manifest.top_hash, enter=False)
        if dry_run:
            counted = _Counted(sending)
            root, metadata = edit(counted, DiscardSink(), DataPack(counted, None))
            return Built(Manifest(root, metadata), files, total, counted.sent, Sent())
        hold()
        upload = stack.enter_context(closing(Upload(store, sending)))
        nodes = NodePackWriter(lambda key, body: upload.send(key, body, data=False))
        root, metadata = edit(upload, nodes, DataPack(upload, places))
        nodes.flush()
        settlement.resolve(nodes.resolve)
        upload.finish()
        manifest = Manifest(nodes.located(root), metadata)
        places.published(manifest.top_hash)
        return Built(manifest, files, total, upload.sent[True], upload.sent[False])
