"""One version of a dataset, opened for reading: what a mount, `ls` and `cat` read from. Blocking, thread-safe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from penstock.cache import BlockCache
from penstock.errors import NotFoundError, PenstockError, UsageError
from penstock.manifest.entry import Entry, NodeRef, block_count, display_path, split_path
from penstock.manifest.records import Commit, Manifest
from penstock.manifest.tree import Tree
from penstock.store.base import Store
from penstock.store.opening import open_store

from .blocks import Blocks
from .counters import Counters
from .externals import Externals, options_by_address
from .fetcher import Setup
from .fetching import Fetchers
from .handle import parse_handle
from .nodes import Nodes
from .refs import nearest
from .regions import RegionReader, describe_object
from .repository import Repository, Version, dataset_of
from .settings import Settings

__all__ = ["Snapshot", "open_cache", "open_snapshot"]


class Snapshot:
    """The tree of one version, or of a directory of it. Made by `open_snapshot`."""

    def __init__(
        self,
        handle: str,
        repository: Repository,
        version: Version,
        manifest: Manifest,
        cache: BlockCache | None,
        externals: Externals,
        fetchers: Callable[[Counters], Fetchers] | None = None,
    ) -> None:
        self.handle = handle
        self.repository = repository
        self.version = version
        self.manifest = manifest
        self.root: NodeRef = manifest.root
        self._cache = cache
        self._counters = Counters()
        self._externals = externals
        self._nodes = Nodes(repository.store, cache, self._counters)
        reader = RegionReader(repository.store, externals, self._counters)
        self._fetchers = fetchers(self._counters) if fetchers is not None else None
        self._blocks = Blocks(cache, self._nodes, reader, self._counters, self._fetchers)
        self.peek = self._nodes.peek
        self.load = self._nodes.load
        self.block_hash = self._blocks.hash
        self.cached_block = self._blocks.cached
        self.fetch_blocks = self._blocks.fetch
        self.fetch_region = self._blocks.fetch_region

    @property
    def bucket_url(self) -> str:
        """Address of the bucket."""
        return self.repository.store.url

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.repository.dataset

    @property
    def top_hash(self) -> bytes:
        """Top hash of the version, 32 bytes."""
        return self.version.top_hash

    @property
    def commit_id(self) -> bytes | None:
        """Id of the commit, 32 bytes; None when the version was named by its top hash."""
        return self.version.commit

    @property
    def tree(self) -> Tree:
        """The tree, loading nodes as they are needed."""
        return Tree(self.root, self.load)

    def commit(self) -> Commit | None:
        """Read the commit; None when the version was named by its top hash."""
        return self.repository.commit(self.version.commit) if self.version.commit is not None else None

    def find(self, path: str) -> Entry:
        """Return the entry at a path; NotFoundError names what is near."""
        names = split_path(path)
        if not names:
            return self.tree.resolve(())[1]
        try:
            return self.tree.resolve(names)[1]
        except NotFoundError as error:
            raise self._with_nearest(names, error) from error

    def _with_nearest(self, names: tuple[bytes, ...], error: NotFoundError) -> NotFoundError:
        for depth in range(len(names)):
            try:
                parent = self.tree.resolve(names[:depth])[1]
            except NotFoundError:
                break
            if parent.directory is None:
                break
            if self.tree.find(parent.directory, names[depth]) is None:
                near = []
                for _, entry in self.tree.children(parent.directory):
                    near.append(display_path([entry.name]))
                    if len(near) == 1000:
                        break
                return NotFoundError(
                    f"no {display_path(names[: depth + 1])!r} in {self.handle}",
                    fix=nearest(display_path([names[depth]]), near),
                )
        return error

    def narrow(self, path: str) -> None:
        """Make a directory of the tree its root. NotFoundError; UsageError when it is no directory."""
        if not split_path(path):
            return
        entry = self.find(path)
        if entry.directory is None:
            raise UsageError(f"{path!r} in {self.handle} is not a directory", fix="Name a directory of the version.")
        self.root = entry.directory

    def read(self, entry: Entry) -> Iterator[memoryview]:
        """Yield a file's blocks in order, from the cache or the store."""
        blocks = block_count(entry.size)
        at = 0
        while at < blocks:
            cached = self.cached_block(self.block_hash(entry, at))
            if cached is not None:
                self._counters.add(hits=1)
                yield cached
                at += 1
                continue
            count = 1
            while at + count < blocks and count < 8 and self.cached_block(self.block_hash(entry, at + count)) is None:
                count += 1
            self._counters.add(misses=count)
            yield from self.fetch_blocks(entry, at, count)
            at += count

    def is_cached(self, entry: Entry) -> tuple[int, int]:
        """Count a file's blocks: those in the cache, and all."""
        return self._blocks.count_cached(entry), block_count(entry.size)

    def physical(self, entry: Entry) -> list[dict[str, str | int]]:
        """Say where a file's bytes lie: a list of {"uri", "offset", "length"}."""
        return [
            {"uri": describe_object(self.repository.store, e.object), "offset": e.offset, "length": e.length}
            for e in entry.extents
        ]

    def counters(self) -> dict[str, int]:
        """Return the counts of requests and cache hits so far."""
        return self._counters.snapshot()

    def count(self, **amounts: int) -> None:
        """Add to the counts: hits and misses of reads that go around `read`."""
        self._counters.add(**amounts)

    def close(self) -> None:
        """Let go of connections, of the cache, and of the processes that fetch."""
        if self._fetchers is not None:
            self._fetchers.close()
        self._externals.close()
        self.repository.store.close()
        if self._cache is not None:
            self._cache.close()


def open_snapshot(handle_text: str, settings: Settings, *, cached: bool = True, fetchers: int = 0) -> Snapshot:
    """Open what a handle names; with `fetchers`, so many processes do the fetching, once there is something to fetch.

    NotFoundError names the nearest bucket, dataset, ref or path; all of `penstock.errors` may come from the store.
    """
    handle = parse_handle(handle_text)
    dataset = dataset_of(handle)
    url, options = settings.locate_bucket(handle.bucket)
    store = open_store(url, options)
    with _closing_on_error(store):
        repository = Repository(store, dataset)
        version = repository.resolve(handle.ref)
        manifest = repository.manifest(version.top_hash)
        cache = open_cache(settings) if cached else None
        remotes = options_by_address(settings)
        setup = Setup(url, options, remotes, str(settings.cache_directory), settings.cache_size)
        snapshot = Snapshot(
            handle_text,
            repository,
            version,
            manifest,
            cache,
            Externals(remotes, options),
            partial(Fetchers, setup, processes=fetchers) if fetchers and cached else None,
        )
    with _closing_on_error(snapshot):
        snapshot.narrow(handle.subdir)
    return snapshot


def open_cache(settings: Settings) -> BlockCache:
    """Open the user's block cache as the settings have it."""
    return BlockCache(Path(settings.cache_directory), settings.cache_size)


@contextmanager
def _closing_on_error(opened: Store | Snapshot) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(PenstockError, OSError):
            opened.close()
        raise
