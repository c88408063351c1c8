"""One dataset opened to be compared, merged and rolled back: its records and its nodes, through the block cache.

Reads no file's content; `snapshot` does. Blocking,
thread-safe.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from penstock.manifest.ahead import LoadNodes
from penstock.manifest.descend import LoadNode
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.bucket.repository import Repository, dataset_of
from penstock.repo.bucket.write_access import write_access
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.repo.session.bucket_session import open_session
from penstock.repo.settings.handle import Handle
from penstock.repo.settings.settings import Settings

__all__ = ["OpenDataset", "open_dataset"]


@dataclass(frozen=True, slots=True)
class OpenDataset:
    """A dataset: its `repository`, what loads nodes of its trees, one or many at a time, and counts of the fetches."""

    repository: Repository
    load: LoadNode
    load_many: LoadNodes
    counters: RequestCounts


@contextmanager
def open_dataset(handle: Handle, settings: Settings, *, writes: bool = False) -> Iterator[OpenDataset]:
    """Open the dataset that a handle names; nothing is asked of the store yet. Closed when the block ends.

    With `writes` by `write_access`: what is found within the block is not deleted by `gc`, and refs may move.

    NotFoundError: the handle names a bucket only; else what opening a store raises, and `write_access`.
    """
    dataset = dataset_of(handle)
    with ExitStack() as stack:
        session = stack.enter_context(open_session(handle.bucket, settings))
        repository = session.repository(dataset)
        if writes:
            stack.enter_context(write_access(repository, LeaseKind.HISTORY, settings, handle.bucket))
        yield OpenDataset(repository, session.load, session.load_many, session.counts)
