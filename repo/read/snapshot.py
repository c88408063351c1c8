"""One version of a dataset, opened for reading: what a mount, `ls` and `cat` read from. Blocking, thread-safe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace

from penstock.cache import CacheInfo
from penstock.errors import NotFoundError, UsageError
from penstock.manifest.entry import BLOCK_SIZE, NodeRef, TreeEntry, block_count, display_path, split_path
from penstock.manifest.records import Commit, Manifest
from penstock.manifest.tree import Tree
from penstock.repo.fetch.fetch_pool import FetchPool
from penstock.repo.fetch.regions import describe_object
from penstock.repo.refs.refs import nearest
from penstock.repo.refs.repository import Repository, VersionId, dataset_of
from penstock.repo.session.bucket_session import BucketSession, open_session
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.settings import Settings

from .remembered_versions import Memory, Pin, find_version

__all__ = ["Snapshot", "open_snapshot"]


class Snapshot:
    """The tree of one version, or of a directory of it. Made by `open_snapshot`; its session is closed with it."""

    def __init__(self, handle: str, session: BucketSession, repository: Repository, pin: Pin) -> None:
        self.handle = handle
        self.session = session
        self.offline = pin.offline
        """Whether the version was opened from what is remembered of it, because the store could not be reached."""
        self.repository = repository
        self.version = pin.version
        self.manifest = pin.manifest
        self.root: NodeRef = pin.root
        self.root_metadata = pin.metadata
        """Metadata of what `root` is: of the version, or of the directory."""
        self._commit = pin.commit
        self._cache = cache = session.cache
        self.cache_size = session.settings.cache_size if cache is not None else 0
        """Bytes that the cache may take."""
        self.cache_directory = cache.directory if cache is not None else None
        nodes, blocks = session.nodes, session.blocks
        self.peek = nodes.peek
        self.load = nodes.load
        self.read_metadata = nodes.metadata
        self.block_hash = blocks.hash
        self.known_hash = blocks.known_hash
        self.cached_block = blocks.cached
        self.fetch_blocks = blocks.fetch
        self.fetch_region = blocks.fetch_region
        self.read_region = blocks.read_region
        self.keep_blocks = blocks.keep
        self.missing_blocks = blocks.missing
        self._count_cached = blocks.count_cached
        self._counts = session.counts

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
    def pin(self) -> Pin:
        """What `open_snapshot` needs to open the same again."""
        return Pin(self.version, self.manifest, self.commit(), self.root, self.root_metadata, self.offline)

    def stand_at(self, version: VersionId, manifest: Manifest) -> None:
        """Say that a writable mount is at another version now; its lower layer, `root`, stays what it is."""
        self._commit = None
        self.version, self.manifest = version, manifest

    @property
    def tree(self) -> Tree:
        """The tree, loading nodes as they are needed."""
        return Tree(self.root, self.load)

    def commit(self) -> Commit | None:
        """Read the commit; None when the version was named by its top hash."""
        if self._commit is None and self.version.commit is not None:
            self._commit = self.repository.commit(self.version.commit)
        return self._commit

    def attachments(self) -> NodeRef | None:
        """Return the directory of what is attached to the version's commit; None: nothing is, or not here.

        A directory of a version has nothing attached, nor has a version that was named by its top hash.
        """
        commit = self.commit()
        return commit.attachments if commit is not None and not parse_handle(self.handle).subdir else None

    def find(self, path: str) -> TreeEntry:
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
        self.root, self.root_metadata = entry.directory, entry.metadata

    def read(self, entry: TreeEntry, wanted: range | None = None) -> Iterator[memoryview]:
        """Yield a file's blocks in order, or those of a range, from the cache or the store."""
        at, blocks = (0, block_count(entry.size)) if wanted is None else (wanted.start, wanted.stop)
        while at < blocks:
            cached = self.cached_block(self.block_hash(entry, at))
            if cached is not None:
                self._counts.add(hits=1)
                yield cached
                at += 1
                continue
            count = 1
            while at + count < blocks and count < 8 and self.cached_block(self.block_hash(entry, at + count)) is None:
                count += 1
            self._counts.add(misses=count)
            yield from self.fetch_blocks(entry, at, count)
            at += count

    def has_block(self, digest: bytes) -> bool:
        """Whether the cache has a block, as far as its index says; it is not read."""
        return not self.missing_blocks((digest,))

    def cache_holds(self, size: int) -> bool:
        """Whether so many bytes fit into the cache, with room to spare."""
        return size * 5 // 4 <= self.cache_size

    def cache_takes(self, blocks: int, size: int) -> bool:
        """Whether so many blocks of `size` bytes in all fit into the cache without anything being evicted for them."""
        return self._cache is not None and self._cache.has_room(blocks, size, largest=BLOCK_SIZE)

    def cache_info(self) -> CacheInfo | None:
        """Return what the cache holds and how it is; None when there is none."""
        if self._cache is None:
            return None
        return replace(self._cache.info(), mode=self.cache_mode)

    @property
    def cache_mode(self) -> str:
        """How the cache is: ``ok`` or ``degraded: why``."""
        mode = self._cache.mode if self._cache is not None else "ok"
        if mode == "ok" and self.fetchers is not None:  # they do the writing
            return self.fetchers.cache_mode
        return mode

    @property
    def fetchers(self) -> FetchPool | None:
        """The processes that fetch for this snapshot, if any."""
        return self.session.fetchers

    def trim(self) -> None:
        """Let go of what the cache has evicted but this process still maps: to be called now and then."""
        if self._cache is not None:
            self._cache.trim()

    def is_cached(self, entry: TreeEntry) -> tuple[int, int]:
        """Count a file's blocks: those in the cache, and all."""
        return self._count_cached(entry), block_count(entry.size)

    def physical(self, entry: TreeEntry) -> list[tuple[str, int, int]]:
        """Say where a file's bytes lie: the address, offset and length of each part."""
        store = self.repository.store
        return [(describe_object(store, e.object), e.offset, e.length) for e in entry.extents]

    def counters(self) -> dict[str, int]:
        """Return the counts of requests and cache hits so far."""
        return self._counts.snapshot()

    def count(self, **amounts: int) -> None:
        """Add to the counts: hits and misses of reads that go around `read`."""
        self._counts.add(**amounts)

    def close(self) -> None:
        """Let go of connections, of the cache, and of the processes that fetch."""
        self.session.close()


