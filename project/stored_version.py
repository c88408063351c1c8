"""A version that a project tracks, opened by its top hash from whatever bucket has it."""

from __future__ import annotations

from penstock.errors import NotFoundError
from penstock.manifest.records import Manifest
from penstock.repo.bucket.object_keys import manifest_key
from penstock.repo.read.remembered_versions import Pin
from penstock.repo.read.snapshot import Snapshot
from penstock.repo.refs.repository import VersionId
from penstock.repo.session.bucket_session import BucketSession

__all__ = ["known_manifest", "open_version"]


def known_manifest(session: BucketSession, dataset: str, top: bytes) -> Manifest | None:
    """Return a version that the bucket of a session has; None: it has not."""
    if not top or session.store.head(manifest_key(dataset, top.hex())) is None:
        return None
    return session.repository(dataset).manifest(top)


def open_version(session: BucketSession, dataset: str, top: bytes) -> Snapshot:
    """Open a version by its top hash. NotFoundError: neither the local bucket nor a remote has it."""
    repository = session.repository(dataset)
    if session.store.head(manifest_key(dataset, top.hex())) is None:
        raise NotFoundError(
            f"version {top.hex()[:12]} of {dataset!r} is neither here nor in a remote",
            why="whoever added it has not pushed it, or to another remote",
            fix="Have it pushed: penstock push. penstock remote list shows where is looked.",
        )
    manifest = repository.manifest(top)
    return Snapshot(dataset, session, repository, Pin.whole(VersionId(top, None), manifest, None))
