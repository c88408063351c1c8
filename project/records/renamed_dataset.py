"""A dataset that has another name now: its newest version becomes one of the new name's, by reference."""

from __future__ import annotations

from penstock.repo.bucket.object_keys import commit_key, manifest_key
from penstock.repo.session.bucket_session import BucketSession

from .versions import Version, open_version

__all__ = ["adopt"]


def adopt(session: BucketSession, version: Version, dataset: str) -> Version:
    """Return a version as one of another dataset in the same bucket. Its history stays with the old name."""
    store = session.store
    commit, top_hash = version.commit.hex(), version.id.top_hash.hex()
    for key in (manifest_key, commit_key):
        name = top_hash if key is manifest_key else commit
        store.create(key(dataset, name), store.get(key(version.dataset, name)))
    return open_version(session, dataset, version.commit)
