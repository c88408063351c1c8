"""One dataset opened to be compared, merged and rolled back: its records and its nodes, through the block cache.

Reads no file's content; `snapshot` does. Blocking,
thread-safe.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain

from penstock.manifest.ahead import LoadNodes
from penstock.manifest.descend import LoadNode
from penstock.manifest.entry import NodeRef
from penstock.manifest.node import Node
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.bucket.repository import Repository, dataset_of
from penstock.repo.bucket.write_access import write_access
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.repo.settings.handle import Handle
from penstock.repo.settings.settings import Settings
from penstock.store.opening import open_store

from .nodes import Nodes
from .snapshot import open_cache

__all__ = ["OpenDataset", "neighbours", "open_dataset"]

_AT_ONCE = 16
"""Requests for nodes at the same time, when it is known which ones are needed."""
_NEAR = 256 << 10
"""Bytes that nodes may span which one request brings."""
_BELOW = 64 << 10
"""Bytes before them that come along. What is below a node lies before it, so that the next level of a small directory
is there already; of nodes all over a large tree, as in a diff of few changes, half a MiB each was most of the time."""


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
    url, options = settings.locate_bucket(handle.bucket)
    counters = RequestCounts()
    with ExitStack() as stack:
        store = stack.enter_context(closing(open_store(url, options)))
        repository = Repository(store, dataset)
        if writes:
            stack.enter_context(write_access(repository, LeaseKind.HISTORY, settings, handle.bucket))
        cache = stack.enter_context(closing(open_cache(settings)))
        nodes = Nodes(store, cache, counters)
        pool = stack.enter_context(ThreadPoolExecutor(_AT_ONCE, "penstock-nodes"))

        def load_many(refs: Sequence[NodeRef]) -> list[Node]:
            groups = neighbours(refs)
            loaded = pool.map(lambda group: nodes.load_together([refs[at] for at in group], _BELOW), groups)
            found = dict(zip(chain.from_iterable(groups), chain.from_iterable(loaded), strict=True))
            return [found[at] for at in range(len(refs))]

        yield OpenDataset(repository, nodes.load, load_many, counters)


def neighbours(refs: Sequence[NodeRef]) -> list[list[int]]:
    """Group nodes, by their index, so that one request for the first of a group brings the others along."""
    groups: list[list[int]] = []
    first = None
    for at in sorted(range(len(refs)), key=lambda at: (refs[at].location.pack, refs[at].location.offset)):
        where = refs[at].location
        if first is None or where.pack != first.pack or where.offset + where.length > first.offset + _NEAR:
            groups.append([])
            first = where
        groups[-1].append(at)
    return groups
