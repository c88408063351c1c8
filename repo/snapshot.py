"""One version of a dataset, opened for reading: what a mount, `ls` and `cat` read from. Blocking, thread-safe."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from penstock.cache import BlockCache
from penstock.errors import NotFoundError, PenstockError, UsageError
from penstock.manifest.entry import Entry, NodeRef, block_count, display_path, split_path
from penstock.manifest.records import Commit, Manifest
from penstock.manifest.tree import Tree
from penstock.store.base import Store
from penstock.store.opening import open_store
from penstock.store.options import StoreOptions

from .blocks import Blocks, describe_object
from .counters import Counters
from .handle import parse_handle
from .nodes import Nodes
from .refs import nearest
from .repository import Repository, Version, dataset_of
from .settings import Settings

__all__ = ["Externals", "Snapshot", "open_snapshot"]


class Externals:
    """Opens the stores that entries point into when their bytes were left where they lay. Kept open once used.

    An S3 bucket that is a remote's address is opened as that remote; any other one as the dataset's own bucket is.
    """

    def __init__(self, settings: Settings, options: StoreOptions) -> None:
        self._remotes = {remote.url.rstrip("/"): remote.store_options() for remote in settings.remotes.values()}
        self._options = options
        self._stores: dict[str, Store] = {}
        self._lock = threading.Lock()

    def __call__(self, uri: str) -> tuple[Store, str]:
        """Return the store that holds the object, and its key there."""
        parts = urlsplit(uri)
        if parts.scheme == "file":
            directory, _, key = unquote(parts.path).rpartition("/")
            root = f"file://{directory or '/'}"
        else:
            root, key = f"s3://{parts.netloc}", unquote(parts.path.lstrip("/"))
        with self._lock:
            store = self._stores.get(root)
            if store is None:
                store = self._stores[root] = self.open(root)
        return store, key

    def open(self, url: str) -> Store:
        """Open a store as the remote of that address is, else as the dataset's own; it is the caller's to close."""
        return open_store(url, self._remotes.get(url, self._options))

    def close(self) -> None:
        """Close what was opened."""
        with self._lock:
            for store in self._stores.values():
                store.close()
            self._stores.clear()


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
        self._blocks = Blocks(repository.store, cache, self._nodes, self._externals, self._counters)
        self.peek = self._nodes.peek
        self.load = self._nodes.load
        self.block_hash = self._blocks.hash
        self.cached_block = self._blocks.cached
        self.fetch_blocks = self._blocks.fetch

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
        """Let go of connections and of the cache."""
        self._externals.close()
        self.repository.store.close()
        if self._cache is not None:
            self._cache.close()


def open_snapshot(handle_text: str, settings: Settings, *, cached: bool = True) -> Snapshot:
    """Open what a handle names.

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
        snapshot = Snapshot(handle_text, repository, version, manifest, cache, Externals(settings, options))
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
