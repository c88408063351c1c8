"""Packages that quilt3 wrote, as datasets."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from penstock.api.handles import Handle
from penstock.errors import NotFoundError, UsageError
from penstock.progress import Progress
from penstock.repo.quilt.quilt_import import import_history
from penstock.repo.quilt.quilt_registry import QuiltRegistry
from penstock.repo.refs.repository import dataset_of
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.settings.remote import absolute_address

__all__ = ["QuiltImport", "import_quilt"]


@dataclass(frozen=True, slots=True)
class QuiltImport:
    """What was imported: `added` revisions; `present` ones were there already. `commit`: of the newest one.

    `entries` and `bytes_read` are of the added ones, in all. `unversioned` entries lie in buckets without versions:
    once overwritten, they cannot be read any more. Of `unproven` ones quilt's hash (CRC64NVME) proves nothing. `tags`:
    quilt's pointers that are tags now, or the branch ``latest``. `risk`: empty, or why the bucket may lose versions.
    """

    handle: str
    package: str
    added: int
    present: int
    commit: str
    top_hash: str
    entries: int
    bytes_read: int
    unversioned: int
    unproven: int
    tags: tuple[str, ...]
    risk: str


def import_quilt(
    handle: Handle,
    session: BucketSession,
    registry: str,
    package: str | None,
    author: str,
    branch: str,
    require_versioned: bool,
    identity: bool,
    progress: Progress,
) -> QuiltImport:
    """Import a package; see `Dataset.import_quilt`."""
    remote = session.settings.remotes.get(registry)
    with closing(session.externals.open(remote.url if remote is not None else absolute_address(registry))) as store:
        packages = QuiltRegistry(store)
        name = package or _only(packages.names(), registry)
        repository = session.repository(dataset_of(handle))
        done = import_history(
            packages,
            name,
            session,
            repository,
            author,
            branch=branch,
            require_versioned=require_versioned,
            identity=identity,
            progress=progress,
        )
    return QuiltImport(
        handle=f"{handle}:{branch}",
        package=name,
        added=done.added,
        present=done.present,
        commit=done.head.known_commit.hex(),
        top_hash=done.head.top_hash.hex(),
        entries=done.counts.entries,
        bytes_read=done.counts.bytes_read,
        unversioned=done.counts.unversioned,
        unproven=done.counts.unproven,
        tags=tuple(done.tags),
        risk=done.risk,
    )


def _only(names: list[str], registry: str) -> str:
    if not names:
        raise NotFoundError(f"no quilt package in {registry}", fix="Name the bucket or directory that quilt3 wrote to.")
    if len(names) > 1:
        raise UsageError(
            f"{registry} has {len(names)} quilt packages", why=", ".join(names[:20]), fix="Name the one to import."
        )
    return names[0]
