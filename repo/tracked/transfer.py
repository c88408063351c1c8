"""A version goes from one bucket to another: what the other has is referred to, the rest is read, checked, packed.

`send_version` edits a version that the target has into the one that is sent: equal directories are never looked into,
and what is sent is small files in new packs and changed blocks of large ones, whatever packs they lie in here. Objects
elsewhere that entries point to stay where they are.

`bring_metadata` and `bring_data` copy node packs and data objects as they are, under the hashes that name them, into
the upper bucket of a session that is layered: a version can be read then, or all of it, with no network.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from msgspec import structs

from penstock.errors import IntegrityError
from penstock.manifest.diff import Change, diff
from penstock.manifest.entry import (
    BLOCK_SIZE,
    DocumentRef,
    External,
    Kind,
    NodeRef,
    TreeEntry,
    block_count,
    display_path,
)
from penstock.manifest.hashing import content_hash
from penstock.manifest.node import IndexNode
from penstock.manifest.records import Manifest
from penstock.manifest.update import EMPTY_DIRECTORY, Edit, update
from penstock.progress import Stage
from penstock.repo.bucket import object_keys
from penstock.repo.fetch.memory import shares
from penstock.repo.push.directory_walk import LocalFile
from penstock.repo.push.edits import PlacedEdits, VersionEdit, file_piece, whole_file
from penstock.repo.push.file_reader import PACKED_SIZE, PIECE_SIZE
from penstock.repo.read.many_files import read_files
from penstock.repo.read.snapshot import Snapshot
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.write.version_content import VersionContent
from penstock.store.base import Store

__all__ = ["bring_data", "bring_metadata", "send_version"]

_THREADS = 8
_MOST_OBJECT = 1 << 30


def send_version(
    source: Snapshot,
    base: Manifest | None,
    target: BucketSession,
    content: VersionContent,
    reading: Stage,
    *,
    old_file: TreeEntry | None = None,
) -> Manifest:
    """Bring a version to the bucket of `target`, whose `content` is open; return it as it lies there.

    `base` is a version of that bucket, the more alike the better; or `old_file` is an older state there of the one file
    that the version holds. IntegrityError: the bytes here are not what they
    should be. Any of `penstock.errors` may come up: what was sent is found again by the next try.
    """
    older = None if old_file is None else lambda _: old_file
    stream = PlacedEdits(target, content, base, reading, older)
    root = base.root if base is not None else EMPTY_DIRECTORY
    with closing(_edits(source, base, target)) as edits, closing(stream.edits(edits)) as placed:
        made = update(root, placed, target.load, content)
    manifest = content.finish(made, source.read_metadata(source.root_metadata))
    if manifest.top_hash != source.top_hash:
        raise IntegrityError(
            f"version {source.top_hash.hex()[:12]} came out as another one", why="this is a fault of Penstock's"
        )
    return manifest


def _edits(source: Snapshot, base: Manifest | None, target: BucketSession) -> Generator[VersionEdit, None, None]:
    before = base.root if base is not None else None
    changes = diff(before, source.root, target.load, source.load)
    waiting: deque[Change] = deque()

    def small() -> Iterator[TreeEntry]:
        for change in changes:
            waiting.append(change)
            if change.new is not None and _is_small(change.new):
                yield change.new

    maker = _EditMaker(source)
    with closing(read_files(source, small())) as contents:
        for data in contents:
            while waiting:
                change = waiting.popleft()
                if change.new is not None and _is_small(change.new):
                    yield whole_file(maker.file(change), data)
                    break
                yield from maker.edits(change)
        while waiting:
            yield from maker.edits(waiting.popleft())


def _is_small(entry: TreeEntry) -> bool:
    return entry.is_file and entry.size <= PACKED_SIZE and not _lies_elsewhere(entry)


def _lies_elsewhere(entry: TreeEntry) -> bool:
    return any(isinstance(each.object, External) for each in entry.extents)


class _EditMaker:
    """Makes edits of changes, small files aside."""

    def __init__(self, source: Snapshot) -> None:
        self._source = source
        self._gone: tuple[bytes, ...] | None = None

    def file(self, change: Change) -> LocalFile:
        entry = change.new
        assert entry is not None
        metadata = self._source.read_metadata(entry.metadata)
        told = os.fsencode(display_path(change.path))
        return LocalFile(change.path, told, entry.kind, entry.size, entry.mtime_ns, metadata)

    def edits(self, change: Change) -> Iterator[VersionEdit]:
        entry, path = change.new, change.path
        if entry is None:
            if self._gone is None or path[: len(self._gone)] != self._gone:
                self._gone = path
                yield Edit(path, None, missing_ok=True)
            return
        metadata = self._source.read_metadata(entry.metadata)
        if entry.directory is not None:
            yield Edit(path, TreeEntry(entry.name, Kind.DIRECTORY, mtime_ns=entry.mtime_ns, metadata=metadata))
        elif entry.kind is Kind.SYMLINK or _lies_elsewhere(entry):
            yield Edit(path, structs.replace(entry, metadata=metadata))
        else:
            file = self.file(change)
            for offset in range(0, entry.size, PIECE_SIZE):
                yield file_piece(file, offset, self._piece(entry, offset))

    def _piece(self, entry: TreeEntry, offset: int) -> bytes:
        length = min(PIECE_SIZE, entry.size - offset)
        return b"".join(self._source.fetch_blocks(entry, offset // BLOCK_SIZE, block_count(length)))


def bring_metadata(
    session: BucketSession, dataset: str, manifest: Manifest, upper: Store, bringing: Stage
) -> set[bytes]:
    """Copy the nodes of a version and its manifest to `upper`, the bucket on top; return its data objects.

    Packs of nodes are copied whole, as they are met: those of one version are a few.
    """
    copier = _Copier(session, upper, bringing)
    objects: set[bytes] = set()
    pending: list[NodeRef] = [manifest.root]
    if isinstance(manifest.metadata, DocumentRef):
        copier.node_packs({manifest.metadata.location.pack})
    seen: set[bytes] = set()
    while pending:
        level, pending = pending, []
        level = [ref for ref in level if ref.hash not in seen]
        seen.update(ref.hash for ref in level)
        copier.node_packs({ref.location.pack for ref in level})
        for ref in level:
            node = session.load(ref)
            if isinstance(node, IndexNode):
                pending += node.children
                continue
            objects.update(found for found in node.objects if isinstance(found, bytes))
            copier.node_packs(set(node.packs))
            pending += [directory for _, directory in node.directories()]
    copier.close()
    upper.create(object_keys.manifest_key(dataset, manifest.top_hash.hex()), manifest.encode())
    return objects


def bring_data(session: BucketSession, objects: set[bytes], upper: Store, bringing: Stage) -> int:
    """Copy data objects to `upper`, each held against its name; return how many were not there."""
    with closing(_Copier(session, upper, bringing)) as copier:
        return copier.copy(objects, object_keys.data_key)


class _Copier:
    """Copies objects that are named by their hashes, several at a time, each at most once."""

    def __init__(self, session: BucketSession, upper: Store, bringing: Stage) -> None:
        self._store = session.store
        self._upper = upper
        self._bringing = bringing
        self._known: set[bytes] = set()
        self._pool = ThreadPoolExecutor(max(1, min(_THREADS, shares().fetching // (32 << 20))), "penstock-bring")

    def node_packs(self, digests: set[bytes]) -> int:
        return self.copy(digests, object_keys.node_key)

    def copy(self, digests: set[bytes], key_of: Callable[[bytes], str]) -> int:
        wanted = digests - self._known
        self._known |= wanted
        return sum(self._pool.map(lambda digest: self._copy_one(digest, key_of(digest)), sorted(wanted)))

    def _copy_one(self, digest: bytes, key: str) -> bool:
        if self._upper.head(key) is not None:
            return False
        body = self._store.get(key, limit=_MOST_OBJECT, checked=True)
        if content_hash(body) != digest:
            raise IntegrityError(
                f"{key} is damaged", why="its bytes are not those that its name says", fix="penstock verify --deep"
            )
        self._upper.put(key, body)
        self._bringing.advance(len(body))
        return True

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
