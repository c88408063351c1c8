"""One bucket, opened: the one place where a store, caches and what reads through them are put together.

`open_session` opens the store, and with `fetchers` the processes that fetch; it asks the store nothing and touches no
cache. All else is opened when it is first asked for: who only lists refs never opens the block cache.

**Invariant:** each part is opened once, and closed once, by `close`: first what asks, then what is asked. What is
asked for after that is a UsageError.
**Invariant:** a session stays in its process. `setup` is what travels: with it another process opens its own.

Blocking, thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Generic, NoReturn, Protocol, TypeVar, overload

from penstock.errors import UsageError
from penstock.manifest.entry import NodeRef
from penstock.manifest.node import Node
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.repo.refs.repository import Repository
from penstock.repo.settings.bucket_setup import BucketSetup
from penstock.repo.settings.settings import Settings
from penstock.store.base import Store
from penstock.store.opening import open_store
from penstock.store.options import StoreOptions

from .node_batches import NodeBatches
from .nodes import Nodes

if TYPE_CHECKING:
    # Loaded with the parts that need them: git's hooks open a bucket of this machine and read nodes, and no more.
    from penstock.cache import BlockCache, LocationIndex
    from penstock.repo.fetch.externals import Externals
    from penstock.repo.fetch.fetch_pool import FetchPool
    from penstock.repo.fetch.regions import RegionReader

    from .file_blocks import FileBlocks

__all__ = ["BucketSession", "open_session"]

T = TypeVar("T")


class _Closable(Protocol):
    def close(self) -> None: ...


class _Part(Generic[T]):
    """A part of a session that is made when it is first asked for, once. From then on it is a plain attribute."""

    def __init__(self, make: Callable[[BucketSession], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, session: None, owner: type) -> _Part[T]: ...
    @overload
    def __get__(self, session: BucketSession, owner: type) -> T: ...
    def __get__(self, session: BucketSession | None, owner: type) -> T | _Part[T]:
        if session is None:
            return self
        part: T = session.part(self._name, self._make)
        return part


class BucketSession:
    """One bucket, opened. Closed by `close`, or when the block ends that it is used in."""

    def __init__(
        self,
        setup: BucketSetup,
        *,
        cached: bool = True,
        fetchers: int = 0,
        set_aside: str = "",
        store: Store | None = None,
    ) -> None:
        """Open the bucket of a setup; see `open_session`. `store` stands for the bucket, if it is opened already."""
        self.setup = setup
        self.counts = RequestCounts()
        """Counts of what was asked of the store and of the cache, by way of this session."""
        self.fetchers: FetchPool | None = None
        """The processes that fetch, if any."""
        self._is_cached = cached
        self._set_aside = set_aside
        self._lock = threading.RLock()
        self._closed = False
        self._locations: LocationIndex | None = None
        self._location_users = 0
        with ExitStack() as opening:  # what was opened is closed again, should the rest fail
            if fetchers and cached:
                from penstock.repo.fetch.fetch_pool import FetchPool

                self.fetchers = opening.enter_context(closing(FetchPool(setup, self.counts, processes=fetchers)))
                if not set_aside:
                    self.fetchers.start()  # it gets ready while a version is looked up
            self.store: Store = store or _open(setup)
            opening.pop_all()

    @property
    def bucket(self) -> str:
        """What the handle calls the bucket."""
        return self.setup.bucket

    @property
    def address(self) -> str:
        """Where the bucket is, as messages say it."""
        return self.store.url

    @property
    def settings(self) -> Settings:
        """What holds for this process."""
        return self.setup.settings

    @_Part
    def cache(self) -> BlockCache | None:
        """Open the user's block cache; None in a session without. What is wrong with it, its mode says."""
        return self.settings.open_cache(self._set_aside) if self._is_cached else None

    @contextmanager
    def locations(self) -> Iterator[LocationIndex]:
        """Open the index of what lies where in buckets, for as long as it is used: within such a block, the same one.

        No longer, because one that was open when the machine went down is not believed after that.
        """
        with self._lock:
            if self._locations is None:
                self._locations = self.settings.open_locations()
            index = self._locations
            self._location_users += 1
        try:
            yield index
        finally:
            with self._lock:
                self._location_users -= 1
                if not self._location_users:
                    self._locations = None
                    index.close()

    @_Part
    def externals(self) -> Externals:
        """Make what reads the objects elsewhere that entries of the bucket's datasets point to."""
        from penstock.repo.fetch.externals import Externals

        setup, settings = self.setup, self.settings
        return Externals(setup.address, setup.options, settings.options_by_address(), settings.trust)

    @_Part
    def nodes(self) -> Nodes:
        """Make what loads nodes of trees by their references."""
        return Nodes(self.store, self.cache, self.counts)

    @_Part
    def _batches(self) -> NodeBatches:
        return NodeBatches(self.nodes)

    def load(self, ref: NodeRef) -> Node:
        """Return a node from wherever it is nearest."""
        return self.nodes.load(ref)

    def load_many(self, refs: Sequence[NodeRef]) -> list[Node]:
        """Return nodes of which it is known that they are needed, fetched together."""
        return self._batches.load(refs)

    @_Part
    def regions(self) -> RegionReader:
        """Make what reads ranges of objects, checked; what is late is asked for a second time."""
        from penstock.repo.fetch.hedged_call import HedgedCalls
        from penstock.repo.fetch.regions import RegionReader

        return RegionReader(self.store, self.externals.get, self.counts, HedgedCalls(self.counts))

    @_Part
    def blocks(self) -> FileBlocks:
        """Make what reads blocks of files."""
        from .file_blocks import FileBlocks
        from .learned_hashes import LearnedHashes

        open_index = self.settings.open_locations if self.cache is not None else None
        learned = LearnedHashes(open_index, lambda found: self.externals.server_of(found))
        return FileBlocks(self.cache, self.nodes, self.regions, self.fetchers, learned)

    def repository(self, dataset: str) -> Repository:
        """Return the versions of a dataset in the bucket. UsageError: no dataset can have that name."""
        return Repository(self.store, dataset, self.bucket)

    def part(self, name: str, make: Callable[[BucketSession], T]) -> T:
        """Return the part of this name, made now if it is not there. UsageError: the session is closed."""
        with self._lock:
            parts = self.__dict__
            if name not in parts:
                if self._closed:
                    raise UsageError(f"{self.address} was closed", why="its session has ended", fix="Open it again.")
                parts[name] = make(self)
            found: T = parts[name]
            return found

    def close(self) -> None:
        """Let go of connections, caches and processes; a second time it does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        parts: list[_Closable | None] = [
            self.__dict__.get(name) for name in ("cache", "store", "externals", "_batches", "fetchers", "blocks")
        ]
        with ExitStack() as ending:  # from the last to the first, whatever one of them raises
            for part in parts:
                if part is not None:
                    ending.enter_context(closing(part))

    def __enter__(self) -> BucketSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a session stays in its process: send its setup, and open that there")

    def __repr__(self) -> str:
        return f"BucketSession({self.address!r})"


_MIRRORED_DEADLINE = 10.0
"""Seconds that one of several buckets of a data set has to answer, before another one is asked."""


def _open(setup: BucketSetup) -> Store:
    mirrors = setup.settings.also.get(setup.address, ())
    if mirrors:
        from penstock.repo.bucket.nearest_store import NearestStore

        places = [(setup.address, setup.options), *map(setup.settings.locate_bucket, mirrors)]
        stores = [open_store(address, _hurried(options)) for address, options in places]
        return NearestStore(stores[0], stores[1:])
    store = open_store(setup.address, setup.options)
    names = setup.settings.beneath.get(setup.address, ())
    if not names:
        return store
    from penstock.repo.bucket.layered_store import open_layers

    return open_layers(store, lambda: [setup.settings.locate_bucket(name) for name in names])


def _hurried(options: StoreOptions) -> StoreOptions:
    return replace(options, deadline=min(options.deadline, _MIRRORED_DEADLINE))


def open_session(
    bucket: str,
    settings: Settings,
    *,
    cached: bool = True,
    fetchers: int = 0,
    set_aside: str = "",
    patience: float | None = None,
) -> BucketSession:
    """Open a bucket, by what a handle calls it. It is the caller's to close.

    Without `cached` the block cache is left alone. With `fetchers`, so many processes do the fetching, if there is a
    cache to put it into. `set_aside` says why the cache is not to be looked at for a while (`BlockCache`). With
    `patience`, each call of the store is given up after so many seconds.

    UsageError: the bucket's name or its remote is not valid.
    """
    setup = BucketSetup.of(bucket, settings)
    if patience is not None:
        setup = setup.hurried(patience)
    return BucketSession(setup, cached=cached, fetchers=fetchers, set_aside=set_aside)
