"""One revision of a quilt package as a version: entries point to where they lie, and each is read once, and checked.

What lies at the same place with the same hash as in the version before is not read again. Memory does not grow with the
entries, but for directories that have metadata. Blocking.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from msgspec import structs

from penstock.errors import AccessError, ConflictError, IntegrityError, NotFoundError, UsageError
from penstock.manifest.build import with_blocks
from penstock.manifest.entry import Extent, External, Kind, TreeEntry, split_path
from penstock.manifest.hashing import ContentHasher
from penstock.manifest.identity import identity_entry, identity_problem
from penstock.manifest.metadata import canonical_json, parse_metadata
from penstock.manifest.tree import Tree
from penstock.manifest.update import EMPTY_DIRECTORY, Edit, update
from penstock.progress import SILENT, Progress, Stage
from penstock.repo.push.file_reader import in_order
from penstock.repo.push.local_tree import threads
from penstock.repo.push.older_state import OlderState
from penstock.repo.refs.repository import VersionId
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.write.version_writer import VersionWriter
from penstock.store.base import ByteRange

from .content_hash import ContentCheck, QuiltHash
from .manifest import QuiltDirectory, QuiltEntry, QuiltManifest

__all__ = ["RevisionCounts", "publish_revision"]

_READ = 8 << 20


@dataclass(slots=True)
class RevisionCounts:
    """What was read. Buckets keep no versions of `unversioned` ones; the hash of `unproven` ones proves nothing."""

    entries: int = 0
    bytes_read: int = 0
    unversioned: int = 0
    unproven: int = 0


class _Read(NamedTuple):
    entry: TreeEntry
    blocks: bytes


class _Source:
    """Reads what entries speak of; `read` may be called by any thread."""

    def __init__(
        self, session: BucketSession, stage: Stage, counts: RevisionCounts, *, require_versioned: bool, identity: bool
    ) -> None:
        self._externals = session.externals
        self._stage = stage
        self._counts = counts
        self._lock = threading.Lock()
        self._require_versioned = require_versioned
        self._identity = identity

    def read(self, row: QuiltEntry, names: tuple[bytes, ...], metadata: bytes) -> list[tuple[tuple[bytes, ...], _Read]]:
        """Read an entry and hold it against its hash, or pin it by its identity. Errors name it."""
        try:
            return [(names, self._read(row, names, metadata))]
        except (AccessError, ConflictError, IntegrityError, NotFoundError) as error:
            raise type(error)(f"{row.key!r}: {error.what}", why=error.why, fix=error.fix) from error

    def _read(self, row: QuiltEntry, names: tuple[bytes, ...], metadata: bytes) -> _Read:
        if len(row.physical_keys) != 1:
            raise IntegrityError("it has several physical keys", fix="Push the package anew with quilt3.")
        (place,) = row.physical_keys
        external = External(place.uri, place.version_id)
        by_identity = self._identity and place.bucket is not None and row.size > 0
        if place.bucket is not None and (
            place.version_id is None or (by_identity and bool(identity_problem(external)))
        ):
            external = self._pinned(external, row.size)
        if by_identity:
            return _Read(identity_entry(names[-1], external, row.size, 0, metadata), b"")
        hasher, check = ContentHasher(), ContentCheck(row.hash, row.size)
        for offset in range(0, row.size, _READ):
            wanted = ByteRange(offset, min(_READ, row.size - offset))
            body = self._externals.get(external, wanted)
            if len(body) != wanted.length:
                raise self._another(row)
            hasher.update(body)
            check.update(body)
            self._stage.advance(len(body))
        if not check.matches():
            raise self._another(row)
        digest, blocks = hasher.finish()
        with self._lock:
            self._counts.bytes_read += row.size
        extents = (Extent(external, 0, row.size),) if row.size else ()
        return _Read(TreeEntry(names[-1], Kind.FILE, row.size, digest, 0, metadata, extents=extents), blocks)

    def _pinned(self, external: External, size: int) -> External:
        found = self._externals.head(external)
        if found is None:
            raise NotFoundError(f"there is no object {external.uri}", fix="Restore it, or push the package anew.")
        if found.size != size:
            raise IntegrityError(
                f"{external.uri} has {found.size} bytes, not {size}", fix="It was overwritten: restore it."
            )
        if found.version_id is None and self._require_versioned:
            raise UsageError(
                f"{external.uri} has no version",
                why="its bucket keeps none: once it is overwritten, it cannot be read any more",
                fix="Turn versioning on in that bucket and push the package anew, or leave --require-versioned out.",
            )
        # A weak ETag does where bytes are held against a hash, and nowhere else.
        return External(external.uri, found.version_id, None if self._identity and found.is_weak else found.etag)

    @staticmethod
    def _another(row: QuiltEntry) -> IntegrityError:
        return IntegrityError(
            "the content is not what quilt recorded",
            why=f"its {row.hash.kind.value} or size is another: it was overwritten",
            fix=f"Restore {row.physical_keys[0].uri} as it was, and run it again.",
        )


def publish_revision(
    writer: VersionWriter,
    before: VersionId | None,
    manifest: QuiltManifest,
    header: dict[str, Any],
    *,
    require_versioned: bool = False,
    identity: bool = False,
    progress: Progress = SILENT,
) -> tuple[VersionId, RevisionCounts]:
    """Publish a manifest as the next version of the writer's branch, which stands at `before`.

    `header` is noted in the metadata of the version, beside what the user said of the package. IntegrityError: the
    manifest is torn, or a content is not what it says; AccessError, NotFoundError: one cannot be read. UsageError:
    metadata that Penstock cannot keep, or, with `require_versioned`, an object without a version. The branch is then
    where it was. With `identity`, objects of S3 are not read: what quilt recorded of their content is not checked.
    """
    writer.check_names()
    writer.hold(before)
    session, counts = writer.session, RevisionCounts()
    base = writer.repository.manifest(before.top_hash) if before is not None else None
    older = OlderState(Tree(base.root, session.load) if base is not None else None)
    stage = progress.stage("reading")
    source = _Source(session, stage, counts, require_versioned=require_versioned, identity=identity)
    rows = manifest.rows()
    directories: list[tuple[tuple[bytes, ...], bytes]] = []
    first: QuiltEntry | None = None
    for row in rows:
        if isinstance(row, QuiltEntry):
            first = row
            break
        directories.append((split_path(row.key), _canonical(row.key, row.metadata)))

    def entries() -> Iterator[QuiltEntry]:
        if first is not None:
            yield first
        for row in rows:
            if isinstance(row, QuiltDirectory):
                raise IntegrityError(
                    "a quilt manifest is malformed", why=f"{row.key!r} is a directory that stands behind entries"
                )
            yield row

    def tasks() -> Iterator[tuple[Any, int]]:
        for row in entries():
            names = split_path(row.key)
            metadata = _canonical(row.key, _noted(row.metadata, {"hash": _hash(row.hash), **row.system}))
            counts.entries += 1
            counts.unproven += not row.hash.kind.proves
            known = _known(session, older.find_path(names), row, metadata)
            if known is not None and known.is_identity and not identity:
                known = None
            if known is not None:
                yield [(names, _Read(known, known.blocks))], 0
            else:
                yield partial(source.read, row, names, metadata), min(row.size, _READ)

    with (
        ThreadPoolExecutor(threads(), "penstock-read") as pool,
        closing(in_order(tasks(), pool)) as read,
        writer.content(base, enter=False) as content,
    ):

        def files() -> Iterator[Edit]:
            for names, found in read:
                entry = found.entry
                (extent,) = entry.extents or (None,)
                if extent is not None and isinstance(extent.object, External):
                    external = extent.object
                    counts.unversioned += external.version_id is None and external.uri.startswith("s3://")
                yield Edit(names, entry if entry.pages else with_blocks(entry, found.blocks, content.write))

        folders = (
            Edit(names, TreeEntry(names[-1], Kind.DIRECTORY, metadata=metadata, directory=EMPTY_DIRECTORY))
            for names, metadata in sorted(directories)
            if names
        )
        edits = heapq.merge(folders, files(), key=lambda edit: edit.path)
        root = update(EMPTY_DIRECTORY, edits, session.load, content)
        metadata = _canonical("the package", _noted(manifest.metadata, {**header, **manifest.system}))
        made = content.finish(root, metadata)
    writer.note_pins(0, counts.unversioned)
    # With a parent, so that the same content again is a version of its own, as it is one of quilt's.
    parents = () if before is None else (before.known_commit,)
    return writer.publish(made, parents).published, counts


def _canonical(key: str, metadata: dict[str, Any]) -> bytes:
    try:
        return canonical_json(metadata)
    except UsageError as error:
        raise UsageError(f"{key!r}: {error.what}", why=error.why, fix=error.fix) from error


def _noted(metadata: dict[str, Any], quilt: dict[str, Any]) -> dict[str, Any]:
    """Return metadata with what quilt said, under a name that it has not."""
    name = "quilt"
    while name in metadata:
        name += "_"
    return {**metadata, name: quilt}


def _hash(found: QuiltHash) -> str:
    return f"{found.kind.value}:{found.digest.hex()}"


def _known(session: BucketSession, old: TreeEntry | None, row: QuiltEntry, metadata: bytes) -> TreeEntry | None:
    """Return the entry of the version before, with other metadata, when it is the same content at the same place."""
    if old is None or not old.is_file or old.size != row.size or len(old.extents) != 1:
        return None
    external, place = old.extents[0].object, row.physical_keys[0]
    if not isinstance(external, External) or external.uri != place.uri:
        return None
    if place.version_id is not None and external.version_id != place.version_id:
        return None
    said = parse_metadata(session.nodes.metadata(old.metadata))
    hashes = [value.get("hash") for name, value in said.items() if name.startswith("quilt") and isinstance(value, dict)]
    if _hash(row.hash) not in hashes:
        return None
    return structs.replace(old, metadata=metadata)
