"""One dataset opened to be compared, merged and rolled back: its records and its nodes, through the block cache.

Reads no file's content; `snapshot` does. Used by the commands that deal with versions as wholes. Blocking,
thread-safe.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from penstock.manifest.descend import LoadNode
from penstock.store.opening import open_store

from .counters import Counters
from .handle import Handle
from .nodes import Nodes
from .repository import Repository, dataset_of
from .settings import Settings
from .snapshot import open_cache

__all__ = ["OpenDataset", "open_dataset"]


@dataclass(frozen=True, slots=True)
class OpenDataset:
    """A dataset: its `repository`, what loads the nodes of its trees, and counts of what was fetched for that."""

    repository: Repository
    load: LoadNode
    counters: Counters


@contextmanager
def open_dataset(handle: Handle, settings: Settings) -> Iterator[OpenDataset]:
    """Open the dataset that a handle names; nothing is asked of the store yet. Closed when the block ends.

    NotFoundError: the handle names a bucket only; else what opening a store raises.
    """
    dataset = dataset_of(handle)
    url, options = settings.locate_bucket(handle.bucket)
    counters = Counters()
    with ExitStack() as stack:
        store = stack.enter_context(closing(open_store(url, options)))
        cache = stack.enter_context(closing(open_cache(settings)))
        yield OpenDataset(Repository(store, dataset), Nodes(store, cache, counters).load, counters)