def open_snapshot(
    handle_text: str,
    settings: Settings,
    *,
    cached: bool = True,
    fetchers: int = 0,
    remember: bool = False,
    pin: Pin | None = None,
    set_aside: str = "",
    patience: float | None = None,
) -> Snapshot:
    """Open what a handle names; with `fetchers`, so many processes do the fetching.

    `set_aside` and `patience` are as for `open_session`.

    With `remember`, a version that was opened so before is opened from memory when the store cannot be reached. With
    `pin`, what the handle named when the pin was made is opened; the store is not asked.

    NotFoundError names the nearest bucket, dataset, ref or path; all of `penstock.errors` may come from the store.
    """
    handle = parse_handle(handle_text)
    dataset = dataset_of(handle)
    with ExitStack() as opening:
        session = opening.enter_context(
            closing(
                open_session(
                    handle.bucket,
                    settings,
                    cached=cached,
                    fetchers=fetchers,
                    set_aside=set_aside,
                    patience=patience,
                )
            )
        )
        repository = session.repository(dataset)
        memory = Memory(session, repository) if remember and cached and pin is None else None
        snapshot = Snapshot(handle_text, session, repository, pin or find_version(repository, handle.ref, memory))
        if pin is None:
            snapshot.narrow(handle.subdir)
        opening.pop_all()  # the snapshot closes it from now on
    return snapshot
