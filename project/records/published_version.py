"""A version of a declared dataset written into a bucket: edits of a base, and what is attached to its commit.

What is attached is made of the version, so it is no part of what the top hash stands for: the commit names a directory
of it, whose nodes have a pack of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

from penstock.manifest.build import DirectoryWriter, with_blocks
from penstock.manifest.entry import NodeRef
from penstock.manifest.metadata import canonical_json
from penstock.manifest.update import EMPTY_DIRECTORY, Edit, update
from penstock.progress import SILENT, Progress
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.refs.repository import VersionId
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.write.node_pack import NodePackWriter
from penstock.repo.write.publish import Authorship
from penstock.repo.write.version_content import VersionContent
from penstock.repo.write.version_writer import VersionWriter
from penstock.store.base import Store

from .file_store import StoredFile
from .versions import Version

__all__ = ["Attach", "nothing_attached", "publish_edits"]

Edits = Callable[[VersionContent], Generator[Edit, None, None]]
Attach = Callable[[Version | None, Version], Iterable[tuple[bytes, StoredFile]]]
"""Returns files to be attached to a version, by name, when given its base and it itself, which has no commit yet."""


def nothing_attached(_before: Version | None, _now: Version) -> Iterable[tuple[bytes, StoredFile]]:
    """Attach nothing."""
    return ()


def publish_edits(
    session: BucketSession,
    dataset: str,
    base: Version | None,
    edits: Edits,
    metadata: dict[str, Any],
    authorship: Authorship,
    parents: Iterable[bytes],
    branch: str,
    attach: Attach,
    before_publish: Callable[[], None],
    progress: Progress = SILENT,
) -> Version:
    """Make a version of a base by edits, in tree order, and let a branch stand at it; `base` itself if nothing changed.

    The branch may stand anywhere: what it stood at stays a version, and `parents` are what the new one comes from.
    `before_publish` is called when all but the record is written. ConflictError: the branch moved meanwhile.
    """
    parents = tuple(parents)
    repository = session.repository(dataset)
    with VersionWriter(session, repository, LeaseKind.PUSH, authorship, branch=branch, progress=progress) as writer:
        writer.check_names()
        writer.hold(base.id if base is not None else None)
        root = base.manifest.root if base is not None else EMPTY_DIRECTORY
        with writer.content(base.manifest if base is not None else None, enter=False) as content:
            made = edits(content)
            try:
                root = update(root, made, session.load, content)
            finally:
                made.close()
            manifest = content.finish(root, canonical_json(metadata))
        if base is not None and len(parents) == 1 and manifest.top_hash == base.manifest.top_hash:
            return base
        made_version = Version(session, dataset, VersionId(manifest.top_hash, None), manifest)
        attachments = _directory(repository.store, attach(base, made_version))
        before_publish()
        landed = writer.publish(manifest, parents, attachments)
    return Version(session, dataset, landed.published, landed.manifest)


def _directory(store: Store, files: Iterable[tuple[bytes, StoredFile]]) -> NodeRef | None:
    """Write a directory of files, which are in the bucket; None: there are none."""
    named = sorted(files, key=lambda each: each[0])
    if not named:
        return None
    sink = NodePackWriter(store.put)
    directory = DirectoryWriter(sink)
    for name, stored in named:
        entry = stored.entry(name, b"")
        directory.put(with_blocks(entry, stored.blocks, sink.write) if stored.blocks else entry)
    root = directory.finish()
    sink.flush()
    return sink.located(root)
