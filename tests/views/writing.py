"""Versions written past a push: by a test that makes their trees itself, or by a writer of another machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from penstock.manifest.records import Manifest
from penstock.repo.bucket.leases import Lease, LeaseKind
from penstock.repo.refs.refs import WriteAccess
from penstock.repo.refs.repository import DEFAULT_BRANCH, Repository, VersionId, dataset_of
from penstock.repo.session.bucket_session import open_session
from penstock.repo.settings.handle import Handle
from penstock.repo.settings.settings import Settings
from penstock.repo.write.publish import Authorship
from penstock.repo.write.publish import publish as publish_manifest
from penstock.repo.write.version_writer import VersionWriter
from penstock.store.base import Store

__all__ = ["open_writer", "publish", "unleased"]


class _Standing(Lease):
    """A lease that stands, and that the bucket does not know of."""

    def check(self) -> None:
        """It stands."""


def unleased(store: Store, dataset: str) -> WriteAccess:
    """Return leave to move refs that nobody else takes notice of."""
    return WriteAccess(_Standing(store, dataset, LeaseKind.PUSH))


def publish(repository: Repository, manifest: Manifest, authorship: Authorship, branch: str = "main") -> VersionId:
    """Make a manifest whose nodes are in the bucket the next version of a branch."""
    access = unleased(repository.store, repository.dataset)
    return publish_manifest(repository, access, branch, repository.refs.head(branch), manifest, authorship)


@contextmanager
def open_writer(
    handle: Handle,
    settings: Settings,
    authorship: Authorship,
    *,
    branch: str = DEFAULT_BRANCH,
    tag: str | None = None,
    dry_run: bool = False,
) -> Iterator[VersionWriter]:
    """Open the dataset that a handle names; the lease is held when the block begins, but for a `dry_run`."""
    dataset = dataset_of(handle)
    with (
        open_session(handle.bucket, settings) as session,
        VersionWriter(
            session,
            session.repository(dataset),
            LeaseKind.HISTORY,
            authorship,
            branch=branch,
            tag=tag,
            dry_run=dry_run,
        ) as writer,
    ):
        if not dry_run:
            writer.hold()
        yield writer
